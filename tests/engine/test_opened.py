"""Shards of large objects far away are opened before they are taken: some of them, and none for nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from fastinfer.engine.opened import opened_ahead
from fastinfer.engine.plan import Shard
from fastinfer.options import Limits
from fastinfer.records.spans import Span
from fastinfer.storage.base import Object

MIB = 1 << 20


class Far:
    """Objects that are read by requests: notes where what was opened begins, and where what was closed does."""

    ahead_bytes = 1

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed: list[int] = []

    @contextlib.contextmanager
    def open(self, _: Object) -> Iterator[Any]:
        starts: list[int] = []

        def expect(blocks: Any) -> None:
            starts.append(next(iter(blocks))[0])
            self.opened += starts

        yield SimpleNamespace(expect=expect)
        self.closed += starts


def far_shards(sizes: Sequence[int], item: Object | None = None) -> list[Shard]:
    """Shards of one span each, of so many bytes."""
    item = item or Object("s3://bucket/x", "x", sum(sizes), b"v")
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [
        Shard(number, [Span(item, start, start + size, 1)]) for number, (start, size) in enumerate(zip(starts, sizes))
    ]


def test_the_next_shards_of_an_object_far_away_are_read_before_a_worker_is_free_for_them() -> None:
    inputs, stop = Far(), threading.Event()
    job: Any = SimpleNamespace(inputs=inputs, limits=Limits())
    sizes = [20 * MIB, 12 * MIB, 6 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB]
    found = opened_ahead(iter(far_shards(sizes)), job, stop)
    counts = []
    for shard, opened in found:
        counts.append(len(inputs.opened) - shard.number - 1)  # those that nobody has taken
        assert opened is not None
        with opened:
            opened.reader()
    # Where several are open, they have at most 16 MiB.
    assert counts == [1, 2, 3, 3, 2, 1, 0]
    assert inputs.opened == inputs.closed == [sum(sizes[:number]) for number in range(len(sizes))]


def test_a_run_that_stops_closes_what_no_worker_has_taken() -> None:
    inputs, stop = Far(), threading.Event()
    job: Any = SimpleNamespace(inputs=inputs, limits=Limits())
    found = opened_ahead(iter(far_shards([4 * MIB] * 8)), job, stop)
    _, opened = next(found)
    assert opened is not None
    stop.set()
    assert next(found, None) is None
    opened.close()
    assert sorted(inputs.closed) == inputs.opened == [0, 4 * MIB, 8 * MIB, 12 * MIB]


def test_no_shard_waits_until_the_objects_behind_it_are_listed_and_files_at_hand_are_not_opened() -> None:
    taken: list[int] = []

    def noting(shards: list[Shard]) -> Iterator[Shard]:
        for shard in shards:
            taken.append(shard.number)
            yield shard

    inputs, stop = Far(), threading.Event()
    job: Any = SimpleNamespace(inputs=inputs, limits=Limits())
    file = Object("s3://bucket/y", "y", 10, b"v")
    shards = [*far_shards([4 * MIB] * 3), Shard(3, [file])]
    found = opened_ahead(noting(shards), job, stop)
    for _ in range(3):
        _, opened = next(found)
        assert opened is not None
        opened.close()
        assert taken == [0, 1, 2]
    assert next(found) == (shards[3], None)
    inputs.ahead_bytes = 0
    shards = far_shards([4 * MIB] * 3)
    assert list(opened_ahead(iter(shards), job, stop)) == [(shard, None) for shard in shards]
