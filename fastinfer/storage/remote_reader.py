"""Reads objects of S3: many small ones under way at a time, large ones by ranges, of which some are read ahead."""

from __future__ import annotations

import errno
import io
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import InputError
from .atomic import unreadable
from .base import Object
from .crew import Gathering, the_crew
from .s3_client import Bucket
from .s3_listing import Listed
from .width import MOST_THREADS

# Blocks that follow each other are read in ranges of so many bytes: a request costs a server about as much as some MiB
# (SeaweedFS, benchmarks/bench_s3.py: ranges of 1 MiB have a quarter of the rate).
RANGE_BYTES = 8 << 20
# The first ranges are smaller, each twice as large as the one before, so that work begins before 8 MiB have come.
FIRST_RANGE_BYTES = 1 << 20
# Of one large object, so many bytes and ranges are under way: S3 sends less than 100 MB a second through a connection, and
# a worker may take three times as much.
AHEAD_BYTES = 4 * RANGE_BYTES
# Before one is taken, the ranges up to the first large one: an object may be opened before a worker is free for it.
FIRST_AHEAD_BYTES = 2 * RANGE_BYTES - FIRST_RANGE_BYTES
AHEAD_RANGES = 64
# Of small objects, so many bytes are held for each worker.
GROUP_AHEAD_BYTES = 8 << 20
# An object up to this size is a small request, of which only so many are under way as the server takes.
SMALL_BYTES = 64 << 10
# So many small objects wait for a thread, are under way or have come, so that no thread is ever without work; a worker that
# needs the next ones waits for so many of them.
AHEAD_OBJECTS, ANSWERED_OBJECTS = 2 * MOST_THREADS, 64
# Of the next objects that are read alone, or of the next shards: one more is opened where there are no more than so many bytes.
NEXT_AHEAD_BYTES = (8 << 20) + FIRST_AHEAD_BYTES
# What a worker may have: of a large object, with the range that it reads, of the next ones, and of small objects.
MOST_AHEAD_BYTES = AHEAD_BYTES + RANGE_BYTES + NEXT_AHEAD_BYTES + GROUP_AHEAD_BYTES

_Block = tuple[int, int]  # the first byte, and how many


class RemoteReader:
    """An object that is being read by ranges, of the version that was listed; a context manager.

    Args:
        bucket: where it is.
        key: its name there.
        item: what was listed.
        is_small: whether it is read by a small request. Not by a thread that carries out such requests itself: all of them
            could wait for one more.
    """

    def __init__(self, bucket: Bucket, key: str, item: Object, *, is_small: bool = False) -> None:
        self._bucket = bucket
        self._key = key
        self._item = item
        self._gathered = Gathering(the_crew(is_large=not is_small), self._get)
        self._expected: Iterator[_Block] = iter(())
        self._ahead: deque[_Block] = deque()
        self._held: tuple[int, Any] = (0, b"")

    def __enter__(self) -> RemoteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._gathered.close()

    def expect(self, blocks: Iterable[_Block]) -> None:
        """Reads these blocks ahead, some at a time: a few of them from now on, more when the first one is taken."""
        self._expected = joined(blocks, FIRST_RANGE_BYTES, RANGE_BYTES)
        self._read_ahead(FIRST_AHEAD_BYTES)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads bytes from `offset` into `view`. Raises InputError."""
        wanted = min(len(view), self._item.size - offset)
        if wanted <= 0:
            return 0
        start, content = self._held
        if not start <= offset < start + len(content):
            try:
                start, content = self._held = self._next(offset, wanted)
            except OSError as error:
                raise unreadable(self._item.uri, error) from error
        count = min(len(view), start + len(content) - offset)
        import numpy as np  # late: sessions of SageMaker, which read nothing so, do without

        # Unlike memoryview's, NumPy's copies leave the interpreter to the other workers.
        np.copyto(np.frombuffer(view, np.uint8, count), np.frombuffer(content, np.uint8, count, offset - start))
        return count

    def check_unchanged(self) -> None:
        """Every range was of the version that was listed, or there was an error."""

    def _next(self, offset: int, wanted: int) -> tuple[int, Any]:
        """The block with a byte: one that was read ahead, else the bytes that are wanted."""
        while self._ahead and sum(self._ahead[0]) <= offset:
            self._gathered.take(self._ahead.popleft())
            self._read_ahead(AHEAD_BYTES)
        if not self._ahead or self._ahead[0][0] > offset:
            return offset, self._get((offset, wanted))
        block = self._ahead.popleft()
        content = self._gathered.take(block)
        self._read_ahead(AHEAD_BYTES)
        return block[0], content

    def _read_ahead(self, most_bytes: int) -> None:
        started = []
        held = sum(size for _, size in self._ahead)
        while held < most_bytes and len(self._ahead) < AHEAD_RANGES:
            block = next(self._expected, None)
            if block is None:
                break
            self._ahead.append(block)
            started.append(block)
            held += block[1]
        if started:
            self._gathered.begin(started)

    def _get(self, block: _Block) -> Any:
        start, size = block
        return self._bucket.get(self._key, self._item.version, start, start + size, size)


def joined(blocks: Iterable[_Block], first_bytes: int, most_bytes: int) -> Iterator[_Block]:
    """The same bytes in fewer blocks: those that follow each other as one, unless that would be too large.

    Args:
        blocks: first byte and size of each.
        first_bytes: how large the first block may become; each next one twice as large as the one before.
        most_bytes: how large any may become.

    >>> list(joined([(0, 3), (3, 3), (6, 3), (9, 3), (12, 3), (20, 1)], 3, 6))
    [(0, 3), (3, 6), (9, 6), (20, 1)]
    """
    held: _Block | None = None
    most = first_bytes
    for start, size in blocks:
        if held is not None and sum(held) == start and held[1] + size <= most:
            held = held[0], held[1] + size
            continue
        if held is not None:
            yield held
            most = min(2 * most, most_bytes)
        held = start, size
    if held is not None:
        yield held


def count_ranges(size: int) -> int:
    """How many ranges are asked for where so many bytes are read in turn."""
    count, most = 0, FIRST_RANGE_BYTES
    while size > 0 and most < RANGE_BYTES:
        size, most, count = size - most, 2 * most, count + 1
    return count + max(0, -(-size // RANGE_BYTES))


class GroupReader:
    """Reads small objects in the order in which they were announced.

    Args:
        items: what will be read.
        gathered: reads the object of an index.
    """

    def __init__(self, items: Sequence[Object], gathered: Gathering) -> None:
        self._items = items
        self._gathered = gathered
        self._next = 0  # the first item that was not read
        self._begun = 0  # the first item that was not begun
        self._ahead_bytes = 0
        self._contents: deque[Any] = deque()  # what has come of the next items; for one that failed, the error

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads objects one after another into `buffer`, as many as fit: (end, errno or 0) of each. Raises ServiceError."""
        while self._items[self._next] is not items[0]:
            self._drop()  # it was too large for a buffer
        bounds: list[tuple[int, int]] = []
        stop = 0
        for _ in items:
            if not self._contents:
                self._await_some()
            content = self._contents[0]
            if isinstance(content, BaseException):
                if isinstance(content, InputError) or not isinstance(content, OSError):
                    raise content
                code = content.errno or errno.EIO
            else:
                code, size = 0, len(content)
                if stop + size > len(buffer):
                    break
                buffer[stop : stop + size] = content
                stop += size
            self._pass()
            bounds.append((stop, code))
        return bounds

    def _await_some(self) -> None:
        """Reads ahead, and waits for the next objects: for many at a time, since waiting costs as much as reading one."""
        if self._begun - self._next <= AHEAD_OBJECTS // 2:
            self._read_ahead()
        self._contents += self._gathered.take_all(range(self._next, min(self._begun, self._next + ANSWERED_OBJECTS)))

    def _read_ahead(self) -> None:
        first = self._begun
        while (
            self._begun < len(self._items)
            and self._begun - self._next < AHEAD_OBJECTS
            and (self._ahead_bytes < GROUP_AHEAD_BYTES or self._begun == self._next)
        ):
            self._ahead_bytes += self._items[self._begun].size
            self._begun += 1
        if self._begun > first:
            self._gathered.begin(range(first, self._begun))

    def _pass(self) -> None:
        self._contents.popleft()
        self._ahead_bytes -= self._items[self._next].size
        self._next += 1

    def _drop(self) -> None:
        if self._begun > self._next:
            if not self._contents:
                self._await_some()
            self._pass()
        else:
            self._next = self._begun = self._next + 1


class RangeFile(io.RawIOBase):
    """One of our own objects as a file that is read from the beginning. Raises OSError, ServiceError."""

    PIECE_BYTES = 1 << 20

    def __init__(self, bucket: Bucket, entry: Listed) -> None:
        item = Object(f"s3://{bucket.name}/{entry.key}", entry.key, entry.size, entry.version)
        self._reader = RemoteReader(bucket, entry.key, item)
        self._position = 0
        size = self.PIECE_BYTES
        starts = range(0, entry.size, size)
        self._reader.expect(
            zip(starts, itertools.chain(itertools.repeat(size, len(starts) - 1), [entry.size % size or size]))
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            count = self._reader.read_into(view, self._position)
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._reader.__exit__()
        super().close()
