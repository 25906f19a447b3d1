"""Bytes are shared in the order of arrival, and none is lost when a waiting request goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastinfer.serving.budget import ByteBudget


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(steps, 10))


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_who_finds_too_few_bytes_waits_and_the_first_is_served_first() -> None:
    async def steps() -> None:
        budget, order = ByteBudget(10), []

        async def take(name: str, size: int) -> None:
            await budget.acquire(size)
            order.append(name)

        await take("a", 6)
        tasks = [asyncio.create_task(take(*each)) for each in (("large", 8), ("small", 1), ("last", 1))]
        await settle()
        assert order == ["a"]  # small would fit, and does not overtake
        budget.release(6)
        await settle()
        assert order == ["a", "large", "small", "last"]
        await asyncio.gather(*tasks)

    run(steps())


def test_a_waiting_request_that_goes_away_takes_nothing() -> None:
    async def steps() -> None:
        budget = ByteBudget(10)
        await budget.acquire(10)
        gone = asyncio.create_task(budget.acquire(5))
        stays = asyncio.create_task(budget.acquire(10))
        await settle()
        gone.cancel()
        await settle()
        budget.release(10)
        await stays
        budget.release(10)
        await budget.acquire(10)

    run(steps())


def test_a_request_that_goes_away_just_as_it_is_served_gives_its_bytes_back() -> None:
    async def steps() -> None:
        budget = ByteBudget(10)
        await budget.acquire(10)
        gone = asyncio.create_task(budget.acquire(10))
        await settle()
        budget.release(10)
        gone.cancel()
        await settle()
        assert gone.cancelled()
        await budget.acquire(10)

    run(steps())
