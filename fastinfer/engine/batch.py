"""The batch that is being filled: rows in the memory that the bound graph reads, and whose they are.

Records of many objects share a batch. Each run of rows of one result is a *segment*; a segment may also say that a record was
rejected behind its rows, or that the result ends there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..outputs.writer import Result
from ..runtimes.base import Executor
from ..storage.base import Object

# A batch is run at the latest when it holds so many segments: where nearly all records are rejected, it would not fill.
MOST_SEGMENTS = 4096


class Segment(NamedTuple):
    """Rows of one result, predictions[first:stop], and what follows them there."""

    result: Result
    first: int
    stop: int
    rejected: bool = False  # a record that was rejected
    last: bool = False  # the end of the result


class Objects(NamedTuple):
    """Whole small objects, one behind another from row ``first`` on."""

    items: list[Object]
    counts: list[int]  # rows of each
    first: int


class Batch:
    """A batch over the input of an executor.

    Attributes:
        rows: the graph's input as one flat buffer of float32.
        filled: values in it.
    """

    def __init__(self, executor: Executor) -> None:
        self.rows: Any = executor.input.reshape(-1)
        self.filled = 0
        self._row_values = executor.input.shape[1]
        self._begin = 0  # where the values behind the last segment begin
        self._segments: list[Segment | Objects] = []

    @property
    def is_full(self) -> bool:
        """Whether no segment should be added, though there may be room for rows."""
        return len(self._segments) >= MOST_SEGMENTS

    def add_objects(self, items: list[Object], counts: list[int]) -> None:
        """Takes note of whole objects whose rows were just filled in."""
        self._segments.append(Objects(items, counts, self.filled // self._row_values))
        self.filled += sum(counts) * self._row_values

    def begin(self) -> None:
        """Begins the rows of a result."""
        self._begin = self.filled

    def close(self, result: Result, *, rejected: bool = False, last: bool = False) -> None:
        """Takes note of whose the values behind the last segment are."""
        first, stop = self._begin // self._row_values, self.filled // self._row_values
        self._segments.append(Segment(result, first, stop, rejected, last))
        self._begin = self.filled

    def drop(self, result: Result) -> None:
        """Takes the rows of the result that is being filled out again."""
        self.filled = self._begin
        self._segments = [each for each in self._segments if isinstance(each, Objects) or each.result is not result]

    def take(self) -> list[Segment | Objects]:
        """Empties the batch; returns its segments, whose rows stay in the graph's memory until it is filled again."""
        segments, self._segments, self.filled, self._begin = self._segments, [], 0, 0
        return segments
