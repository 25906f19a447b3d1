"""What is shipped holds what it needs: built from a clean copy, installed alone, run from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import MNIST

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it, as a release would be."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        names = [name for name in os.fsdecode(listed.stdout).split("\0") if name and (ROOT / name).is_file()]
    else:  # a copy without git, such as an unpacked sdist
        names = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts
        ]
    source = tmp_path_factory.mktemp("source")
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(output), str(source)], check=True, capture_output=True
    )
    return output


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
    assert [name for name in names if name.startswith("fastinfer/_native/text.") and name.endswith(".so")]


def test_the_wheel_runs_alone_from_another_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "env" / "bin" / "fastinfer"), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    run("samples", MNIST / "test", "in", "--count", 10)
    done = run("transform", "in", "out")
    assert done.stderr.splitlines()[-1].startswith("10 inputs, 10 images, 0 rejected")
    shown = run("report", "in", "out", "--labels", MNIST / "test")
    assert "predictions 7, 2, 1, 0, 4, 1, 4, 9, 5, 9" in shown.stdout
