"""Reads objects: small ones in groups, others in chunks that end where a line ends; reads ahead."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, TypeVar

from .._native.files import FILES_PER_CALL
from .._native.text import count_lines
from ..errors import InputError
from ..storage.atomic import unreadable
from ..storage.base import Object, Store
from .spans import Span, last_line_end, whole

T = TypeVar("T")

# Objects up to this size are read in groups.
SMALL_OBJECT_BYTES = 64 << 10


class Chunk(NamedTuple):
    """Bytes of an object: buffer[start:stop], the first of which is byte ``base`` of the object."""

    start: int
    stop: int
    base: int


class Group(NamedTuple):
    """Small objects that were read in one call, one after another into the buffer.

    Attributes:
        buffer: where they are.
        items: which.
        bounds: (where its bytes end, errno or 0) of each; they begin where those of the previous object end.
    """

    buffer: bytearray
    items: list[Object]
    bounds: list[tuple[int, int]]

    def chunks(self, index: int) -> Iterator[Chunk]:
        """The bytes of one of the objects. Raises InputError if it could not be read."""
        stop, error = self.bounds[index]
        if error:
            raise unreadable(self.items[index].uri, OSError(error, os.strerror(error)))
        yield Chunk(self.bounds[index - 1][0] if index else 0, stop, 0)


def read_groups(
    store: Store, items: Sequence[Object | Span], buffers: Sequence[bytearray]
) -> Generator[Group | Span, None, None]:
    """Reads small objects in groups.

    Args:
        store: where they are.
        items: what to read, in order.
        buffers: of equal length; groups are read into them in turn.

    Yields:
        A group, to be used before its buffer is filled again; or the span of an item that is not small, unread.
    """
    index, turns = 0, itertools.cycle(buffers)
    buffer = next(turns)
    while index < len(items):
        small: list[Object] = []
        held = 0
        for item in items[index : index + FILES_PER_CALL]:
            if isinstance(item, Span) or item.size > SMALL_OBJECT_BYTES or item.problem:
                break
            held += item.size
            if held >= len(buffer):
                break
            small.append(item)
        bounds = store.read_many(small, buffer) if small else []
        if bounds:
            yield Group(buffer, small[: len(bounds)], bounds)
            buffer = next(turns)
            index += len(bounds)
        else:
            # Large, or larger than when it was listed.
            item = items[index]
            yield item if isinstance(item, Span) else whole(item)
            index += 1


def read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items; a thread gets each one while the previous one is used."""
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    got: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()

    def get() -> None:
        while wanted.get():
            try:
                got.put(next(items, None))
            except BaseException as error:
                got.put(error)

    reader = threading.Thread(target=get, name="fastinfer-read", daemon=True)
    reader.start()
    try:
        wanted.put(True)
        while (item := got.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            wanted.put(True)
            yield item
    finally:
        # Nobody reads on when this has ended: the buffers may be used for something else.
        wanted.put(False)
        reader.join()


def read_chunks(store: Store, span: Span, buffer: bytearray, line_bytes: int) -> Iterator[Chunk]:
    """Reads a span into ``buffer`` in chunks, each of which ends where a line (or the span) ends.

    Args:
        store: where the object is.
        span: what to read.
        buffer: overwritten by each chunk; it grows for a longer line.
        line_bytes: how long a line may be.

    Raises:
        InputError: ``cannot_read``, ``input_missing``, ``line_too_long``; ``input_changed`` if the object changed after
            it was listed.
    """
    with store.open(span.item) as reader:
        base, kept = span.start, 0
        ended = False
        while not ended:
            if kept == len(buffer):
                if kept >= line_bytes:
                    raise InputError(
                        f"the line that begins at byte {base:,} is longer than {line_bytes:,} bytes",
                        code="line_too_long",
                        path=span.item.uri,
                        hint="a record is one line",
                    )
                buffer *= 2  # in place, without a second buffer for what is added
                del buffer[line_bytes:]
            wanted = min(len(buffer) - kept, span.stop - base - kept)
            # No view may be left in the traceback of an error: the buffer is to be cut to its size again.
            with memoryview(buffer) as view, view[kept : kept + wanted] as target:
                count = reader.read_into(target, base + kept)
            filled = kept + count
            ended = base + filled == span.stop
            if ended:
                reader.check_unchanged()
            elif not count:
                reader.check_unchanged()
                raise InputError(
                    f"ends at byte {base + filled:,}, expected {span.item.size:,} bytes as when it was listed",
                    code="input_changed",
                    path=span.item.uri,
                )
            cut = filled if ended else last_line_end(buffer, filled)
            if cut or ended:
                yield Chunk(0, cut, base)
                base += cut
                buffer[: filled - cut] = buffer[cut:filled]
            kept = filled - cut


class LineCounter:
    """Counts the lines before a byte of an object, only when an error needs it, and continues the previous count.

    Args:
        store: where the object is.
        item: the object.
        chunk_bytes, line_bytes: how it is read, and how long a line may be.
    """

    def __init__(self, store: Store, item: Object, chunk_bytes: int, line_bytes: int) -> None:
        self._store = store
        self.item = item
        self._chunk_bytes = chunk_bytes
        self._line_bytes = line_bytes
        self._base = self._lines = 0

    def before(self, base: int) -> int:
        """The number of lines before byte ``base``, where a line begins; `base` may not decrease from call to call."""
        if base > self._base:
            buffer = bytearray(self._chunk_bytes)
            span = Span(self.item, self._base, base, 0)
            chunks = read_chunks(self._store, span, buffer, self._line_bytes)
            self._lines += sum(count_lines(buffer, 0, chunk.stop) for chunk in chunks)
            self._base = base
        return self._lines
