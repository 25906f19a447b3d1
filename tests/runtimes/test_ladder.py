"""A batch of any number of rows is divided among bound graphs of several sizes, and comes out in order."""

from __future__ import annotations

import numpy as np
import pytest

from fastinfer.runtimes.base import BoundInput, BoundOutput
from fastinfer.runtimes.ladder import PASS_ROWS, Ladder, divide
from fastinfer.runtimes.views import rows_of


class Doubles:
    """Twice each of two values, and how many rows are not blank, at a batch size."""

    outputs = (BoundOutput("doubles", 1, (2,), "float32"), BoundOutput("sum", 1, (), "float32"))
    gives_a_row_each = True

    def __init__(self, batch_size: int, passes: list[int]) -> None:
        self.batch_size = batch_size
        self.passes = passes
        self.inputs = (BoundInput("data", (2,), memoryview(np.zeros(2 * batch_size, np.float32))),)

    def forward(self) -> tuple[memoryview, ...]:
        self.passes.append(self.batch_size)
        rows = rows_of(self)
        return memoryview(2 * rows.reshape(-1)), memoryview(rows.sum(axis=1))


def make(sizes: tuple[int, ...], seconds: tuple[float, ...] | None = None) -> tuple[Ladder, list[int], list[int]]:
    bound: list[int] = []
    passes: list[int] = []

    def bind(size: int) -> Doubles:
        bound.append(size)
        return Doubles(size, passes)

    return Ladder(bind, sizes, seconds), bound, passes


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("sizes", [(12,), (2, 5, 12), (1, 12)])
def test_every_number_of_rows_comes_out_in_order(sizes: tuple[int, ...], count: int) -> None:
    ladder, _, passes = make(sizes)
    for size in sizes:
        ladder._executor(size)
    for turn in range(2):  # what an earlier batch left behind does not matter
        rows = np.random.RandomState(turn).rand(12, 2).astype(np.float32)
        rows_of(ladder)[:] = rows
        doubles, sums = ladder.forward(count)
        assert np.array_equal(np.frombuffer(doubles, np.float32).reshape(-1, 2)[:count], 2 * rows[:count])
        assert np.array_equal(np.frombuffer(sums, np.float32)[:count], rows[:count].sum(axis=1))
        # No pass of one size would have taken less time.
        assert sum(size + PASS_ROWS for size in passes) <= min(size + PASS_ROWS for size in sizes if size >= count)
        passes.clear()


def test_the_largest_size_after_another_one_computes_the_rows_that_are_left() -> None:
    # Times as no machine has them: two passes of three are better than one of two and one of three.
    ladder, _, passes = make((2, 3), (9.0, 1.0))
    rows_of(ladder)[:] = [[1, 2], [3, 4], [5, 6]]
    assert list(ladder.forward(2)[0])[:4] == [2, 4, 6, 8]
    ladder, _, passes = make((2, 4), (1.0, 1.5))
    rows_of(ladder)[:] = np.arange(8).reshape(4, 2)
    assert list(ladder.forward(3)[0])[:6] == [0, 2, 4, 6, 8, 10]
    assert passes == [4]


def test_the_rest_of_a_pass_is_cleared_where_rows_may_influence_each_other() -> None:
    ladder, _, _ = make((3,))
    rows_of(ladder)[:] = 7
    assert list(ladder.forward(1, blank=True)[1]) == [14, 0, 0]


def test_a_smaller_size_is_bound_when_that_is_worth_its_time() -> None:
    slow, bound, passes = make((1, 4, 12), (1.0, 4.0, 12.0))  # binding takes no time to speak of
    assert bound == [12]
    slow.forward(12)
    assert bound == [12]
    slow.forward(1)
    slow.forward(2)
    assert bound == [12, 1]
    assert passes == [12, 1, 1, 1]
    other, bound, _ = make((1, 4, 12), (1.0, 4.0, 12.0))
    other.bind_smallest()
    assert bound == [12, 1]

    fast, bound, passes = make((1, 12), (1e-12, 12e-12))
    for _ in range(100):
        fast.forward(1)
    assert (bound, set(passes)) == ([12], {12})


def test_passes_are_timed_where_their_time_is_not_known() -> None:
    ladder, bound, passes = make((1, 8))
    ladder.forward(1)
    assert (bound, passes) == ([8], [8])  # nothing is known yet
    for _ in range(1000):
        ladder.forward(1)
    assert bound == [8, 1]


def test_rows_are_divided_so_that_they_cost_least() -> None:
    random = np.random.RandomState(3)
    for _ in range(20):
        costs = {size: float(random.rand() * size) for size in (2, 3, 8, 12)}
        divided = divide(costs)
        for count in range(1, 13):
            spent, left = 0.0, count
            while left > 0:
                spent += costs[divided[left][1]]
                left -= divided[left][1]
            assert spent == pytest.approx(divided[count][0])
            assert spent <= min(cost for size, cost in costs.items() if size >= count) + 1e-12
    assert [size for _, size in divide({1: 2.0, 8: 9.0})[4:6]] == [1, 8]  # a call costs about a row


def test_real_rows_are_compared_with_themselves() -> None:
    class Mixed(Doubles):
        """Twice each value, and more where one of them is huge."""

        def forward(self) -> tuple[memoryview, ...]:
            sums = super().forward()[1]
            rows = rows_of(self)
            return memoryview(2 * rows.reshape(-1) + 1e6 * (np.abs(rows) > 1e6).sum(dtype=np.float32)), sums

    ladder = Ladder(lambda size: Mixed(size, []), (2, 8), (1.0, 4.0))
    for values, expected in ((np.arange(12), True), (1e7 * np.arange(12), False)):
        rows_of(ladder)[:6] = values.reshape(6, 2)
        assert ladder.gives_again(6, ladder.forward(6)) is expected
    assert ladder.gives_again(2, ladder.forward(2))  # not asked


def test_real_rows_are_compared_in_a_batch_of_two_as_well() -> None:
    class First(Doubles):
        """The first row gets something else than the second."""

        def forward(self) -> tuple[memoryview, ...]:
            doubles, sums = super().forward()
            doubles[0] += 1
            return doubles, sums

    ladder = Ladder(lambda size: First(size, []), (2,), (1.0,))
    rows_of(ladder)[:] = [[1, 2], [3, 4]]
    assert not ladder.gives_again(2, ladder.forward(2))
    ladder = Ladder(lambda size: Doubles(size, []), (2,), (1.0,))
    rows_of(ladder)[:] = [[1, 2], [3, 4]]
    assert ladder.gives_again(2, ladder.forward(2))
