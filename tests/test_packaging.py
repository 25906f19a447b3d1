"""What is shipped holds what it needs: built from a clean copy, installed alone, run from elsewhere."""

from __future__ import annotations

import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

from fastinfer._version import __version__
from tests.conftest import MNIST, ROOT


def test_the_sdist_holds_the_sources_and_no_build(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for name in (
        "csrc/parse_csv.cpp",
        "csrc/parse_csv.h",
        "fastinfer/_native/text.pyx",
        "fastinfer/_native/text.pxd",
        "LICENSE",
    ):
        assert name in names
    assert not [name for name in names if name.endswith((".so", ".o"))]


def test_the_wheel_holds_the_package_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fastinfer"}
    for name in (
        "fastinfer/py.typed",
        "fastinfer/_native/text.pyi",
        "fastinfer/models/shipped/mnist/model-0000.params",
    ):
        assert name in names
    for module in ("files", "json", "rows", "text"):
        assert [name for name in names if name.startswith(f"fastinfer/_native/{module}.") and name.endswith(".so")]


def test_the_wheel_runs_alone_from_another_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[train]"], check=True)
    # What a release's wheels are tried with.
    done = subprocess.run([ROOT / ".ci" / "try", python, MNIST / "test"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "predictions 7, 2, 1, 0, 4, 1, 4, 9, 5, 9" in done.stdout
    assert f"fastinfer      {__version__}\n" in done.stdout
