"""The examples of the documents are run, in a folder with the inputs that they name."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinfer
from fastinfer.commands import COMMANDS
from fastinfer.mnist.dataset import read_labels
from fastinfer.mnist.samples import write_samples
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.options import Options
from tests.conftest import MNIST, csv, read_tree
from tests.runs import transform

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def in_this_environment(command: str) -> list[str]:
    """A documented command line, run by this interpreter."""
    program, *arguments = shlex.split(command)
    assert program in ("python", "fastinfer")
    return [sys.executable, *(["-m", "fastinfer"] if program == "fastinfer" else []), *arguments]


@pytest.fixture
def place(tmp_path: Path, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the README: inputs in in/, a model.tar.gz."""
    write_samples(digits[:10].reshape(-1, 28, 28), tmp_path / "in")
    subprocess.run(["tar", "-czf", tmp_path / "model.tar.gz", "-C", SHIPPED_MODEL, "."], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shell_examples_of_the_readme_run(place: Path) -> None:
    commands = [line for block in blocks(README, "sh") for line in block.splitlines()]
    assert any("fastinfer.transform" in command for command in commands)
    for command in commands:
        subprocess.run(in_this_environment(command), check=True, capture_output=True)
    assert len(read_tree(place / "out")) == 10


def test_the_python_examples_of_the_readme_run(place: Path) -> None:
    example, recipe = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", example], check=True, capture_output=True, text=True)
    assert done.stdout == "10\n"
    assert len(read_tree(place / "results")) == 10
    subprocess.run([sys.executable, "-c", recipe], check=True, capture_output=True)
    (place / "own").mkdir()
    (place / "own" / "x.csv").write_bytes(b"1,2,3,4\n5,6,seven,8\n")
    transform(place / "mine", place / "own", place / "kept", Options(on_error="quarantine"))
    row, rejected = json.loads((place / "kept" / "x.csv.out").read_bytes())
    assert (len(row), rejected) == (3, None)
    # The reject that is shown is the one that is written.
    (shown,) = map(json.loads, blocks(README, "json"))
    written = json.loads((place / "kept" / "_rejects.jsonl").read_bytes())
    varying = {name: shown[name] for name in ("path", "version", "run")}
    assert list(written) == list(shown)
    assert {**written, **varying} == shown


def test_the_example_of_the_kernels_gives_what_it_says() -> None:
    (example,) = blocks((ROOT / "docs" / "kernels.md").read_text(), "python")
    shown = re.findall(r"^(kernels\..*\))  # ([^:\n]*)", example, re.MULTILINE)
    assert len(shown) == 2
    names: dict[str, object] = {}
    exec(example.partition("kernels.")[0], names)
    for call, result in shown:
        assert repr(eval(call, names)) == result


def test_the_error_of_the_readme_is_the_one_that_is_printed(place: Path, digits: np.ndarray) -> None:
    shown = re.search(r"^\$ (python -m fastinfer.transform in checked --quiet)\n(error: .*)$", README, re.MULTILINE)
    assert shown is not None
    for path in (place / "in").iterdir():
        path.unlink()
    cells = csv(digits[7:8]).split(b",")
    cells[97] = b"abc"
    (place / "in" / "0007.csv").write_bytes(b",".join(cells))
    done = subprocess.run(in_this_environment(shown[1]), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, shown[2] + "\n")


def test_the_shipped_model_is_as_good_as_it_says(tmp_path: Path, digits: np.ndarray) -> None:
    (tmp_path / "test.csv").write_bytes(csv(digits))
    transform(SHIPPED_MODEL, tmp_path, tmp_path / "out")
    rows = np.array(json.loads((tmp_path / "out" / "test.csv.out").read_text()))
    accuracy = (rows.argmax(axis=1) == read_labels(MNIST / "test")).mean()
    assert accuracy >= 0.965
    assert f"{accuracy:.3f}"[:5] in (SHIPPED_MODEL / "README.md").read_text()


def test_the_shell_examples_of_the_sagemaker_page_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTINFER_LOCAL_ROOT", str(place / "local"))
    (place / "examples").symlink_to(ROOT / "examples")
    commands = [
        line for block in blocks((ROOT / "docs" / "sagemaker.md").read_text(), "sh") for line in block.splitlines()
    ]
    assert len(commands) == 3
    for command in commands:
        subprocess.run(in_this_environment(command), check=True, capture_output=True)
    assert len(list((place / "demo" / "models").rglob("model.tar.gz"))) > 0
    assert len(read_tree(place / "demo" / "results")) == 100
    # In a checkout nothing of it lies where git would see it.
    assert {path.name for path in place.iterdir()} == {"in", "model.tar.gz", "examples", "local", "demo"}
    assert "/demo/" in (ROOT / ".gitignore").read_text().splitlines()


PAGES = sorted((ROOT / "docs").glob("*.md"))
COMMAND = re.compile(r"^(?:\$ )?((?:fastinfer|python -m fastinfer\.(?:transform|serve)) .*)$", re.MULTILINE)


def documented_commands() -> list[tuple[str, str]]:
    """The lines with a command of fastinfer in blocks of code, by page; commands.md has usage lines, not commands."""
    found = []
    for page in [ROOT / "README.md", *PAGES]:
        if page.name != "commands.md":
            text = page.read_text()
            code = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
            code += re.findall(r"^    (.*)$", text, re.MULTILINE)
            found += [(page.name, line) for block in code for line in COMMAND.findall(block)]
    return found


@pytest.mark.parametrize(("page", "line"), documented_commands())
def test_every_documented_command_is_one_that_the_parser_takes(page: str, line: str) -> None:
    del page
    words = shlex.split(line.partition(" > ")[0], comments=True)
    name, *arguments = words[1:] if words[0] == "fastinfer" else [words[2].partition(".")[2], *words[3:]]
    assert name in COMMANDS
    importlib.import_module(f"fastinfer.commands.{name}").make_parser().parse_args(arguments)


def test_every_page_is_in_the_contents_and_its_python_compiles() -> None:
    contents = re.findall(r"^(\w[\w-]*)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert sorted([*contents, "index"]) == [page.stem for page in PAGES]
    for page in PAGES:
        for block in blocks(page.read_text(), "python"):
            compile(block, str(page), "exec")


def test_every_public_name_is_on_the_pages_of_the_api() -> None:
    listed, described = ((ROOT / "docs" / name).read_text() for name in ("api.md", "reference.md"))
    names = [name for name in fastinfer.__all__ if not name.startswith("__")]
    assert [name for name in names if f"`{name}" not in listed and f"`fastinfer.{name}" not in listed] == []
    modules = {"kernels"}  # by automodule
    assert [
        name for name in names if not re.search(rf":: {name}$", described, re.MULTILINE) and name not in modules
    ] == []


WRITTEN = [
    path
    for pattern in ("*.md", "docs/*.md", "examples/**/*.md", "fastinfer/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if ".venv" not in path.parts
]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_the_repository_leads_to_it(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        if target.startswith(("https://", "mailto:")):
            continue
        leads_to = page if not name else (page.parent / name).resolve()
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            missing.append(target)
    assert missing == []


def test_the_shell_examples_of_the_quick_start_run(place: Path) -> None:
    (place / "examples").symlink_to(ROOT / "examples")
    commands = [
        line for block in blocks((ROOT / "docs" / "quickstart.md").read_text(), "sh") for line in block.splitlines()
    ]
    assert len(commands) == 5
    for command in commands:
        subprocess.run(in_this_environment(command), check=True, capture_output=True)
    assert len(read_tree(place / "demo" / "out")) == 100
    assert (place / "demo" / "page.html").exists()
    assert len(read_tree(place / "out")) == 10


def test_the_shell_examples_of_the_page_of_jobs_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the page; a run with other options needs another folder, and its commands need what the page names."""
    for number, path in enumerate(sorted((place / "in").iterdir())):
        path.write_bytes(b"".join(b"%d,%s\n" % (number, line) for line in path.read_bytes().splitlines()))
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (place / "in").as_uri()}}
    job = {
        "TransformInput": {"DataSource": source, "ContentType": "text/csv"},
        "TransformOutput": {"S3OutputPath": (place / "of-job").as_uri()},
        "DataProcessing": {"InputFilter": "$[1:]"},
    }
    (place / "job.json").write_text(json.dumps(job))
    (place / "labels.txt").write_text("1\n" * 10)
    lines = re.findall(r"^    (fastinfer .*)$", (ROOT / "docs" / "jobs.md").read_text(), re.MULTILINE)
    ran = []
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)[1:]
        if name == "transform" and "--job" not in arguments and "--only-rejects" not in arguments:
            shutil.rmtree("out", ignore_errors=True)
        elif "--only-rejects" in arguments:
            arguments += ["--id-column", "0", "--overwrite"]
        found = importlib.import_module(f"fastinfer.commands.{name}").main(arguments)
        assert found == 0, (line, capsys.readouterr().err)
        ran.append(name)
    assert sorted(set(ran)) == ["report", "transform", "verify"]
    assert (place / "report.html").exists()
    assert len(list((place / "of-job").glob("*.out"))) == 10


def test_the_example_of_the_api_runs(place: Path) -> None:
    (example,) = blocks((ROOT / "docs" / "api.md").read_text(), "python")
    subprocess.run([sys.executable, "-c", example], check=True, capture_output=True)
    assert len(read_tree(place / "out")) == 10
