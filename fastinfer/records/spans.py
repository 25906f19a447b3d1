"""Spans: an object, or lines of a large one that are transformed by themselves.

A large object whose lines are whole records is cut at line ends. The cuts depend on the object, the size
of a record and the reading options, so that a later run makes the same cuts and finds the spans that are finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, NamedTuple

from .._native.text import find_line_start
from ..codecs.base import Framing
from ..errors import InputError
from ..storage.base import Object, Reader, Source
from .compression import NONE, is_compressed

# How much is read at a time to find the end of a line, or the first record.
BLOCK_BYTES = 64 << 10


class Span(NamedTuple):
    """Bytes of an object, from the start of a line to the start of another, or to the end.

    Attributes:
        item: the object.
        start, stop: the first byte, and the one after the last.
        columns: values per line, as in the object's first record; 0 if not known.
    """

    item: Object
    start: int
    stop: int
    columns: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole object."""
        return self.start == 0 and self.stop == self.item.size


def whole(item: Object) -> Span:
    """The span of a whole object."""
    return Span(item, 0, item.size, 0)


def cut(
    store: Source,
    item: Object,
    span_bytes: int,
    row_values: int,
    count_columns: Callable[[Iterable[bytes]], int],
    line_bytes: int,
    columns: int = 0,
    compression: str = NONE,
    *,
    framing: Framing = Framing.LINES,
) -> list[Span]:
    """Divides a large object at line ends into spans of about ``span_bytes``.

    Returns an empty list if the object cannot be cut (it is compressed, a record spans lines, a line is too long, or it is
    unreadable); reading the whole object then reports the error.

    Args:
        store: where it is.
        item: what to divide.
        span_bytes: how large a span should be.
        row_values: values of one record.
        count_columns: returns the values of the first record, from the object's first blocks, each of which ends where a line
            ends; 0 if there is none or it has an error.
        line_bytes: how long a line may be.
        columns: values of a line; 0: as the first record has them.
        compression: the object's; one that is compressed cannot be cut.
        framing: what its lines are.
    """
    try:
        count = max(1, round(item.size / span_bytes))
        bounds = [0]
        offsets = [item.size * number // count for number in range(1, count)]
        with store.open(item) as reader:
            starts = [offset - 1 for offset in offsets]
            if not columns or compression != NONE:
                starts.insert(0, 0)
            reader.expect((start, min(BLOCK_BYTES, item.size - start)) for start in starts)
            if is_compressed(reader, compression, item):
                return []
            columns = columns or count_columns(_blocks(reader, line_bytes))
            if columns == 0 or columns % row_values:
                return []
            for offset in offsets:
                if offset <= bounds[-1]:
                    continue  # in the line before that bound, which is read once, however many offsets lie in it
                start = _next_line(reader, offset, line_bytes, framing)
                if start is None:
                    return []
                bounds.append(min(start, item.size))
    except InputError:
        return []
    if bounds[-1] < item.size:
        bounds.append(item.size)
    return [Span(item, start, stop, columns) for start, stop in zip(bounds, bounds[1:])]


def last_line_end(buffer: bytes | bytearray, stop: int) -> int:
    """The last position up to ``stop`` that follows a line end, 0 if there is none."""
    found = buffer.rfind(b"\n", 0, stop) + 1
    # A CR at the very end may be the first half of a CRLF.
    return found or buffer.rfind(b"\r", 0, stop - 1) + 1


def _blocks(reader: Reader, line_bytes: int) -> Iterator[bytes]:
    """An object from its start in blocks that end where a line ends, up to a line that is too long."""
    start, size = 0, BLOCK_BYTES
    while block := _read(reader, start, size):
        stop = len(block) if len(block) < size else last_line_end(block, size)
        if stop:
            yield block[:stop]
            start, size = start + stop, BLOCK_BYTES
        elif size < line_bytes:
            size = min(2 * size, line_bytes)
        else:
            return


def _next_line(reader: Reader, position: int, line_bytes: int, framing: Framing) -> int | None:
    """The first byte at or after ``position`` (above 0) that begins a line; None if a line is too long."""
    # From one byte earlier, to see whether a line ends there.
    for begin in range(position - 1, position + line_bytes, BLOCK_BYTES - 1):
        block = _read(reader, begin, BLOCK_BYTES)
        found = _line_start(block, framing)
        # A line end at the very end of a block may be the first half of a CRLF: the next block begins with that byte.
        if found < len(block) or len(block) < BLOCK_BYTES:
            return begin + found
    return None


def _line_start(block: bytes, framing: Framing) -> int:
    """Where the first line begins behind the first byte of a block; its end if none does."""
    if framing is Framing.LF_LINES:
        return block.find(b"\n") + 1 or len(block)
    return find_line_start(block, 1) if len(block) > 1 else len(block)


def _read(reader: Reader, offset: int, size: int) -> bytes:
    """The bytes from `offset` on, less than `size` only where the object ends."""
    block = bytearray(size)
    held = 0
    with memoryview(block) as view:
        while held < size and (count := reader.read_into(view[held:], offset + held)):
            held += count  # some stores give less than was asked for
    return bytes(block[:held])
