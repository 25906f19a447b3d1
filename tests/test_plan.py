"""Shards hold every input once, in order, and about equal cost."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fastinfer.inputs import InputFile
from fastinfer.plan import SHARD_BYTES, SHARD_FILES, plan_shards


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
