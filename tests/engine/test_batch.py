"""The batch that is being filled knows whose each row is, also after a result was dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.codecs.json_rows import FORM
from fastinfer.engine.batch import MOST_SEGMENTS, Batch, Objects, Segment
from fastinfer.outputs.layout import OutputLayout
from fastinfer.outputs.writer import OutputWriter, Result
from fastinfer.records.spans import whole
from fastinfer.runtimes.base import BoundInput, BoundOutput
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore


class Rows:
    """As much of an executor as a batch needs: room for five rows of two values."""

    batch_size = 5
    outputs = (BoundOutput("first", 1, (1,), "float32"),)
    gives_a_row_each = True

    def __init__(self) -> None:
        self.values = np.zeros((5, 2), np.float32)
        self.inputs = (BoundInput("data", (2,), memoryview(self.values.reshape(-1))),)

    def forward(self) -> tuple[memoryview, ...]:
        return (memoryview(self.values[:, 0].copy()),)


@pytest.fixture
def batch() -> Batch:
    return Batch(Rows())


@pytest.fixture
def results(tmp_path: Path) -> list[Result]:
    writer = OutputWriter(OutputLayout(str(tmp_path)), LocalStore(), FORM)
    return [writer.open(whole(Object(f"/in/{name}", name, 4, b"1"))) for name in "ab"]


def test_rows_are_the_memory_that_the_graph_reads() -> None:
    executor = Rows()
    batch = Batch(executor)
    batch.rows[3] = 7
    assert executor.values[1, 1] == 7


def test_segments_say_whose_the_rows_are(batch: Batch, results: list[Result]) -> None:
    first, second = results
    batch.begin()
    batch.filled += 4
    batch.close(first, last=True)
    batch.begin()
    batch.filled += 2
    batch.close(second, rejected=True)
    batch.filled += 2
    batch.close(second)
    items = [Object("/in/c", "c", 4, 1)]
    batch.add_objects(items, [1])
    assert batch.filled == 10
    assert batch.take() == [
        Segment(first, 0, 2, last=True),
        Segment(second, 2, 3, rejected=True),
        Segment(second, 3, 4),
        Objects(items, [1], 4),
    ]
    assert (batch.filled, batch.take()) == (0, [])


def test_a_dropped_result_leaves_no_segment_and_the_others_theirs(batch: Batch, results: list[Result]) -> None:
    first, second = results
    batch.begin()
    batch.filled += 2
    batch.close(first, last=True)
    batch.begin()
    batch.filled += 2
    batch.close(second, rejected=True)
    batch.filled += 1  # a half row
    batch.drop(second)
    assert batch.filled % 2 == 0
    batch.begin()
    batch.filled += 2
    batch.close(first, last=True)
    segments = batch.take()
    assert [segment.result for segment in segments if isinstance(segment, Segment)] == [first, first]
    assert segments[-1] == Segment(first, 2, 3, last=True)


def test_a_batch_of_nothing_but_rejects_is_run_at_some_time(batch: Batch, results: list[Result]) -> None:
    batch.begin()
    for _ in range(MOST_SEGMENTS - 1):
        batch.close(results[0], rejected=True)
    assert not batch.has_many_segments
    batch.close(results[0], rejected=True)
    assert batch.has_many_segments
