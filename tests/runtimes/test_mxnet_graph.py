"""Bound graphs: memory that is shared, rows that do not depend on each other, batch sizes that hold what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.kernels import parse_csv
from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import (
    probe_rows,
)
from fastinfer.runtimes.mxnet.graph import MXNetExecutor, without_onednn
from fastinfer.runtimes.views import predict_rows, rows_of


def run(executor: MXNetExecutor, rows: np.ndarray) -> np.ndarray:
    size = executor.batch_size
    outputs = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        rows_of(executor)[: len(part)] = part
        outputs.append(predict_rows(executor)[: len(part)])
    return np.concatenate(outputs)


def test_the_input_is_the_memory_that_the_graph_reads(linear: Path) -> None:
    executor = MXNetExecutor(load_model(linear), ("cpu", 0), 3)
    (data,) = executor.inputs
    parse_csv(b"1,2\n3,4\n5,6\n", rows_of(executor))
    assert data.memory.tolist() == [1, 2, 3, 4, 5, 6]
    assert executor._data[0].memory().tolist() == [1, 2, 3, 4, 5, 6]
    assert executor._bound is not None
    assert executor._bound.copies == []


def test_forward_returns_memory_of_its_own(linear: Path) -> None:
    executor = MXNetExecutor(load_model(linear), ("cpu", 0), 1)
    rows_of(executor)[:] = 1
    first = predict_rows(executor)
    kept = first.copy()
    rows_of(executor)[:] = 2
    executor.forward()
    assert np.array_equal(first, kept)


def test_contexts_give_the_same_bits(mlp: Path) -> None:
    model = load_model(mlp)
    rows = probe_rows(96, model.row_values)
    results = {run(MXNetExecutor(model, ("cpu", index), 48), rows).tobytes() for index in (0, 1)}
    assert len(results) == 1


@pytest.mark.parametrize(
    ("message", "helps"),
    [
        ("could not create a primitive descriptor for a reorder primitive", True),
        ("MKLDNN does not support this", True),
        ("Check failed: shapes differ", False),
    ],
)
def test_an_error_of_onednn_says_how_to_do_without_it(message: str, helps: bool) -> None:
    assert ("MXNET_MKLDNN_ENABLED=0" in (without_onednn(message) or "")) == helps
