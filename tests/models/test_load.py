"""Models of any format."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.models.load import is_onnx, load_any_model
from fastinfer.models.module import Model
from fastinfer.models.onnx import OnnxModel
from tests.models.test_onnx import SIMPLE


def test_by_what_is_there(linear: Path, tmp_path: Path) -> None:
    assert isinstance(load_any_model(linear), Model)
    path = tmp_path / "model.onnx"
    path.write_bytes(SIMPLE)
    assert isinstance(load_any_model(path), OnnxModel)
    assert isinstance(load_any_model(str(tmp_path)), OnnxModel)
    for name in ("model-symbol.json", "model-0000.params", "model-shapes.json"):
        (tmp_path / name).write_bytes((linear / name).read_bytes())
    assert isinstance(load_any_model(tmp_path), Model)


def test_a_file_in_onnx_by_its_name(tmp_path: Path) -> None:
    assert is_onnx(tmp_path / "a.onnx")
    assert not is_onnx(tmp_path / "model.tar.gz")
    (tmp_path / "folder.onnx").mkdir()
    assert not is_onnx(tmp_path / "folder.onnx")


def test_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SIMPLE)
    assert load_any_model(path, output="y").path == str(path)
    with pytest.raises(ConfigError, match="epoch"):
        load_any_model(path, epoch=3)
