"""A model's code is read, and not run."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.code import HOOKS, Code, has_requirements, read_code, requirements_note
from tests.disturbed import disturbed_parsing


def put(model: Path, **modules: str) -> Path:
    for name, text in modules.items():
        file = model / "code" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return model


@pytest.mark.parametrize(
    ("text", "hooks"),
    [
        ("def model_fn(model_dir): pass", ["model_fn"]),
        ("async def input_fn(): pass\nclass predict_fn: pass", ["input_fn", "predict_fn"]),
        ("model_fn = lambda folder: None\nx, (output_fn, y) = 1, (2, 3)", ["model_fn", "output_fn"]),
        ("from helpers import load as model_fn, input_fn", ["model_fn", "input_fn"]),
        ("try:\n  import mxnet\nexcept ImportError:\n  def input_fn(): pass", ["input_fn"]),
        ("if True:\n  with open('x') as predict_fn: pass", ["predict_fn"]),
        ("for model_fn in (): pass\nif (input_fn := 1): pass", ["model_fn", "input_fn"]),
        ("from helpers import *", list(HOOKS)),
        # None of these is a name of the module.
        ("class A:\n  def model_fn(self): pass\ndef f():\n  def input_fn(): pass\nprint(predict_fn)", []),
        ("'def model_fn(): pass'  # def input_fn(): pass\nf = lambda: (output_fn := 1)", []),
        ("raise SystemExit('it was run')", []),
        ("", []),
    ],
)
def test_hooks_are_found_in_the_text(text: str, hooks: list[str], tmp_path: Path) -> None:
    code = read_code(put(tmp_path, inference=text))
    assert code is not None
    assert code.hooks == ({"inference.py": hooks} if hooks else {})


def test_the_serving_module_is_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = "def model_fn(model_dir): pass"
    model = put(tmp_path, inference="", train=hook)
    (model / "code" / "serving").mkdir()
    (model / "code" / "serving" / "__init__.py").write_text(hook)
    assert read_code(model) == Code("", "inference.py", {"inference.py": frozenset()})
    for name, file in (("train.py", "train.py"), ("train", "train.py"), ("serving", "serving/__init__.py")):
        monkeypatch.setenv("SAGEMAKER_PROGRAM", name)
        code = read_code(model)
        assert code is not None
        assert code.hooks == {file: ["model_fn"]}
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "other.py")
    with pytest.raises(ModelError, match=r"code/other\.py does not exist") as caught:
        read_code(model)
    assert caught.value.code == "no_program"


def test_where_nothing_names_the_module_all_are_searched(tmp_path: Path) -> None:
    code = read_code(put(tmp_path, mnist="def train(): pass", serve="def input_fn(): pass"))
    assert code is not None
    assert (code.program, code.hooks) == (None, {"serve.py": ["input_fn"]})


def test_an_archive_has_the_same_code_as_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "model", inference="def model_fn(model_dir): pass")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model", "plain")
    code = read_code(tmp_path / "model.tar.gz")
    assert code == read_code(tmp_path / "model")._replace(folder="plain/")  # type: ignore[union-attr]
    assert read_code(tmp_path) == code._replace(folder="model/")  # type: ignore[union-attr]
    assert read_code(tmp_path / "model" / "code") is None


def test_what_is_said_of_packages_names_the_file_and_the_command(tmp_path: Path) -> None:
    model, archive = put(tmp_path / "my model", inference="def model_fn(model_dir): pass"), tmp_path / "model.tar.gz"
    for has in (False, True):
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(model, ".")
        assert has_requirements(model) is has_requirements(archive) is has
        (model / "code" / "requirements.txt").write_text("x")
    said = "is not installed here: the code runs with the packages of this interpreter. Hint: pip install -r"
    file = f"{model}/code/requirements.txt"
    assert requirements_note(model) == f"{file} {said} '{file}'"
    name = "code/requirements.txt"
    assert requirements_note(archive) == f"{archive}/{name} {said} {name}, when it is unpacked"


def test_parsing_that_another_thread_disturbs_is_done_again(tmp_path: Path) -> None:
    put(tmp_path, inference="def model_fn(model_dir): pass")
    with disturbed_parsing():
        code = read_code(tmp_path)
    assert code is not None
    assert code.hooks == {"inference.py": ["model_fn"]}


def test_a_module_that_is_no_python_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"code/inference\.py:2: is not Python: ") as caught:
        read_code(put(tmp_path, inference="\ndef model_fn(:"))
    assert caught.value.code == "bad_program"
