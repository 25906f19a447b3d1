"""Bound graphs: the arrays that they take, and parts of parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastinfer.models.module import load_model
from fastinfer.runtimes.mxnet.bound import BoundGraph, copy_part, view_of
from fastinfer.runtimes.mxnet.dense_rows import Part, View
from fastinfer.runtimes.mxnet.libmxnet import check, load_libmxnet
from fastinfer.runtimes.mxnet.symbol import CPU, FLOAT32, Array, Symbol


def filled(values: np.ndarray) -> Array:
    array = Array.zeros(values.shape)
    array.memory()[:] = memoryview(np.ascontiguousarray(values, np.float32).reshape(-1))
    return array


def test_a_graph_reads_what_is_given_and_zeros_for_what_is_not(linear: Path) -> None:
    model = load_model(linear)
    symbol = Symbol.load(model.graph.text)
    kinds = dict.fromkeys([*symbol.arguments(), *symbol.auxiliary()], FLOAT32)
    given = {"data": filled(np.ones((2, *model.row_shape)))}
    bound = BoundGraph(symbol, given, {}, kinds, (CPU, 0))
    check(load_libmxnet().MXExecutorForward(bound.handle, 0))
    assert len(bound.outputs) == len(bound.results) == 1
    assert bound.copies == []  # it reads the callers' array itself
    assert set(bound.outputs[0].memory()) == {0.0}  # of a layer without weights


def test_columns_of_a_parameter_are_copied_and_what_is_behind_them_changes_no_sum() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    copied = copy_part(Part("w_1", (4, 3, 1, 1), "w", 3, 1, 3), {"w": filled(weights)})
    expected = np.full((4, 3), -0.0, np.float32)
    expected[:3, :2] = weights[:, 1:3]
    assert bytes(copied.memory().cast("B")) == expected.tobytes()
    vector = copy_part(Part("b_0", (5,), "b", 1, 0, 3), {"b": filled(weights[0, :3])})
    assert bytes(vector.memory().cast("B")) == np.array([0, 1, 2, -0.0, -0.0], np.float32).tobytes()
    ones = copy_part(Part("one_0", (2, 3, 1, 1), "", 2, 0, 1), {})
    assert ones.memory().tolist() == [1, 0, 0] * 2


def test_a_view_of_an_input_is_the_memory_that_callers_write() -> None:
    data = filled(np.zeros((1, 2, 3)))
    view = view_of(View("data_2", (1, 3, 1, 1), "data", 2, 5), data)
    assert view.shape == (1, 3, 1, 1)
    data.memory()[:] = memoryview(np.arange(6, dtype=np.float32))
    assert view.memory().tolist() == [2, 3, 4]
