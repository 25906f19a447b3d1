"""A user's module is found and imported, without its model being loaded or bound."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.handlers.user_module import HOOKS, find_program, load_user_module, on_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that has code and no model at all."""
    code = tmp_path / "model" / "code"
    (code / "package" / "inner").mkdir(parents=True)
    (code / "serve.py").write_text(
        "def model_fn(model_dir):\n    raise AssertionError('called')\n\ndef train(): pass\n"
    )
    (code / "package" / "__init__.py").touch()
    (code / "package" / "inner" / "__init__.py").write_text("from .. import __name__ as parent\noutput_fn = print\n")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)


def test_hooks_are_known_before_a_model_is_loaded(model: Path) -> None:
    module = load_user_module(model, "serve")
    assert module is not None
    assert (module.file, module.code) == (model / "code" / "serve.py", model / "code")
    assert list(module.hooks) == ["model_fn"]
    assert "train" not in HOOKS


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("serve", "serve.py"),
        ("serve.py", "serve.py"),
        ("package", "package/__init__.py"),
        ("package.inner", "package/inner/__init__.py"),
    ],
)
def test_a_program_is_a_module_or_a_package(program: str, file: str, model: Path) -> None:
    assert find_program(model, program) == model / "code" / file


def test_the_argument_comes_before_the_environment_and_that_before_inference_py(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "package")
    assert find_program(model, "serve") == model / "code" / "serve.py"
    assert find_program(model, "") is None
    assert load_user_module(model, "") is None
    assert find_program(model) == model / "code" / "package" / "__init__.py"
    monkeypatch.delenv("SAGEMAKER_PROGRAM")
    with pytest.raises(ModelError, match=r"code/ folder, but \$SAGEMAKER_PROGRAM does not name the module") as caught:
        find_program(model)
    assert (caught.value.code, caught.value.path) == ("no_program", str(model))
    (model / "code" / "inference.py").touch()
    assert find_program(model) == model / "code" / "inference.py"


def test_a_model_without_code_has_no_module(tmp_path: Path) -> None:
    assert load_user_module(tmp_path) is None
    with pytest.raises(ModelError, match=r"code/gone does not exist") as caught:
        load_user_module(tmp_path, "gone")
    assert caught.value.code == "no_program"


def test_a_module_without_hooks_is_a_module(model: Path) -> None:
    module = load_user_module(model, "package")
    assert module is not None
    assert module.hooks == {}
    inner = load_user_module(model, "package.inner")
    assert inner is not None
    assert list(inner.hooks) == ["output_fn"]


def test_a_module_is_imported_anew_each_time(model: Path) -> None:
    (model / "code" / "helper.py").write_text("NAME = 'first'\n")
    (model / "code" / "serve.py").write_text("import helper\noutput_fn = lambda *_: helper.NAME\n")
    first = load_user_module(model, "serve")
    (model / "code" / "helper.py").write_text("NAME = 'second'\n")
    second = load_user_module(model, "serve")
    assert first is not None
    assert second is not None
    assert [module.hooks["output_fn"]() for module in (first, second)] == ["first", "second"]


def test_the_import_path_and_the_folder_do_not_change(model: Path) -> None:
    before = list(sys.path)
    load_user_module(model, "serve")
    with on_path(model / "code"):
        assert sys.path[0] == str(model / "code")
    assert sys.path == before
    assert not list(model.rglob("*.pyc"))
    (model / "code" / "serve.py").write_text("1 / 0\n")
    written = sys.dont_write_bytecode
    with pytest.raises(ModelError, match=r"serve\.py:1: cannot be imported: ZeroDivisionError") as caught:
        load_user_module(model, "serve")
    assert (caught.value.code, caught.value.line) == ("bad_program", 1)
    assert sys.dont_write_bytecode == written
    assert sys.path == before
    assert "serve" not in sys.modules or sys.modules["serve"].__file__ != str(model / "code" / "serve.py")
