"""Reads objects: small ones in groups, others in chunks that end where a line ends; reads ahead."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar

from .._native.files import FILES_PER_CALL
from .._native.text import count_lines
from ..codecs.base import Framing
from ..errors import InputError
from ..storage.atomic import unreadable
from ..storage.base import Object, Reader, Source
from .compression import NONE, START_BYTES, Expanded, begins_compressed
from .spans import Span, last_line_end, whole

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

T = TypeVar("T")

# Objects up to this size are read in groups.
SMALL_OBJECT_BYTES = 64 << 10
# Of what is read after the object in use, so much is opened far away: until it has more than so many bytes, or so many objects.
OPENED_AHEAD_BYTES, OPENED_AHEAD_OBJECTS = 8 << 20, 64


class SeveralPayloads(InputError):
    """An object has more bytes than a payload may have, as is known only when it is expanded. None of them was given."""


class Chunk(NamedTuple):
    """Bytes of an object: buffer[start:stop], the first of which is byte ``base`` of the object when it is expanded; and the
    number of lines before it, if it is known."""

    start: int
    stop: int
    base: int
    lines: int | None = None


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

    def is_compressed(self, index: int) -> bool:
        """Whether the first bytes of one of the objects say so."""
        start = self.bounds[index - 1][0] if index else 0
        return begins_compressed(bytes(self.buffer[start : min(start + START_BYTES, self.bounds[index][0])]))

    def expand(
        self, index: int, compression: str, buffer: bytearray, line_bytes: int, framing: Framing, payload_bytes: int
    ) -> Iterator[Chunk]:
        """The expanded bytes of one of the objects; see :func:`read_chunks`. `buffer` is another one than the group's."""
        (chunk,) = self.chunks(index)
        content = io.BytesIO(bytes(self.buffer[chunk.start : chunk.stop]))
        expanded = Expanded(content.read, compression, self.items[index])
        yield from expand_chunks(expanded, self.items[index], buffer, line_bytes, framing, payload_bytes)


def read_groups(
    store: Source, items: Sequence[Object | Span], buffers: Sequence[bytearray]
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
    with store.read_ahead([item for item in items if _is_small(item)]) as reader:
        while index < len(items):
            small: list[Object] = []
            held = 0
            for item in items[index : index + FILES_PER_CALL]:
                if not _is_small(item):
                    break
                held += item.size
                if held >= len(buffer):
                    break
                small.append(item)
            bounds = reader.read_many(small, buffer) if small else []
            if bounds:
                yield Group(buffer, small[: len(bounds)], bounds)
                buffer = next(turns)
                index += len(bounds)
            else:
                # Large, or larger than when it was listed.
                item = items[index]
                yield item if isinstance(item, Span) else whole(item)
                index += 1


def open_items(store: Source, items: Sequence[Object | Span], chunk_bytes: int) -> OpenSpans | OpenObjects:
    """What reads spans of one object, or those of the objects that :func:`read_groups` gives unread."""
    spans = [item for item in items if isinstance(item, Span)]
    if spans:
        return OpenSpans(store, spans, chunk_bytes)
    return OpenObjects(store, [item for item in items if not (isinstance(item, Span) or _is_small(item))], chunk_bytes)


def _is_small(item: Object | Span) -> TypeGuard[Object]:
    return not isinstance(item, Span) and item.size <= SMALL_OBJECT_BYTES and item.problem is None


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


class OpenSpans:
    """Spans of one object that are read in turn by one reader: a store far away reads some ahead while another is used.

    A context manager. The object is opened when the reader is first asked for, and reading ahead begins then.

    Args:
        store: where the object is.
        spans: in the order in which they are read.
        chunk_bytes: how much is read at a time.
    """

    def __init__(self, store: Source, spans: Sequence[Span], chunk_bytes: int) -> None:
        self._store = store
        self._spans = spans
        self._chunk_bytes = chunk_bytes
        self._held = contextlib.ExitStack()
        self._reader: Reader | None = None

    def __enter__(self) -> OpenSpans:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the object."""
        self._held.close()

    def reader_of(self, _: Span) -> Reader:
        """The reader of one of the spans."""
        return self.reader()

    def leave(self) -> None:
        """Closes the object in use: it is read no further, and nothing more of it is read ahead."""
        self.close()

    def reader(self) -> Reader:
        """The reader, the same at each call. Raises InputError: ``cannot_read``, ``input_missing``."""
        if self._reader is None:
            self._reader = self._held.enter_context(self._store.open(self._spans[0].item))
            size = self._chunk_bytes
            self._reader.expect(
                (offset, min(size, span.stop - offset))
                for span in self._spans
                for offset in range(span.start, span.stop, size)
            )
        return self._reader


class OpenObjects:
    """Whole objects that are read one after another: a store far away begins to read the next ones while one is used.

    A context manager.

    Args:
        store: where they are.
        items: in the order in which they are read; any of them may be passed over, and others be read between them.
        chunk_bytes: how much is read at a time.
    """

    def __init__(self, store: Source, items: Iterable[Object], chunk_bytes: int) -> None:
        self._store = store
        self._waiting = deque(item for item in items if item.problem is None)
        self._announced = set(map(id, self._waiting))
        self._chunk_bytes = chunk_bytes
        self._begun: deque[tuple[Object, OpenSpans]] = deque()
        self._used: OpenSpans | None = None

    def __enter__(self) -> OpenObjects:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        for _, opened in self._begun:
            opened.close()

    def reader_of(self, span: Span) -> Reader:
        """The reader of an object, until the next one is asked for. Raises InputError: ``cannot_read``, ``input_missing``."""
        self.leave()
        item = span.item
        self._used = self._take(item) if id(item) in self._announced else self._open(item)
        reader = self._used.reader()
        if self._store.ahead_bytes:
            self._begin_next()
        return reader

    def leave(self) -> None:
        """Closes the object in use: it is read no further, and nothing more of it is read ahead."""
        if self._used is not None:
            self._used.close()
            self._used = None

    def _take(self, item: Object) -> OpenSpans:
        while True:
            if not self._begun:
                waiting = self._waiting.popleft()
                self._begun.append((waiting, self._open(waiting)))
            first, opened = self._begun.popleft()
            self._announced.remove(id(first))
            if first is item:
                return opened
            opened.close()

    def _begin_next(self) -> None:
        held = sum(item.size for item, _ in self._begun)
        while self._waiting and len(self._begun) < OPENED_AHEAD_OBJECTS and held <= OPENED_AHEAD_BYTES:
            item = self._waiting.popleft()
            opened = self._open(item)
            opened.reader()
            self._begun.append((item, opened))
            held += item.size

    def _open(self, item: Object) -> OpenSpans:
        return OpenSpans(self._store, [whole(item)], self._chunk_bytes)


def read_chunks(
    store: Source,
    span: Span,
    buffer: bytearray,
    line_bytes: int,
    *,
    framing: Framing = Framing.LINES,
    compression: str = NONE,
    payload_bytes: int = 0,
    opened: OpenSpans | OpenObjects | None = None,
) -> Iterator[Chunk]:
    """Reads a span into ``buffer`` in chunks, each of which ends where a line (or the span) ends.

    Args:
        store: where the object is.
        span: what to read; if it is the whole of an object that is compressed, the chunks are those of its expanded bytes.
        buffer: overwritten by each chunk; it grows for a longer line.
        line_bytes: how long a line may be.
        framing: another rule of where chunks end.
        compression: the object's, one of :data:`fastinfer.records.compression.COMPRESSION_TYPES`.
        payload_bytes: how many bytes a compressed object may have when it is expanded; 0: any number.
        opened: reads this span and others; None: the object is opened for this one.

    Raises:
        InputError: ``cannot_read``, ``input_missing``, ``line_too_long``; ``input_changed`` if the object changed after
            it was listed; ``payload_too_large`` where all of it is one chunk; as :class:`.compression.Expanded`.
        SeveralPayloads: before the first chunk.
    """
    with contextlib.ExitStack() as held:
        opened = opened or held.enter_context(OpenSpans(store, [span], len(buffer)))
        reader = opened.reader_of(span)
        if compression != NONE and span.is_whole:
            expanded = Expanded(reader, compression, span.item)
            if expanded.is_compressed:
                try:
                    yield from expand_chunks(expanded, span.item, buffer, line_bytes, framing, payload_bytes)
                except SeveralPayloads:
                    opened.leave()  # it is opened again, and read once more
                    raise
                return

        def fill(view: memoryview, offset: int) -> tuple[int, bool]:
            with view[: span.stop - offset] as target:
                count = reader.read_into(target, offset)
            ended = offset + count == span.stop
            if ended or not count:
                reader.check_unchanged()
            if not ended and not count:
                raise InputError(
                    f"ends at byte {offset:,}, expected {span.item.size:,} bytes as when it was listed",
                    code="input_changed",
                    path=span.item.uri,
                )
            return count, ended

        yield from _chunks(fill, span.start, span.item, buffer, line_bytes, framing)


def expand_chunks(
    expanded: Expanded,
    item: Object,
    buffer: bytearray,
    line_bytes: int,
    framing: Framing = Framing.LINES,
    payload_bytes: int = 0,
) -> Iterator[Chunk]:
    """The expanded bytes of an object in chunks, with the number of lines before each; see :func:`read_chunks`."""
    lines = 0
    read: Callable[[int], bytes] = expanded.read
    if payload_bytes:
        # All of it, before a record is taken for one of this payload.
        payload = expanded.read(payload_bytes + 1)
        if len(payload) > payload_bytes:
            raise SeveralPayloads("it is longer than a payload", code="payload_too_large", path=item.uri)
        read = io.BytesIO(payload).read

    def fill(view: memoryview, _: int) -> tuple[int, bool]:
        piece = read(len(view))
        view[: len(piece)] = piece
        return len(piece), len(piece) < len(view)

    for chunk in _chunks(fill, 0, item, buffer, line_bytes, framing):
        yield chunk._replace(lines=lines)
        lines += count_chunk_lines(buffer, chunk, framing)


def _chunks(
    fill: Callable[[memoryview, int], tuple[int, bool]],
    base: int,
    item: Object,
    buffer: bytearray,
    line_bytes: int,
    framing: Framing,
) -> Iterator[Chunk]:
    """Chunks of what ``fill`` reads from byte `base` on; it returns how many bytes, and whether they are the last ones."""
    kept = 0
    ended = False
    while not ended:
        if kept == len(buffer):
            if kept >= line_bytes:
                raise _too_long(item, base, line_bytes, framing)
            buffer *= 2  # in place, without a second buffer for what is added
            del buffer[line_bytes:]
        # No view may be left in the traceback of an error: the buffer is to be cut to its size again.
        with memoryview(buffer) as view, view[kept:] as target:
            count, ended = fill(target, base + kept)
        filled = kept + count
        cut = filled if ended else _LAST_ENDS[framing](buffer, filled)
        if cut or ended:
            yield Chunk(0, cut, base)
            base += cut
            buffer[: filled - cut] = buffer[cut:filled]
        kept = filled - cut


# Where a chunk may end: the last place in the buffer up to a position, 0 if there is none.
_LAST_ENDS: dict[Framing, Callable[[bytearray, int], int]] = {
    Framing.LINES: last_line_end,
    Framing.LF_LINES: lambda buffer, stop: buffer.rfind(b"\n", 0, stop) + 1,
    Framing.BODY: lambda *_: 0,
    Framing.PIECES: lambda _, stop: stop,
}


def count_chunk_lines(buffer: bytearray, chunk: Chunk, framing: Framing) -> int:
    """How many lines end in a chunk; none where its object has no lines."""
    if framing is Framing.LF_LINES:
        return buffer.count(b"\n", chunk.start, chunk.stop)
    return count_lines(buffer, chunk.start, chunk.stop) if framing is Framing.LINES else 0


def _too_long(item: Object, base: int, line_bytes: int, framing: Framing) -> InputError:
    if framing is Framing.BODY:
        message = f"a body of more than {line_bytes:,} bytes must be held as a whole"
        return InputError(
            message, code="payload_too_large", path=item.uri, hint="divide it, or have a line for each record"
        )
    return InputError(
        f"the line that begins at byte {base:,} is longer than {line_bytes:,} bytes",
        code="line_too_long",
        path=item.uri,
        hint="a record is one line",
    )
