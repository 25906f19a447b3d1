"""A pool of objects that one thread may use at a time, such as bound graphs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends each of its objects to one thread at a time."""

    def __init__(self, things: Iterable[T]) -> None:
        self._idle = list(things)[::-1]  # the first one is lent first: it may have been prepared
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def lend(self) -> Iterator[T]:
        """Lends one object that no other thread uses; waits until one is free.

        An interruption (Ctrl-C) while it waits loses none: what a queue returned could be lost just then.
        """
        held: list[T] = []
        try:
            with self._freed:
                while not self._idle:
                    self._freed.wait()
                # One call, within which no interruption is raised: between two, a thing would be in both lists or in none.
                held.extend(map(list.pop, [self._idle]))
            yield held[0]
        finally:
            with self._freed:
                self._idle += held
                self._freed.notify()  # also of one that this thread was told of, and has not taken
