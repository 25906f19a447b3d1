"""What graphs in ONNX are given: blank records that they take, and values of their types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastinfer import Predictor
from fastinfer.errors import InputError, ModelError
from fastinfer.models.onnx import OnnxModel, read_onnx
from fastinfer.runtimes.onnx import OnnxRuntime
from fastinfer.runtimes.views import predict_all, rows_of
from tests.models.test_onnx import INT64, info, make

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CPU = ("cpu", 0)


def lookup_from(first: int, batch: Any) -> OnnxModel:
    """The sums of three rows of a table of 20, by indices of which the first is that number; it refuses all below."""
    table = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32).reshape(20, 2), "table")
    numbers = {"first": first, "none": 999, "axes": [1]}
    arrays = [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    nodes = [
        onnx.helper.make_node("Less", ["ids", "first"], ["low"]),
        onnx.helper.make_node("Sub", ["ids", "first"], ["whole"]),
        onnx.helper.make_node("Where", ["low", "none", "whole"], ["index"]),
        onnx.helper.make_node("Gather", ["table", "index"], ["rows"]),
        onnx.helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0),
    ]
    return read_onnx(
        make([info("ids", [batch, 3], INT64)], [info("sum", [batch, 2])], nodes, [table, *arrays]), "m.onnx"
    )


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("first", [1, 12])
def test_a_model_that_refuses_zeros_is_served(first: int, batch: Any) -> None:
    predictor = Predictor(lookup_from(first, batch))
    rows = [[first, first + 1, first + 2], [first + 19] * 3, [first] * 3]
    assert predictor.predict(rows).tolist() == [[6, 9], [114, 117], [0, 3]]
    with pytest.raises(InputError, match=r"refuses record 2: .*out of data bounds"):
        predictor.predict([[first] * 3, [first, 0, first]])


def test_a_model_that_refuses_every_row_made_up_says_what_it_said_of_zeros(runtime: OnnxRuntime) -> None:
    with pytest.raises(ModelError, match=r"cannot run it: .*idx=999") as caught:
        runtime.bind(lookup_from(1 << 21, "n"), CPU, 2)
    assert caught.value.code == "failed_pass"


@pytest.mark.parametrize(
    ("kind", "value"), [(INT64, 1.5), (INT64, 16_777_217), (INT64, np.nan), (3, 128), (2, -1), (4, 65536), (6, np.inf)]
)
def test_what_a_graph_of_whole_numbers_cannot_take_is_refused(runtime: OnnxRuntime, kind: int, value: float) -> None:
    model = read_onnx(
        make(
            [info("x", ["n", 2], kind)], [info("y", ["n", 2], kind)], [onnx.helper.make_node("Identity", ["x"], ["y"])]
        ),
        "m.onnx",
    )
    executor = runtime.bind(model, CPU, 3)
    rows_of(executor)[:] = 7
    assert predict_all(executor)[0].tolist() == [[7, 7]] * 3
    rows_of(executor)[1, 1] = value
    with pytest.raises(ModelError, match=r"the input 'x' takes u?int.*whole numbers from .*, found"):
        executor.forward()
