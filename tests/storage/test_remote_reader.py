"""Ranges are read ahead, a bounded part of an object at a time, and none is asked for twice."""

from __future__ import annotations

import io
import threading
from typing import Any

from fastinfer.storage.base import Object
from fastinfer.storage.remote_reader import (
    AHEAD_BYTES,
    FIRST_AHEAD_BYTES,
    RANGE_BYTES,
    RangeFile,
    RemoteReader,
    count_ranges,
    joined,
)
from fastinfer.storage.s3_listing import Listed
from tests.conftest import wait_until

MIB = 1 << 20


class Memory:
    """A bucket of one object in memory, which notes what is asked for, and the store of that object."""

    name = "memory"

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def open(self, item: Object) -> RemoteReader:
        bucket: Any = self
        return RemoteReader(bucket, item.key, item)

    def get(self, _key: str, _version: bytes, start: int, stop: int, _size: int) -> bytes:
        with self._lock:
            self.asked.append((start, stop))
        return self.content[start:stop]


def open_reader(size: int) -> tuple[Memory, RemoteReader]:
    memory = Memory(bytes(size))
    return memory, memory.open(Object("s3://memory/x", "x", size, b"v"))


def test_expected_blocks_are_read_once_in_growing_ranges_and_only_some_ahead() -> None:
    memory, reader = open_reader(100 * MIB)
    with reader:
        reader.expect((offset, MIB) for offset in range(0, 100 * MIB, MIB))
        view = memoryview(bytearray(MIB))
        assert reader.read_into(view, 0) == MIB
        assert sum(stop - start for start, stop in memory.asked) <= AHEAD_BYTES + 2 * RANGE_BYTES
        for offset in range(MIB, 100 * MIB, MIB):
            assert reader.read_into(view, offset) == MIB
        assert reader.read_into(view, 100 * MIB) == 0
    bounds = [0, MIB, 3 * MIB, *range(7 * MIB, 100 * MIB, RANGE_BYTES), 100 * MIB]
    assert sorted(memory.asked) == list(zip(bounds, bounds[1:]))
    assert count_ranges(100 * MIB) == len(memory.asked)


def test_the_first_ranges_are_read_before_anybody_takes_them() -> None:
    memory, reader = open_reader(100 * MIB)
    with reader:
        reader.expect((offset, MIB) for offset in range(0, 100 * MIB, MIB))
        wait_until(lambda: len(memory.asked) == 4)
        assert sum(stop - start for start, stop in memory.asked) == FIRST_AHEAD_BYTES == 15 * MIB
        assert reader.read_into(memoryview(bytearray(MIB)), 0) == MIB
        wait_until(lambda: len(memory.asked) > 4)


def test_ranges_are_counted_as_they_are_asked_for() -> None:
    for size in (0, 1, MIB, MIB + 1, 3 * MIB, 7 * MIB, 8 * MIB, 15 * MIB, 15 * MIB + 1, 40 * MIB):
        blocks = ((start, min(MIB, size - start)) for start in range(0, size, MIB))
        assert count_ranges(size) == len(list(joined(blocks, MIB, RANGE_BYTES)))


def test_bytes_of_a_range_come_in_their_places() -> None:
    content = bytes(number % 251 for number in range(3 * MIB + 17))
    with Memory(content).open(Object("s3://memory/x", "x", len(content), b"v")) as reader:
        reader.expect([(0, MIB), (MIB, MIB), (2 * MIB, MIB), (3 * MIB, 17)])
        view = memoryview(bytearray(700_000))
        found = b""
        while count := reader.read_into(view, len(found)):
            found += view[:count]
    assert found == content


def test_only_blocks_that_follow_each_other_are_joined() -> None:
    assert list(joined([], 10, 10)) == []
    assert list(joined([(5, 20)], 10, 10)) == [(5, 20)]
    assert list(joined([(0, 4), (4, 4), (8, 4), (12, 1), (13, 9), (30, 1), (29, 1)], 10, 10)) == [
        (0, 8),
        (8, 5),
        (13, 9),
        (30, 1),
        (29, 1),
    ]


def test_blocks_that_nobody_reads_are_passed_over_and_others_are_read_by_themselves() -> None:
    memory, reader = open_reader(10 * MIB)
    with reader:
        reader.expect([(MIB, 100), (5 * MIB, 100), (9 * MIB, 100)])
        view = memoryview(bytearray(100))
        assert reader.read_into(view, 5 * MIB + 50) == 50
        assert reader.read_into(view, 3 * MIB) == 100
        assert reader.read_into(view, 9 * MIB) == 100
        assert reader.read_into(view, 10 * MIB - 7) == 7
    assert (3 * MIB, 3 * MIB + 100) in memory.asked
    assert (10 * MIB - 7, 10 * MIB) in memory.asked


def test_a_range_file_is_a_file() -> None:
    for size in (0, 1, MIB, 2 * MIB + 17):
        memory: Any = Memory(bytes(number % 251 for number in range(size)))
        with io.BufferedReader(RangeFile(memory, Listed("x", size, b"v"))) as file:
            assert file.read() == memory.content
        assert sum(stop - start for start, stop in memory.asked) == size
