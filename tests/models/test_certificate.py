"""A certificate as it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.certificate import FORMAT, Certificate, find_certificate
from fastinfer.models.onnx import load_onnx
from tests.models.test_onnx import SIMPLE

FACTS = {
    "format": FORMAT,
    "rows": {"records": 1000},
    "versions": {"mxnet": "1.9.1"},
    "outputs": [{"absolute": 3e-7, "relative": 1e-6, "labels": 1000}],
}


def test_the_certificate_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SIMPLE)
    model = load_onnx(path)
    assert find_certificate(model) is None
    beside = tmp_path / "model.onnx.json"
    beside.write_text(json.dumps({**FACTS, "onnx": {"sha256": model.content_digest}}))
    found = find_certificate(model)
    assert found is not None
    assert found.summary() == (
        "certified against MXNet 1.9.1 on 1,000 rows: largest difference 3e-07 (1e-06 of a row's largest value), "
        "no label changed"
    )
    beside.write_text(json.dumps({**FACTS, "onnx": {"sha256": "of another"}}))
    assert find_certificate(model) is None


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"format": 2}', json.dumps({"format": FORMAT, "rows": []})])
def test_what_is_no_certificate(content: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.json"
    path.write_text(content)
    with pytest.raises(ModelError) as caught:
        Certificate.read(str(path))
    assert caught.value.code == "bad_certificate"


def test_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        Certificate.read(str(tmp_path / "none.json"))
    assert caught.value.code == "not_certified"
