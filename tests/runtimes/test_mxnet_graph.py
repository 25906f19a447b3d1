"""Bound graphs: memory that is shared, rows that do not depend on each other, batch sizes that hold what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastinfer.kernels import parse_csv
from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import (
    probe_rows,
)
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from tests.networks import mx


def run(executor: MXNetExecutor, rows: np.ndarray) -> np.ndarray:
    size = executor.batch_size
    outputs = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        executor.input[: len(part)] = part
        outputs.append(executor.forward()[: len(part)])
    return np.concatenate(outputs)


def test_the_input_is_the_memory_that_the_graph_reads(linear: Path) -> None:
    executor = MXNetExecutor(mx, load_model(linear), mx.cpu(), 3)
    bound = executor._bound.arg_dict["data"]
    parse_csv(b"1,2\n3,4\n5,6\n", executor.input)
    assert bound.asnumpy().tolist() == [[1, 2], [3, 4], [5, 6]]
    parse_csv(b"7,8\n", bound)
    assert executor.input[0].tolist() == [7, 8]


def test_forward_returns_memory_of_its_own(linear: Path) -> None:
    executor = MXNetExecutor(mx, load_model(linear), mx.cpu(), 1)
    executor.input[:] = 1
    first = executor.forward()
    kept = first.copy()
    executor.input[:] = 2
    executor.forward()
    assert np.array_equal(first, kept)


def test_contexts_give_the_same_bits(mlp: Path) -> None:
    model = load_model(mlp)
    rows = probe_rows(96, model.row_values)
    results = {run(MXNetExecutor(mx, model, mx.cpu(index), 48), rows).tobytes() for index in (0, 1)}
    assert len(results) == 1
