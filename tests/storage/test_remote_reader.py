"""Ranges are read ahead, a bounded part of an object at a time, and none is asked for twice."""

from __future__ import annotations

import io
import threading
from typing import Any

from fastinfer.storage.base import Object
from fastinfer.storage.remote_reader import AHEAD_BYTES, RANGE_BYTES, RangeFile, RemoteReader, joined
from fastinfer.storage.s3_client import Listed

MIB = 1 << 20


class Memory:
    """A bucket of one object in memory, which notes what is asked for."""

    name = "memory"

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def get(self, _key: str, _version: bytes, start: int, stop: int, _size: int) -> bytes:
        with self._lock:
            self.asked.append((start, stop))
        return self.content[start:stop]


def open_reader(size: int) -> tuple[Memory, RemoteReader]:
    memory: Any = Memory(bytes(size))
    return memory, RemoteReader(memory, "x", Object("s3://memory/x", "x", size, b"v"))


def test_expected_blocks_are_read_once_in_ranges_and_only_some_ahead() -> None:
    memory, reader = open_reader(40 * MIB)
    with reader:
        reader.expect((offset, MIB) for offset in range(0, 40 * MIB, MIB))
        view = memoryview(bytearray(MIB))
        assert reader.read_into(view, 0) == MIB
        assert len(memory.asked) * RANGE_BYTES <= AHEAD_BYTES + 2 * RANGE_BYTES
        for offset in range(MIB, 40 * MIB, MIB):
            assert reader.read_into(view, offset) == MIB
        assert reader.read_into(view, 40 * MIB) == 0
    assert sorted(memory.asked) == [(offset, offset + RANGE_BYTES) for offset in range(0, 40 * MIB, RANGE_BYTES)]


def test_only_blocks_that_follow_each_other_are_joined() -> None:
    assert list(joined([], 10)) == []
    assert list(joined([(5, 20)], 10)) == [(5, 20)]
    assert list(joined([(0, 4), (4, 4), (8, 4), (12, 1), (13, 9), (30, 1), (29, 1)], 10)) == [
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
