"""Shards hold every input once, in order, and about equal cost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.engine.plan import PART_BYTES_MOST, SHARD_BYTES, SHARD_FILES, part_bytes, plan_shards
from fastinfer.storage.local import InputFile, Part

BYTES = PART_BYTES_MOST


def items(sizes: list[int]) -> list[InputFile]:
    return [InputFile(f"/in/{number}", f"{number}", size, 0) for number, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 3 * SHARD_BYTES), max_size=50), workers=st.integers(1, 9))
def test_every_input_is_in_one_shard_in_order(sizes: list[int], workers: int) -> None:
    inputs = items(sizes)
    shards = list(plan_shards(inputs, workers))
    assert list(itertools.chain.from_iterable(shard.items for shard in shards)) == inputs
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(shard.items for shard in shards)


@given(count=st.integers(1, 5000), workers=st.integers(1, 8))
def test_equal_files_are_divided_equally(count: int, workers: int) -> None:
    shards = list(plan_shards(items([10_192] * count), workers))
    sizes = [len(shard.items) for shard in shards]
    assert len(shards) <= max(workers, -(-count // SHARD_FILES) + 1)
    assert max(sizes) <= -(-count // workers)


@given(counts=st.lists(st.integers(2, 200), min_size=1, max_size=4), workers=st.integers(1, 9))
def test_parts_of_a_file_are_in_order_and_fewer_to_a_shard_towards_its_end(counts: list[int], workers: int) -> None:
    files = [InputFile("/in/a", "a", BYTES * count, 0) for count in counts]
    parts = [
        [Part(file, BYTES * number, BYTES * (number + 1), 784) for number in range(count)]
        for file, count in zip(files, counts)
    ]
    shards = list(plan_shards(parts, workers))
    assert list(itertools.chain.from_iterable(shard.items for shard in shards)) == [
        *itertools.chain.from_iterable(parts)
    ]
    for file in files:
        sizes = [len(shard.items) for shard in shards if shard.items[0].file is file]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] <= SHARD_BYTES // BYTES
        assert sizes[-workers:] == [1] * min(workers, len(sizes))


def test_work_starts_before_a_long_listing_ends() -> None:
    listed = 0

    def listing() -> itertools.chain[InputFile]:
        nonlocal listed
        for number in range(10 * SHARD_FILES):
            listed += 1
            yield InputFile(f"/in/{number}", f"{number}", 10, 0)

    shards = plan_shards(listing(), 2)
    assert len(next(shards).items) == SHARD_FILES
    assert listed <= 2 * SHARD_FILES + 1


@pytest.mark.parametrize(
    ("size", "part"),
    [(16 << 20, 2 << 20), (128 << 20, 2 << 20), (256 << 20, 4 << 20), (2 << 30, 16 << 20), (1 << 40, 16 << 20)],
)
def test_parts_grow_with_their_file_between_bounds(size: int, part: int) -> None:
    assert part_bytes(size) == part
