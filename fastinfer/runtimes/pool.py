"""A pool of objects that one thread may use at a time, such as bound graphs."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends each of its objects to one thread at a time."""

    def __init__(self, things: Iterable[T]) -> None:
        self._idle: queue.SimpleQueue[T] = queue.SimpleQueue()
        for thing in things:
            self._idle.put(thing)

    @contextlib.contextmanager
    def lend(self) -> Iterator[T]:
        """Lends one object that no other thread uses; waits until one is free."""
        thing = self._idle.get()
        try:
            yield thing
        finally:
            self._idle.put(thing)
