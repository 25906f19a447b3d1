"""Bound graphs of several batch sizes, all of which give a row the same bits: a batch costs about what its rows cost.

The last batch of a shard, a request of one row: with a graph of one size each would cost a whole batch. Here a batch of any
number of rows is divided among the sizes so that it takes the least time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Callable

from ..errors import ModelError
from .base import BoundInput, BoundOutput, Executor

# Where the time of a pass was not measured: it takes as long as its rows, and about one row more.
PASS_ROWS = 1.0


class Ladder:
    """A model at several batch sizes, for one thread at a time. Rows are written to the memory of the largest.

    So many attributes: what callers see of the largest graph, and how a batch is divided.

    Args:
        bind: returns a bound graph of a batch size. All but the largest are bound when that is worth its time: when passes
            of a size that is bound have cost more than the passes and the binding would have.
        sizes: the sizes, in ascending order.
        seconds: of a pass at each size; None: not known.

    Attributes:
        batch_size: the largest size.
        inputs, outputs: of its graph; see :class:`fastinfer.runtimes.base.Executor`.
        gives_a_row_each: whether it gives rows for records.
        has_passed: whether it has ever predicted something.
        failed: the rows of the last pass that has failed; those before them in :meth:`forward` passed.
    """

    def __init__(
        self, bind: Callable[[int], Executor], sizes: Sequence[int], seconds: Sequence[float] | None = None
    ) -> None:
        self._bind = bind
        self.batch_size = sizes[-1]
        started = perf_counter()
        largest = bind(self.batch_size)
        self._bind_s = perf_counter() - started
        self.inputs: tuple[BoundInput, ...] = largest.inputs
        self.outputs: tuple[BoundOutput, ...] = largest.outputs
        self.gives_a_row_each = largest.gives_a_row_each
        self._bound = {self.batch_size: largest}
        self._costs = dict(zip(sizes, seconds or (size + PASS_ROWS for size in sizes)))
        # Seconds for a unit of cost: if they are not known, the least of the passes so far says it; before the first, nothing.
        self._unit_s = 1.0 if seconds else 0.0
        self._is_timed = seconds is not None
        self._divided = divide(self._costs)
        self._lost_s = 0.0  # because a size is not bound
        self.has_passed = False
        self.failed = range(0)

    @property
    def least_checked(self) -> int:
        """How many rows :meth:`gives_again` needs: two, and where a batch has more a third beside which they stood."""
        return max(2, min(3, self.batch_size))

    def bind_smallest(self) -> None:
        """Binds the smallest size now: where rows mostly come alone, that is worth its time."""
        self._executor(min(self._costs))

    def forward(self, count: int, *, blank: bool = False, repeat: bool = False) -> tuple[memoryview, ...]:
        """Predicts the first rows in the memory of `inputs`.

        Args:
            count: how many rows there are, at least 1.
            blank: whether to clear what an earlier batch left behind the last row, which may influence the rows' bits.
            repeat: whether to fill that place with a row of this batch, so that no other one can make the pass fail.

        Returns:
            for each output a flat buffer with the values of at least `count` rows, in order.

        Raises:
            ModelError: ``failed_pass``: an operator fails. The rows are still in the memory of `inputs`.
        """
        parts: list[tuple[memoryview, ...]] = []
        first = 0
        while first < count:
            size = self._choose(count - first)
            executor = self._executor(size)
            rows = min(size, count - first)
            displaced: list[tuple[memoryview, bytes]] = []
            for mine, theirs in zip(self.inputs, executor.inputs):
                width = math.prod(mine.shape)
                if first or theirs.memory is not mine.memory:
                    if theirs.memory is mine.memory:
                        displaced.append((mine.memory.cast("B"), bytes(mine.memory.cast("B")[: 4 * count * width])))
                    theirs.memory[: rows * width] = mine.memory[first * width : (first + rows) * width]
                if (blank or repeat) and rows < size:
                    memory = theirs.memory.cast("B")
                    row = bytes(memory[: 4 * width]) if repeat else bytes(4 * width)
                    memory[4 * rows * width :] = row * (size - rows)
            started = perf_counter()
            try:
                parts.append(executor.forward())
            except ModelError:
                self.failed = range(first, first + rows)
                for mine, theirs in zip(self.inputs, executor.inputs):
                    if theirs.memory is not mine.memory:  # what has failed is not to be behind the rows of a later pass
                        theirs.memory.cast("B")[:] = bytes(theirs.memory.nbytes)
                for memory, kept in displaced:
                    memory[: len(kept)] = kept
                raise
            if not self._is_timed:
                unit_s = (perf_counter() - started) / self._costs[size]
                self._unit_s = min(self._unit_s or unit_s, unit_s)
            first += rows
        self.has_passed = True
        return parts[0] if len(parts) == 1 else tuple(map(_join, zip(*parts)))

    def gives_again(self, count: int, predictions: tuple[memoryview, ...]) -> bool:
        """Whether the first record and the last one get the same bits once more, in the other order and without the others.

        The probe has asked that of rows of its own; this asks it of real ones. Of fewer than :attr:`least_checked` it is not
        asked. The memory of `inputs` does not hold the rows any more afterwards.

        Args:
            count: how many rows there are in the memory of `inputs`.
            predictions: of them, as :meth:`forward` gave them.
        """
        if count < self.least_checked:
            return True
        for each in self.inputs:
            size, memory = 4 * math.prod(each.shape), each.memory.cast("B")
            last = bytes(memory[(count - 1) * size : count * size])
            memory[size : 2 * size] = memory[:size]
            memory[:size] = last
        again = self.forward(2, repeat=True)  # not blank rows, which the model may refuse
        for output, now, before in zip(self.outputs, again, predictions):
            size = now.itemsize * output.rows * math.prod(output.shape)
            now, before = now.cast("B"), before.cast("B")
            if now[: 2 * size] != bytes(before[(count - 1) * size : count * size]) + bytes(before[:size]):
                return False
        return True

    def _choose(self, count: int) -> int:
        """The size of the pass for the first of so many rows."""
        cost, size = self._divided[count]
        if size in self._bound:
            return size
        instead_cost, _, instead = min((-(-count // each) * self._costs[each], -each, each) for each in self._bound)
        self._lost_s += (instead_cost - cost) * self._unit_s
        return size if self._lost_s > self._bind_s else instead

    def _executor(self, size: int) -> Executor:
        if size not in self._bound:
            self._bound[size] = self._bind(size)
            self._lost_s = 0.0
        return self._bound[size]


def divide(costs: Mapping[int, float]) -> list[tuple[float, int]]:
    """How to divide any number of rows, up to the largest size, among sizes at the least cost.

    Args:
        costs: of a pass at each size.

    Returns:
        for each number of rows the cost, and the size of the pass that takes the first of them.
    """
    least = [(0.0, 0)]
    for count in range(1, max(costs) + 1):
        total, size = min((least[max(0, count - size)][0] + cost, -size) for size, cost in costs.items())
        least.append((total, -size))
    return least


def _join(parts: tuple[memoryview, ...]) -> memoryview:
    """Buffers of one type, one behind another."""
    joined: Any = memoryview(bytearray().join(part.cast("B") for part in parts))
    whole: memoryview = joined.cast(parts[0].format)
    return whole
