"""A certificate as it is read."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.certificate import FORMAT, Certificate, certificate_path, describe_certificate
from fastinfer.models.onnx import OnnxModel, load_onnx
from tests.models.test_onnx import SIMPLE, info, make

OTHER = make([info("x", ["batch", 5])], [info("y", ["batch", 5])])

ARRAY = {"dtype": "float32", "shape": [2, 1], "values": "HL5Mvxy+TL8="}
FACTS: dict[str, Any] = {
    "format": FORMAT,
    "onnx": {"sha256": "1" * 64},
    "rows": {"source": "probe", "records": 1000, "sha256": "2" * 64},
    "versions": {"mxnet": "1.9.1"},
    "tolerance": 1e-5,
    "model": {"path": "/models/mnist", "digest": "3" * 64, "choice": {"output": "all"}},
    "outputs": [{"absolute": 3e-7, "relative": 1e-6, "labels": 1000}],
    "stored": {"records": 2, "rows": ARRAY, "outputs": [ARRAY]},
}


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    path = tmp_path / "model.onnx"
    path.write_bytes(SIMPLE)
    return load_onnx(path)


def certify(model: OnnxModel, **facts: object) -> None:
    """Writes a certificate of the model, with other facts."""
    Path(f"{model.path}.json").write_text(json.dumps({**FACTS, "onnx": {"sha256": model.content_digest}, **facts}))


def test_the_certificate_of_a_model(model: OnnxModel) -> None:
    assert describe_certificate(model) == "no certificate"
    certify(model)
    assert describe_certificate(model) == (
        "certified against MXNet 1.9.1 on 1,000 rows: largest difference 3e-07 (1e-06 of a row's largest value), "
        "no label changed"
    )


def test_a_certificate_of_another_file_is_said_to_be_one(model: OnnxModel) -> None:
    certify(model)
    Path(model.path).write_bytes(OTHER)
    changed = load_onnx(model.path)
    assert describe_certificate(changed) == (
        f"not certified: {model.path}.json: the certificate is of another file: SHA-256 {model.content_digest}, "
        f"found {changed.content_digest}"
    )


def test_a_certificate_that_cannot_be_read_is_named(model: OnnxModel) -> None:
    certify(model, onnx={})
    reason = "is no whole certificate: onnx.sha256 is missing or wrong"
    hint = "Hint: export the model again"
    assert describe_certificate(model) == f"not certified: {model.path}.json: {reason}. {hint}"
    Path(f"{model.path}.json").write_text("{")
    assert describe_certificate(model).startswith(f"not certified: {model.path}.json: is not JSON")


def test_where_the_certificate_of_a_model_from_a_url_is(model: OnnxModel) -> None:
    for path in ("s3://bucket/a/model.onnx", "s3://bucket/a/", "s3://bucket/a"):
        assert certificate_path(dataclasses.replace(model, path=path)) == "s3://bucket/a/model.onnx.json"


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"format": 2}', json.dumps({"format": FORMAT, "rows": []})])
def test_what_is_no_certificate(content: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.json"
    path.write_text(content)
    with pytest.raises(ModelError) as caught:
        Certificate.read(str(path))
    assert caught.value.code == "bad_certificate"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("tolerance", "1e-5"),
        ("tolerance", 10**400),
        ("tolerance", math.nan),
        ("tolerance", math.inf),
        ("tolerance", -1),
        ("rows.records", 0),
        ("stored.rows", {**ARRAY, "dtype": "float8"}),
        ("stored.rows", {**ARRAY, "shape": [1] * 40 + [2]}),
        ("stored.rows", {**ARRAY, "shape": [0, 2**52, 2**52], "values": ""}),
        ("outputs", []),
        ("outputs[0]", 1),
        ("outputs[0].labels", True),
        ("outputs[0].absolute", None),
        ("onnx.sha256", 6),
        ("rows.sha256", "1" * 63 + "\n"),
        ("rows", [1]),
        ("rows.records", -1),
        ("model.choice", ["output"]),
        ("model.choice", {"outputs": "all"}),
        ("model.choice", {"epoch": "1"}),
        ("stored.outputs", []),
        ("stored.rows", {}),
        ("stored.rows", {**ARRAY, "shape": [3, 1]}),
        ("stored.rows", {**ARRAY, "shape": [2, -1]}),
        ("stored.rows", {**ARRAY, "dtype": "object"}),
        ("stored.outputs[0]", {**ARRAY, "values": "HL5Mvxy+TL8"}),
        ("stored.outputs[0]", {**ARRAY, "values": "é"}),
        ("versions.mxnet", None),
    ],
)
def test_the_part_that_is_wrong_is_named(part: str, value: Any, tmp_path: Path) -> None:
    facts = json.loads(json.dumps(FACTS))
    holder, *keys = re.findall(r"\w+", part)
    place: Any = facts
    for key in keys:
        place, holder = place[int(holder) if holder.isdigit() else holder], key
    place[int(holder) if holder.isdigit() else holder] = value
    path = tmp_path / "model.onnx.json"
    path.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=f"is no whole certificate: {re.escape(part)} is missing or wrong"):
        Certificate.read(str(path))
    path.write_text(json.dumps(FACTS))
    assert Certificate.read(str(path)).facts == FACTS


def test_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        Certificate.read(str(tmp_path / "none.json"))
    assert caught.value.code == "not_certified"
