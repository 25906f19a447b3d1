"""Shards hold every input once, in order, and about equal cost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.engine.plan import plan_shards
from fastinfer.options import Limits
from fastinfer.records.spans import Span
from fastinfer.storage.base import Object

LIMITS = Limits()
BYTES = LIMITS.span_bytes_most


def items(sizes: list[int]) -> list[Object]:
    return [Object(f"/in/{number}", f"{number}", size, 0) for number, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 3 * LIMITS.shard_bytes), max_size=50), workers=st.integers(1, 9))
def test_every_input_is_in_one_shard_in_order(sizes: list[int], workers: int) -> None:
    inputs = items(sizes)
    shards = list(plan_shards(inputs, workers, LIMITS))
    assert list(itertools.chain.from_iterable(shard.items for shard in shards)) == inputs
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(shard.items for shard in shards)


@given(count=st.integers(1, 5000), workers=st.integers(1, 8))
def test_equal_files_are_divided_equally(count: int, workers: int) -> None:
    shards = list(plan_shards(items([10_192] * count), workers, LIMITS))
    sizes = [len(shard.items) for shard in shards]
    assert len(shards) <= max(workers, -(-count // LIMITS.shard_objects) + 1)
    assert max(sizes) <= -(-count // workers)


@given(counts=st.lists(st.integers(2, 200), min_size=1, max_size=4), workers=st.integers(1, 9))
def test_spans_of_a_file_are_in_order_and_fewer_to_a_shard_towards_its_end(counts: list[int], workers: int) -> None:
    files = [Object("/in/a", "a", BYTES * count, 0) for count in counts]
    spans = [
        [Span(file, BYTES * number, BYTES * (number + 1), 784) for number in range(count)]
        for file, count in zip(files, counts)
    ]
    shards = list(plan_shards(spans, workers, LIMITS))
    assert list(itertools.chain.from_iterable(shard.items for shard in shards)) == [
        *itertools.chain.from_iterable(spans)
    ]
    for file in files:
        sizes = [len(shard.items) for shard in shards if shard.items[0].item is file]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] <= LIMITS.shard_bytes // BYTES
        assert sizes[-workers:] == [1] * min(workers, len(sizes))


@pytest.mark.parametrize("are_far", [False, True])
def test_work_starts_before_a_long_listing_ends(are_far: bool) -> None:
    most = LIMITS.far_shard_objects if are_far else LIMITS.shard_objects
    listed = 0

    def listing() -> itertools.chain[Object]:
        nonlocal listed
        for number in range(10 * LIMITS.shard_objects):
            listed += 1
            yield Object(f"/in/{number}", f"{number}", 10, 0)

    shards = plan_shards(listing(), 2, LIMITS, are_far=are_far)
    assert len(next(shards).items) == most
    assert listed <= 2 * most + 1
