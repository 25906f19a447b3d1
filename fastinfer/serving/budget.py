"""A limit on the bytes of all bodies in memory at a time, taken as they arrive."""

from __future__ import annotations

import asyncio


class ByteBudget:
    """Bytes that bodies take piece by piece, and give back together, in one event loop.

    Bodies that hold a part each could wait for each other for ever. So the oldest unfinished one may also use a reserve; when
    it is finished, the next one may.

    Args:
        size: bytes that all bodies may take.
        reserve: bytes beside these: of the largest body.
    """

    def __init__(self, size: int, reserve: int) -> None:
        self._size = size
        self._reserve = reserve
        self._taken = 0
        self._unfinished: dict[Share, None] = {}
        self._waiting: dict[Share, tuple[int, asyncio.Future[None]]] = {}

    @property
    def taken(self) -> int:
        """Bytes that bodies hold."""
        return self._taken

    def share(self) -> Share:
        """The share of a body."""
        return Share(self)

    def take(self, share: Share, size: int) -> asyncio.Future[None] | None:
        """Takes bytes for a share: None if it has them, else what to wait for, first come, first served."""
        self._unfinished.setdefault(share)
        if (not self._waiting or self._is_oldest(share)) and self._fits(share, size):
            self._give(share, size)
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[share] = (size, future)
        return future

    def finish(self, share: Share) -> None:
        """Says that a share takes no more."""
        self._unfinished.pop(share, None)
        self._waiting.pop(share, None)
        self._wake()

    def give_back(self, share: Share) -> None:
        """Gives back all that a share has taken."""
        self._taken -= share.taken
        share.taken = 0
        self.finish(share)

    def _is_oldest(self, share: Share) -> bool:
        return next(iter(self._unfinished), None) is share

    def _fits(self, share: Share, size: int) -> bool:
        return self._taken + size <= self._size + (self._reserve if self._is_oldest(share) else 0)

    def _give(self, share: Share, size: int) -> None:
        self._taken += size
        share.taken += size

    def _wake(self) -> None:
        oldest = next(iter(self._unfinished), None)
        for share in sorted(self._waiting, key=lambda share: share is not oldest):  # stable: then in order
            size, future = self._waiting[share]
            if self._fits(share, size):
                del self._waiting[share]
                self._give(share, size)
                if not future.done():
                    future.set_result(None)
            elif share is not oldest:
                break


class Share:
    """What one body has taken of a budget.

    Attributes:
        taken: its bytes.
    """

    __slots__ = ("_budget", "taken")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, size: int) -> asyncio.Future[None] | None:
        """See :meth:`ByteBudget.take`."""
        return self._budget.take(self, size)

    def finish(self) -> None:
        """Says that the body is whole."""
        self._budget.finish(self)

    def give_back(self) -> None:
        """Gives back all that it has taken."""
        self._budget.give_back(self)
