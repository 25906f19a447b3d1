"""A limit on the bytes of all bodies in memory at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Bytes that are acquired and released in one event loop; if there are too few, the request waits, in order of arrival."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size: int) -> None:
        """Takes bytes; waits until there are enough and all earlier requests have theirs."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(size)  # acquired and cancelled in the same turn of the loop
            raise

    def release(self, size: int) -> None:
        """Gives bytes back."""
        self._free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, future = self._waiting.popleft()
            if not future.done():
                self._free -= size
                future.set_result(None)
