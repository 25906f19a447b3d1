"""The parts of a certificate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastinfer.export.certificate import (
    Rows,
    compare_engines,
    make_certificate,
    refusals,
    run_reference,
    stored_answers,
    stored_rows,
)
from fastinfer.export.running import compare
from fastinfer.models.onnx import read_onnx
from fastinfer.runtimes import load_runtime
from tests import networks
from tests.export.comparing import load, translated

pytest.importorskip("onnxruntime")


def test_why_an_output_is_refused() -> None:
    expected = np.array([[1, 2], [3, 1]], np.float32)
    far = compare("out", expected, expected + np.array([[0, 0], [0, 0.5]], np.float32))
    (reason,) = refusals(far, 1e-5)
    assert "row 1" in reason
    assert refusals(far, 0.5) == []
    many = dataclasses.replace(far, changed=tuple(range(50)))
    assert refusals(many, 0.5)[0].endswith("18, 19, ...")


def test_stored_answers_are_mxnets_to_the_first_rows() -> None:
    model = load(*networks.segmentation())
    onnx = read_onnx(translated(model).build(), "m.onnx")
    rows = Rows("probe", np.random.RandomState(2).rand(20, model.row_values).astype(np.float32))
    result = compare_engines(
        run_reference(model, rows.values, load_runtime("mxnet")), onnx, rows.values, load_runtime("onnx")
    )
    certificate = make_certificate(model, onnx, rows, result, 1e-5, {"mxnet": "1.9.1"})
    count = certificate.facts["stored"]["records"]
    assert stored_rows(certificate).tobytes() == rows.values[:count].tobytes()
    assert stored_answers(certificate)[0].tobytes() == result.reference.answers[0][:count].tobytes()
    assert "on 20 rows" in certificate.summary()
    sizes = [each["batch_size"] for each in result.batches["same_bits_as_alone"]]
    assert sizes == [1, 2, 3, 16, 17]
