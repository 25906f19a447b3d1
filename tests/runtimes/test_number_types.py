"""Records for graphs that take another type than float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ModelError
from fastinfer.models.onnx import read_onnx
from fastinfer.options import Options
from fastinfer.runtimes.batch_size import choose_batching
from fastinfer.runtimes.onnx import MANY_ROWS, OnnxRuntime
from fastinfer.runtimes.views import predict_all, rows_of
from tests.models.test_onnx import info, make

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CPU = ("cpu", 0)


@pytest.mark.parametrize(("kind", "least"), [(2, 0), (10, -60000)])
def test_rows_of_another_type_share_batches(kind: int, least: float, tmp_path: Path) -> None:
    """Pixels as uint8, and float16: the probe's rows are made to fit."""
    pixels = info("pixels", ["n", 4], kind)
    nodes = [
        onnx.helper.make_node("Cast", ["pixels"], ["x"], to=1),
        onnx.helper.make_node("ReduceMax", ["x"], ["y"], axes=[1]),
    ]
    model = read_onnx(make([pixels], [info("y", ["n", 1])], nodes), str(tmp_path / "m.onnx"))
    batching = choose_batching(OnnxRuntime(), model, Options())
    assert (batching.batch_size, batching.row_wise, batching.invariant) == (MANY_ROWS, False, True)
    assert batching.smallest == 1
    executor = OnnxRuntime().bind(model, CPU, 2)
    rows_of(executor)[:] = least
    assert predict_all(executor)[0].tolist() == [[pytest.approx(least, rel=1e-3)]] * 2


def test_a_number_that_float16_does_not_have_is_refused() -> None:
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    executor = OnnxRuntime().bind(
        read_onnx(make([info("x", ["n", 1], 10)], [info("y", ["n", 1], 10)], nodes), "m"), CPU, 2
    )
    rows_of(executor)[:] = [[np.inf], [-65504]]
    assert predict_all(executor)[0].tolist() == [[np.inf], [-65504]]
    rows_of(executor)[1] = 65505
    with pytest.raises(ModelError, match="takes float16: numbers from -65,504 to 65,504, found 65505") as caught:
        executor.forward()
    assert caught.value.code == "failed_pass"


@pytest.mark.parametrize(("kind", "most"), [(4, 65535), (9, 1), (12, 16_777_215), (13, 16_777_215)])
def test_unsigned_numbers_and_booleans_are_taken(kind: int, most: int) -> None:
    nodes = [onnx.helper.make_node("Not" if kind == 9 else "Identity", ["x"], ["y"])]
    content = make([info("x", ["n", 1], kind)], [info("y", ["n", 1], kind)], nodes)
    executor = OnnxRuntime().bind(read_onnx(content, "m"), CPU, 2)
    rows_of(executor)[:] = [[0], [most]]
    assert predict_all(executor)[0].tolist() == ([[True], [False]] if kind == 9 else [[0], [most]])
    rows_of(executor)[1] = most + 1 if kind < 12 else -1
    with pytest.raises(ModelError, match="whole numbers from 0 to"):
        executor.forward()
