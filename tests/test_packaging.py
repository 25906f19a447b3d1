"""What is shipped holds what it needs: built from a clean copy, installed alone, run from elsewhere."""

from __future__ import annotations

import re
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from fastinfer._version import __version__
from tests.conftest import MNIST, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def extras_of_the_package() -> set[str]:
    section = (
        (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    )
    return set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_what_exists(path: Path) -> None:
    text = path.read_text()
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(text)["jobs"]
    assert all(job["steps"] and job["runs-on"] for job in jobs.values())
    assert {need for job in jobs.values() for need in job.get("needs", [])} <= set(jobs)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"run: (\.ci/\w+)", text):
        assert (ROOT / script).stat().st_mode & 0o111, script
    for names in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert set(names.split(",")) <= extras_of_the_package()


def test_the_readme_names_extras_that_exist() -> None:
    named = set(re.findall(r"'\.\[(\w+)\]'", (ROOT / "README.md").read_text()))
    assert named
    assert named <= extras_of_the_package()
    # What users may want; the others are for those who change the code.
    assert extras_of_the_package() - named == {"parity", "notebook", "docs", "test", "fuzz", "bench", "lint"}


def test_wheels_are_tried_with_what_exists_and_for_the_pythons_that_are_promised() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (command,) = re.findall(r'^test-command = "\{project\}/(\S+) python \{project\}/(\S+)"$', text, re.MULTILINE)
    assert all((ROOT / name).exists() for name in command)
    (built,) = re.findall(r'^build = "(.*)"$', text, re.MULTILINE)
    promised = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text)
    assert built.split() == [f"cp3{minor}-*" for minor in promised]


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
