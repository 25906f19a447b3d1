"""One network by both: MXNet's predictions of some rows, and those of its translation to ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastinfer.export.reference import read_arrays, read_network
from fastinfer.export.running import predict
from fastinfer.export.translate import Translated, translate
from fastinfer.models.module import Model, load_model
from fastinfer.runtimes import load_runtime
from tests import networks

BATCH = 3


def make_rows(values: int) -> np.ndarray:
    """Rows of both signs: numbers, whole and half numbers, small numbers."""
    random = np.random.RandomState(11)
    rows = random.uniform(-1, 1, (BATCH, values))
    rows[1] = random.randint(-6, 7, values) / 2
    rows[2] /= 256
    return rows.astype(np.float32)


def load(symbol: Any, row_shape: tuple[int, ...]) -> Model:
    """A network with parameters of a fixed seed, saved and read again."""
    with tempfile.TemporaryDirectory() as folder:
        return load_model(networks.save(lambda: (symbol, row_shape), Path(folder)))


def translated(model: Model) -> Translated:
    return translate(read_network(model), read_arrays(model), model.path)


def both(model: Model, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MXNet's predictions of rows (rows, values), and onnxruntime's."""
    import onnxruntime

    executor = load_runtime("mxnet").bind(model, ("cpu", 0), len(rows))
    (expected,) = predict(executor, rows)
    content = translated(model).build()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shaped = rows.reshape(len(rows), *model.row_shape)
    (found,) = session.run(None, {given.name: shaped.astype(np.float32)})
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return expected, found


def check(symbol: Any, row_shape: tuple[int, ...], rows: np.ndarray | None = None, *, tolerance: float = 2e-6) -> None:
    """Asserts that both give the same, relative to the largest value of all rows."""
    model = load(symbol, row_shape)
    rows = make_rows(model.row_values) if rows is None else rows.reshape(len(rows), -1)
    expected, found = both(model, rows)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)
