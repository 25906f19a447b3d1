"""Bytes are taken piece by piece; bodies never wait for each other for ever, and none is lost when a waiting one goes away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from fastinfer.serving.budget import ByteBudget


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(steps, 60))


def test_who_finds_too_few_bytes_waits_and_the_first_is_served_first() -> None:
    async def steps() -> None:
        budget = ByteBudget(10, 0)
        holder, large, small, last = (budget.share() for _ in range(4))
        assert holder.take(6) is None
        waiting = [share.take(size) for share, size in ((large, 8), (small, 1), (last, 1))]
        assert None not in waiting  # small would fit, and does not overtake
        holder.give_back()
        assert [each.done() for each in waiting if each] == [True] * 3
        assert (large.taken, small.taken, last.taken, budget.taken) == (8, 1, 1, 10)

    run(steps())


def test_the_oldest_unfinished_one_may_use_the_reserve() -> None:
    async def steps() -> None:
        budget = ByteBudget(10, 5)
        first, second, third = (budget.share() for _ in range(3))
        assert first.take(5) is None
        assert second.take(5) is None
        waiting_second, waiting_third = second.take(2), third.take(1)
        assert first.take(3) is None  # though others wait
        assert waiting_second is not None
        assert waiting_third is not None
        assert not waiting_second.done()
        first.finish()  # not given back: 2 bytes of the reserve are left, for the second
        assert waiting_second.done()
        assert not waiting_third.done()
        second.give_back()
        assert waiting_third.done()
        first.give_back()
        third.give_back()
        assert budget.taken == 0

    run(steps())


@pytest.mark.parametrize("granted", [False, True])
def test_a_waiting_one_that_goes_away_takes_nothing(granted: bool) -> None:
    async def steps() -> None:
        budget = ByteBudget(10, 0)
        holder, gone, stays = (budget.share() for _ in range(3))
        assert holder.take(10) is None
        waiting_gone, waiting_stays = gone.take(10), stays.take(10)
        assert waiting_gone is not None
        assert waiting_stays is not None
        if granted:
            holder.give_back()
        waiting_gone.cancel()
        gone.give_back()
        holder.give_back()
        assert waiting_stays.done()
        assert budget.taken == 10

    run(steps())


@pytest.mark.parametrize("seed", range(5))
def test_bodies_that_come_in_any_order_all_get_through(seed: int) -> None:
    """Each is as large as the reserve, and they hold parts of the room at the same time."""
    order = random.Random(seed)

    async def steps() -> None:
        budget = ByteBudget(100, 50)
        most = 0

        async def body() -> None:
            nonlocal most
            share, left = budget.share(), 50
            try:
                while left:
                    size = min(left, order.randint(1, 7))
                    if waiting := share.take(size):
                        await waiting
                    left -= size
                    most = max(most, budget.taken)
                    await asyncio.sleep(0)
                share.finish()
                await asyncio.sleep(order.choice([0, 0.001]))
                if order.random() < 0.1:
                    raise ConnectionError
            finally:
                share.give_back()

        await asyncio.gather(*(body() for _ in range(40)), return_exceptions=True)
        assert budget.taken == 0
        assert 100 < most <= 150

    run(steps())
