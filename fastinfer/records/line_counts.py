"""How many lines come before a byte of an object, which is asked only where a record has an error.

What was counted for one span serves those behind it, whoever transforms them: a large object whose spans all have errors is
counted once, not once for each span.
"""

from __future__ import annotations

import bisect
import threading
from array import array
from typing import NamedTuple

from ..codecs.base import Framing
from ..storage.base import Object, Source
from .reading import count_chunk_lines, read_chunks
from .spans import Span

# Objects whose counts are kept: those that the workers of a process read at a time, and a few more.
MOST_OBJECTS = 64


class _Counted(NamedTuple):
    """Places in an object, ascending, and the lines before each; whoever uses them holds the lock, also while it counts."""

    places: array[int]
    lines: array[int]
    lock: threading.Lock


class LineCounts:
    """Counts for the objects of a run, for several threads at a time.

    Args:
        store: where the objects are.
        chunk_bytes, line_bytes: how they are read, and how long a line may be.
        framing: what their lines are.
    """

    def __init__(self, store: Source, chunk_bytes: int, line_bytes: int, framing: Framing) -> None:
        self._store = store
        self._chunk_bytes = chunk_bytes
        self._line_bytes = line_bytes
        # Where an object has no lines, what is asked for is a place in it.
        self._framing = framing if framing.has_lines else Framing.LINES
        self._lock = threading.Lock()
        self._counted: dict[Object, _Counted] = {}  # the one that was asked for last at the end

    def before(self, item: Object, base: int) -> int:
        """The number of lines before byte `base` of an object, where a line begins.

        Bytes are read from the nearest place before it that is known: from the last one asked for, or from a chunk's start.

        Raises:
            InputError: as :func:`fastinfer.records.reading.read_chunks`.
        """
        if not base:
            return 0
        with self._lock:
            counted = self._counted.pop(item, None) or _Counted(array("q", [0]), array("q", [0]), threading.Lock())
            self._counted[item] = counted
            if len(self._counted) > MOST_OBJECTS:
                del self._counted[next(iter(self._counted))]
        with counted.lock:
            number = bisect.bisect_right(counted.places, base) - 1
            if counted.places[number] < base:
                number = self._count(item, counted, number, base)
            return counted.lines[number]

    def _count(self, item: Object, counted: _Counted, number: int, base: int) -> int:
        """Counts from the known place of a number up to another; returns the number of that one."""
        buffer = bytearray(self._chunk_bytes)
        span, lines = Span(item, counted.places[number], base, 0), counted.lines[number]
        for chunk in read_chunks(self._store, span, buffer, self._line_bytes, framing=self._framing):
            lines += count_chunk_lines(buffer, chunk, self._framing)
            number += 1
            counted.places.insert(number, chunk.base + chunk.stop)
            counted.lines.insert(number, lines)
        return number
