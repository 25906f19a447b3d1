"""The batch that is being filled: rows in the memory that the bound graph reads, and the results that they belong to.

Records of many objects share a batch. Consecutive rows of one result are a *segment*; a segment may also say that a rejected
record follows its rows, or that the result ends there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..outputs.writer import Result
from ..runtimes.ladder import Ladder
from ..storage.base import Object

# A batch with this many segments is run even if it is not full: if nearly all records are rejected, it would never fill.
MOST_SEGMENTS = 4096


class Segment(NamedTuple):
    """Rows of one result, predictions[first:stop], and what follows them."""

    result: Result
    first: int
    stop: int
    rejected: bool = False  # a rejected record
    last: bool = False  # the end of the result


class Objects(NamedTuple):
    """Whole small objects, one after another, from row ``first``."""

    items: list[Object]
    counts: list[int]  # rows of each
    first: int


class Batch:
    """A batch over the input of bound graphs.

    Attributes:
        rows: the graph's input as one flat buffer of float32.
        filled: values in it.
    """

    def __init__(self, ladder: Ladder) -> None:
        self.rows = ladder.inputs[0].memory
        self.filled = 0
        self._row_values = math.prod(ladder.inputs[0].shape)
        self._begin = 0  # where the values after the last segment begin
        self._segments: list[Segment | Objects] = []

    @property
    def records(self) -> int:
        """Whole rows in it."""
        return self.filled // self._row_values

    @property
    def has_many_segments(self) -> bool:
        """Whether no segment should be added, although there may be room for rows."""
        return len(self._segments) >= MOST_SEGMENTS

    def add_objects(self, items: list[Object], counts: list[int]) -> None:
        """Adds a segment for whole objects whose rows were just written."""
        self._segments.append(Objects(items, counts, self.filled // self._row_values))
        self.filled += sum(counts) * self._row_values

    def begin(self) -> None:
        """Begins the rows of a new result."""
        self._begin = self.filled

    def close(self, result: Result, *, rejected: bool = False, last: bool = False) -> None:
        """Adds a segment: the values after the last segment belong to this result."""
        first, stop = self._begin // self._row_values, self.filled // self._row_values
        self._segments.append(Segment(result, first, stop, rejected, last))
        self._begin = self.filled

    def holds(self, result: Result) -> bool:
        """Whether rows of the result that is being filled are in it, of which a last one may not be whole."""
        return self.filled > self._begin or any(
            isinstance(each, Segment) and each.result is result for each in self._segments
        )

    def drop(self, result: Result) -> None:
        """Removes the rows of the result that is being filled."""
        self.filled = self._begin
        self._segments = [each for each in self._segments if isinstance(each, Objects) or each.result is not result]

    def take(self) -> list[Segment | Objects]:
        """Empties the batch; returns its segments, whose rows stay in the graph's memory until it is filled again."""
        segments, self._segments, self.filled, self._begin = self._segments, [], 0, 0
        return segments
