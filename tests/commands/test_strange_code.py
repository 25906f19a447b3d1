"""Models' own code that does what no code should: a run ends as it does without that, or says what was done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from fastinfer.commands import transform, verify
from tests.conftest import read_tree

Work = Callable[[str], Path]

ANSWERS = """
def model_fn(model_dir):
    return 0
def transform_fn(model, data, content_type, accept):
    return data.upper(), "text/plain"
"""
BACKENDS = ["threads", "processes"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Makes the working folder: ``in`` with two objects, and ``model`` with the given code."""

    def make(code: str) -> Path:
        (tmp_path / "model" / "code").mkdir(parents=True)
        (tmp_path / "model" / "code" / "inference.py").write_text(code)
        (tmp_path / "in").mkdir()
        for name in "ab":
            (tmp_path / "in" / f"{name}.csv").write_text(f"{name}\n")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def run(*options: str) -> int:
    return transform.main(["in", "out", "--model", "model", "--code", "run", "--workers", "1", *options])


def results(folder: Path) -> dict[str, bytes]:
    return {name: text for name, text in read_tree(folder).items() if name.endswith(".out")}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "place",
    ["import os\nos.chdir('/')\n" + ANSWERS, ANSWERS.replace("    return", "    import os; os.chdir('/')\n    return")],
)
def test_code_that_changes_the_working_folder_changes_no_place_of_the_run(place: str, backend: str, work: Work) -> None:
    folder = work(place)
    assert run("--backend", backend, "--quiet") == 0
    assert results(folder / "out") == {"a.csv.out": b"A\n", "b.csv.out": b"B\n"}
    if backend == "threads":
        os.chdir(folder)
        assert verify.main(["out", "--model", "model", "--quiet"]) == 0


def test_a_run_by_another_module_or_another_accept_is_another_run(
    work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = work(ANSWERS)
    (folder / "model" / "code" / "other.py").write_text(ANSWERS.replace("upper", "lower"))
    assert run("--backend", "threads", "--quiet") == 0
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference")
    assert run("--backend", "threads") == 0
    assert "2 finished before" in capsys.readouterr().err
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "other.py")
    assert run("--backend", "threads") == 2
    assert "the outputs there are of another run: program was 'inference', is 'other'" in capsys.readouterr().err
    monkeypatch.delenv("SAGEMAKER_PROGRAM")
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    assert run("--backend", "threads") == 2
    assert "accept was None, is 'text/csv'" in capsys.readouterr().err
    assert run("--backend", "threads", "--dry-run") == 2


STRANGE = """
import json, os, sys, warnings
class Mute(Exception):
    def __str__(self): raise ValueError("nothing to say")
class Odd(UserWarning): pass
def model_fn(model_dir):
    return 0
def transform_fn(model, data, content_type, accept):
    if data == "b\\n":
        DO
    return data, "text/plain"
"""
STRANGE_DEEDS = [
    ("raise Mute", "code failed: Mute: (no text: its __str__ raised ValueError)"),
    ("return data, None", "code failed: ValueError: no answer can have the content type None (NoneType)"),
    ("return data, 5", "code failed: ValueError: no answer can have the content type 5 (int)"),
    ("sys.exit(3)", "code failed: RuntimeError: /model/code/inference.py:10: transform_fn failed: SystemExit: 3"),
    (
        "raise GeneratorExit",
        "code failed: RuntimeError: /model/code/inference.py:10: transform_fn failed: GeneratorExit",
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("deed", "text"), STRANGE_DEEDS)
def test_a_strange_answer_is_an_error_of_its_object(
    deed: str, text: str, backend: str, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = work(STRANGE.replace("DO", deed))
    assert run("--backend", backend, "--on-error", "continue") == 1, capsys.readouterr().err
    assert results(folder / "out") == {"a.csv.out": b"a\n"}
    (reject,) = map(json.loads, (folder / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["code"], reject["key"]) == ("code_failed", "b.csv")
    assert text in reject["message"].replace(str(folder), "")
    assert run("--backend", backend, "--overwrite") == 1
    assert text in capsys.readouterr().err.replace(str(folder), "")


@pytest.mark.filterwarnings("default")
def test_a_warning_of_the_codes_own_kind_is_only_a_warning(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work(STRANGE.replace("DO", "warnings.warn(Odd('mind this'))"))
    assert run("--backend", "processes") == 0, capsys.readouterr().err
    assert sorted(results(folder / "out")) == ["a.csv.out", "b.csv.out"]
    assert "Warning: mind this" in capsys.readouterr().err


PRINTS = """
import atexit, ctypes, os, subprocess
def tell(where):
    print("python", where)
    ctypes.CDLL(None).printf(b"C\\n")
    subprocess.run(["echo", "child"])
tell("import")
atexit.register(print, "python at the end")
def model_fn(model_dir):
    tell("model_fn")
def transform_fn(model, data, content_type, accept):
    tell("transform_fn")
    return data, "text/plain"
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_code_prints_is_not_among_the_json(backend: str, work: Work) -> None:
    work(PRINTS)
    command = [sys.executable, "-m", "fastinfer"]
    options = ["--model", "model", "--json"]
    for arguments in (
        ["transform", "in", "out", "--code", "run", "--workers", "1", "--backend", backend, *options],
        ["verify", "out", *options],
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        assert isinstance(json.loads(done.stdout), dict)
        said = ["python import", "python model_fn", "python transform_fn", "C", "child"]
        at_end = ["python at the end"] if backend == "threads" or arguments[0] == "verify" else []
        assert {*said, *at_end} <= set(done.stderr.splitlines())


@pytest.mark.filterwarnings("default")
def test_packages_that_code_asks_for_are_named(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work(ANSWERS)
    (folder / "model" / "code" / "requirements.txt").write_text("no-such-package-at-all")
    file = f"{folder}/model/code/requirements.txt"
    assert run("--backend", "threads") == 0
    assert f"warning: {file} is not installed here" in capsys.readouterr().err
    assert run("--backend", "threads", "--quiet") == 0
    assert capsys.readouterr().err == ""
