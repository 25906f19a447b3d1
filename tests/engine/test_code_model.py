"""A model whose own code answers, told from others by its files."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from fastinfer.engine.code_model import CodeModel, choose_served, find_code_model
from fastinfer.errors import ConfigError, ModelError
from fastinfer.models.load import load_any_model
from fastinfer.models.module import Model, load_model
from fastinfer.models.onnx import OnnxModel
from fastinfer.options import Options
from fastinfer.storage.s3_client import Bucket
from tests.models.test_onnx import SIMPLE
from tests.storage.conftest import *  # noqa: F403  (its fixtures)


def test_the_digest_changes_with_any_file_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    seen = {find_code_model(tmp_path).digest}
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("")
    assert find_code_model(tmp_path).digest in seen
    (tmp_path / "code" / "a.py").write_text("2")
    seen.add(find_code_model(tmp_path).digest)
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "b.py")
    seen.add(find_code_model(tmp_path).digest)
    assert len(seen) == 3
    assert len(find_code_model(tmp_path / "code" / "b.py").digest) == 64


def test_a_model_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_code_model(tmp_path / "none")
    assert caught.value.code == "model_missing"


@pytest.fixture
def with_hooks(linear: Path, tmp_path: Path) -> Path:
    model = Path(shutil.copytree(linear, tmp_path / "model"))
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(
        "raise SystemExit('it was run')\ndef input_fn(data, content_type): pass\n"
    )
    return model


def test_hooks_are_not_passed_over_in_silence(with_hooks: Path) -> None:
    with pytest.raises(
        ModelError, match=r"code/inference\.py defines input_fn, which SageMaker's container calls"
    ) as caught:
        choose_served(with_hooks, Options())
    assert caught.value.code == "has_code"
    with pytest.raises(ModelError, match="defines input_fn"):
        choose_served(load_model(with_hooks), Options())


def test_hooks_answer_or_are_ignored_as_it_is_said(with_hooks: Path) -> None:
    assert choose_served(with_hooks, Options(code="run")) == find_code_model(with_hooks)
    ignored = choose_served(with_hooks, Options(code="ignore"))
    assert isinstance(ignored, Model)
    assert ignored.digest == load_model(with_hooks).digest
    with tarfile.open(with_hooks.parent / "model.tar.gz", "w:gz") as tar:
        tar.add(with_hooks, ".")
    assert isinstance(choose_served(with_hooks.parent / "model.tar.gz", Options(code="run")), CodeModel)


def test_code_without_hooks_does_not_answer(with_hooks: Path) -> None:
    (with_hooks / "code" / "inference.py").write_text("def train(): pass\n")
    assert isinstance(choose_served(with_hooks, Options()), Model)
    assert isinstance(choose_served(with_hooks, Options(code="run")), Model)


def test_where_nothing_says_which_module_serves_none_is_run(with_hooks: Path) -> None:
    (with_hooks / "code" / "inference.py").rename(with_hooks / "code" / "mine.py")
    with pytest.raises(ModelError, match=r"code/mine\.py defines input_fn"):
        choose_served(with_hooks, Options())
    with pytest.raises(ModelError, match=r"nothing says which module serves; mine\.py define hooks") as caught:
        choose_served(with_hooks, Options(code="run"))
    assert caught.value.code == "no_program"


def test_code_one_folder_down_answers_there(with_hooks: Path) -> None:
    answering = choose_served(with_hooks.parent, Options(code="run"))
    assert answering == find_code_model(with_hooks)


def test_nothing_can_be_said_about_a_model_that_its_own_code_loads(with_hooks: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"output: cannot be chosen where the model's own code answers \(code/inference"
    ):
        choose_served(with_hooks, Options(code="run"), output="all")
    with pytest.raises(ConfigError, match="allow_missing: cannot be chosen"):
        choose_served(load_model(with_hooks, allow_missing=True), Options(code="run"))
    chosen = choose_served(with_hooks, Options(code="ignore"), allow_missing=True)
    assert isinstance(chosen, Model)
    assert chosen.allow_missing


def test_a_loaded_model_on_s3_keeps_what_was_said_about_it(with_hooks: Path, bucket: Bucket) -> None:
    (with_hooks / "code" / "inference.py").write_text("def train(): pass\n")
    for file in (each for each in with_hooks.rglob("*") if each.is_file()):
        bucket.put(f"model/{file.relative_to(with_hooks)}", file.read_bytes())
    loaded = load_model(f"s3://{bucket.name}/model", allow_missing=True)
    assert loaded.has_code
    served = choose_served(loaded, Options())
    assert isinstance(served, Model)
    assert served.allow_missing


def test_a_model_in_onnx_on_s3_is_named_by_its_url(bucket: Bucket) -> None:
    bucket.put("m/model.onnx", SIMPLE)
    url = f"s3://{bucket.name}/m/model.onnx"
    for loaded in (load_any_model(url), choose_served(url, Options())):
        assert isinstance(loaded, OnnxModel)
        assert loaded.path == url
