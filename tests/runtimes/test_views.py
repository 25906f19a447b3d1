"""NumPy's view of an executor's buffers: the same memory, in the shapes and types of inputs and outputs."""

from __future__ import annotations

import numpy as np

from fastinfer.runtimes.base import BoundInput, BoundOutput
from fastinfer.runtimes.views import predict_all, predict_rows, rows_of


class Doubles:
    """Two records of a pair and a number: gives the pairs' doubles, and two halves of the number as float16."""

    batch_size = 2
    gives_a_row_each = True
    outputs = (BoundOutput("pairs", 1, (2,), "float32"), BoundOutput("halves", 2, (), "float16"))

    def __init__(self) -> None:
        self.pairs, self.numbers = np.zeros(4, np.float32), np.zeros(2, np.float32)
        self.inputs = (
            BoundInput("pair", (2,), memoryview(self.pairs)),
            BoundInput("number", (), memoryview(self.numbers)),
        )

    def forward(self) -> tuple[memoryview, ...]:
        halves = (self.numbers / 2).repeat(2).astype(np.float16)
        return memoryview(self.pairs * 2), memoryview(halves.view(np.uint16))


def test_rows_are_written_where_the_graph_reads_them() -> None:
    executor = Doubles()
    rows_of(executor)[:] = [[1, 2], [3, 4]]
    rows_of(executor, 1)[:] = [[5], [7]]
    assert (executor.pairs.tolist(), executor.numbers.tolist()) == ([1, 2, 3, 4], [5, 7])


def test_predictions_have_the_shapes_and_types_of_the_outputs() -> None:
    executor = Doubles()
    rows_of(executor)[:] = [[1, 2], [3, 4]]
    rows_of(executor, 1)[:] = [[5], [7]]
    pairs, halves = predict_all(executor)
    assert (pairs.tolist(), pairs.dtype) == ([[2, 4], [6, 8]], np.float32)
    assert (halves.tolist(), halves.dtype) == ([2.5, 2.5, 3.5, 3.5], np.float16)


def test_one_output_of_float32_is_a_row_for_each_record() -> None:
    class One(Doubles):
        outputs = Doubles.outputs[:1]

        def forward(self) -> tuple[memoryview, ...]:
            return super().forward()[:1]

    executor = One()
    rows_of(executor)[:] = [[1, 2], [3, 4]]
    assert predict_rows(executor).tolist() == [[2, 4], [6, 8]]
