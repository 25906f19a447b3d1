"""Finds batch sizes at which a row's bits depend on that row alone, and which of them give the same bits.

oneDNN chooses its kernels by the shape of the batch, and at many sizes the last rows of a batch are computed by other code than
the first: the same record gives other last bits at another place. At some sizes that does not happen. The probe finds one
by running the model: the same rows at other places and beside other neighbours must give the same bits. Then outputs do
not depend on how records are divided into batches: not on workers, order, sharding or a resumed run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .base import AS_IT_IS, DenseLayers, Executor
from .ladder import Ladder
from .probe_cache import Found
from .refused import FAILED_PASS, predict
from .views import predict_all, rows_of

Rows = list[NDArray[np.float32]]
Clock = Callable[[], float]
Bind = Callable[[int, DenseLayers], Optional[Executor]]
# A few values may have the same last bits by chance, so at least so many are compared; but of at most so many rows, which have
# at most so many values together.
LEAST_VALUES, MOST_ROWS, MOST_GIVEN = 1024, 144, 1 << 17
# Where little is summed, as in a dense layer of three inputs, one value in a thousand differs: so many are compared where the
# values in the graph have at most so many bytes for all their rows together.
MANY_VALUES, MANY_ROWS_BYTES = 1 << 13, 8 << 20
# Of a layer by itself so many values are compared: sums in another order mostly have other bits.
LAYER_VALUES = 512
# A size whose dense layers are computed on more rows is used if it takes no more than this part of the pass that it saves.
WORTH = 0.9
# A pass is timed so often, or until it has taken so long together.
TIMED_PASSES, TIMED_S = 5, 1.0
# Of a model that refuses rows of the probe, so many are tried alone; and rows of one number: most long ones of the probe have a
# zero in them, and indices may begin at another number.
TRIED_ROWS = 24
TRIED_NUMBERS = (*(1 << power for power in range(21)), -1)


def find_sizes(
    bind: Bind,
    candidates: Sequence[int],
    smaller: Sequence[int],
    most: int | None = None,
    *,
    has_dense: bool = False,
    bind_layers: Bind | None = None,
    row_bytes: int | None = None,
    clock: Clock = perf_counter,
) -> Found | None:
    """The first invariant candidate, and the smaller sizes that give the same bits; None if none is invariant.

    Args:
        bind: returns an executor of a batch size, whose dense layers are computed in a given way; None where the graph has
            none of that size.
        candidates: sizes in the order in which they are tried.
        smaller: sizes that may be used below it, in ascending order.
        most: how many of them are looked for, the smallest first; None: all.
        has_dense: whether it has dense layers that the runtime can compute on more rows.
        bind_layers: as `bind`, of these layers by themselves, without what is added to their sums; None: they are not compared.
        row_bytes: of all values in the graph for one row; None: not known.
        clock: gives the seconds by which passes are timed.
    """
    for candidate in candidates:
        executor = bind(candidate, AS_IT_IS)
        if executor is None or not executor.gives_a_row_each:
            continue
        batches = probe_batches(executor, row_bytes)
        if not all(is_invariant(executor, batch) for batch in batches):
            continue
        layers = _Layers(bind_layers, candidate)
        if not layers.are_invariant:
            continue
        inputs = [np.concatenate(each) for each in zip(*batches)]
        reference = [np.concatenate(each) for each in zip(*(run(executor, batch) for batch in batches))]
        sizes: list[int] = []
        seconds: list[float] = []
        for size in smaller:
            if size >= candidate or len(sizes) == most:
                break
            small = bind(size, AS_IT_IS) if layers.agree(size, AS_IT_IS) else None
            if small is not None and gives_the_bits(small, inputs, reference):
                sizes.append(size)
                seconds.append(time_pass(small, clock))
        sizes.append(candidate)
        seconds.append(time_pass(executor, clock))
        dense = DenseLayers(sizes[0])
        if has_dense:
            below = [size for size in smaller if size < dense.rows][:most]
            padded: dict[int, float] = {}
            chained = DenseLayers(sizes[0], chained=True)
            for dense in (chained, chained._replace(products=False), DenseLayers(sizes[0])):
                padded = _find_padded(bind, below, dense, WORTH * min(seconds), inputs, reference, layers, clock)
                if padded:
                    break
            kept = 0 if padded and most is not None else len(sizes) - 1  # of those above, beside the candidate
            sizes = [*padded, *sizes[:kept], candidate]
            seconds = [*padded.values(), *seconds[:kept], seconds[-1]]
        # Fewer rows take no longer: where the clock says so, the machine was busy.
        return Found(tuple(sizes), tuple(min(seconds[number:]) for number in range(len(seconds))), dense)
    return None


class _Layers:
    """The fully connected layers of a model by themselves. What a bias hides of their sums' last bits shows here.

    Args:
        bind: see :func:`find_sizes`; None: there is nothing to compare.
        batch_size: whose bits others must have.

    Attributes:
        are_invariant: whether their bits depend on the row alone at that size.
    """

    def __init__(self, bind: Bind | None, batch_size: int) -> None:
        executor = bind(batch_size, AS_IT_IS) if bind else None
        self._bind = None if executor is None else bind
        if executor is None:
            self.are_invariant = True
            return
        self._rows = probe_inputs(executor)
        self.are_invariant = is_invariant(executor, self._rows)
        self._reference = run(executor, self._rows)
        fewest = min(each.rows * math.prod(each.shape) for each in executor.outputs)
        self._count = -(-LAYER_VALUES // fewest)

    def agree(self, batch_size: int, dense: DenseLayers) -> bool:
        """Whether they have the same bits at a smaller size, where they are computed in that way."""
        if self._bind is None:
            return True
        small = self._bind(batch_size, dense)
        count = max(batch_size, self._count)
        rows, reference = ([each[:count] for each in values] for values in (self._rows, self._reference))
        return small is not None and gives_the_bits(small, rows, reference)


def _find_padded(
    bind: Bind,
    sizes: Sequence[int],
    dense: DenseLayers,
    most_s: float,
    rows: Rows,
    reference: list[NDArray[Any]],
    layers: _Layers,
    clock: Clock,
) -> dict[int, float]:
    """Of a few sizes those that give the same bits with such dense layers, up to the first that does not or takes too long;
    with the seconds of a pass."""
    found: dict[int, float] = {}
    for size in sizes:
        small = bind(size, dense) if layers.agree(size, dense) else None
        if small is None or not gives_the_bits(small, rows, reference):
            break
        seconds = time_pass(small, clock)
        if seconds > most_s:
            break
        found[size] = seconds
    return found


def is_invariant(executor: Executor, rows: Rows | None = None, *, nearly: bool = False) -> bool:
    """Whether a row's prediction has the same bits at every place in the batch and beside other rows.

    Args:
        executor: a bound graph.
        rows: a batch for each input; None: the probe's.
        nearly: whether last bits may differ, as they do by the order of sums; not what a row has of another.
    """
    same = nearly_same if nearly else same_bits
    if not executor.gives_a_row_each:
        return False
    rows = rows or probe_inputs(executor)
    reference = run(executor, rows)
    size = executor.batch_size
    for shift in sorted({1 % size, 3 % size, size // 2, size - 1} - {0}):
        moved = run(executor, [np.roll(each, shift, axis=0) for each in rows])
        if not same([np.roll(each, -shift, axis=0) for each in moved], reference):
            return False
    # Other neighbours: every second row is blank, as in the last batch of a run, or of another kind.
    for factor, term in ((0, 0), (0, 255), (-1e4, 0)):
        for first in (0, 1):
            mixed = [each.copy() for each in rows]
            for each in mixed:
                each[first::2] = each[first::2] * np.float32(factor) + np.float32(term)
            kept = slice(1 - first, None, 2)
            try:
                found = run(executor, mixed)
            except ModelError as error:
                if error.code != FAILED_PASS:
                    raise
                continue  # the model refuses such neighbours, so none has them
            if not same([each[kept] for each in found], [each[kept] for each in reference]):
                return False
    return True


def gives_the_bits(small: Executor, rows: Rows, reference: list[NDArray[Any]]) -> bool:
    """Whether a smaller graph gives rows the bits of a larger, invariant one, at other places and in another order.

    Args:
        small: the smaller graph.
        rows: one or more batches of the larger graph, for each input.
        reference: the predictions of the larger graph.
    """
    size, count = small.batch_size, len(rows[0])
    if not small.gives_a_row_each:
        return False
    for shift in (0, 1 + size // 2):
        moved, wanted = ([np.roll(each, shift, axis=0) for each in values] for values in (rows, reference))
        # The last rows are those of a pass that goes beyond the end: it begins earlier.
        for first in [*range(0, count - size, size), count - size]:
            found = run(small, [each[first : first + size] for each in moved])
            if not same_bits(found, [each[first : first + size] for each in wanted]):
                return False
    return True


def takes_some(executor: Executor) -> bool:
    """Whether a graph computes a batch of one of the probe's rows, any of them: an operator may check what it is given."""
    for rows in tried_rows([math.prod(each.shape) for each in executor.inputs]):
        with contextlib.suppress(ModelError):
            run(executor, [np.repeat(each, executor.batch_size, axis=0) for each in rows])
            return True
    return False


def tried_rows(widths: Sequence[int]) -> Iterator[Rows]:
    """Rows of which a graph that checks what it is given may take one: arrays (1, values) for inputs of so many values."""
    for number in TRIED_NUMBERS:
        yield [np.full((1, width), number, np.float32) for width in widths]
    probe = [probe_rows(TRIED_ROWS, width) for width in widths]
    for index in range(TRIED_ROWS):
        yield [each[index : index + 1] for each in probe]


def accepted_rows(executor: Executor) -> Rows:
    """The probe's rows that a model accepts, each as often as is needed to fill a batch. Raises ModelError where they are fewer
    than two."""
    inputs = probe_inputs(executor)
    for number, each in enumerate(inputs):
        rows_of(executor, number)[:] = each
    size = executor.batch_size
    _, refused = predict(Ladder(lambda _: executor, (size,)), size)
    accepted = [number for number in range(size) if number not in refused]
    if len(accepted) < 2:
        raise refused[min(refused)]
    chosen = [accepted[number % len(accepted)] for number in range(size)]
    return [each[chosen] for each in inputs]


def time_pass(executor: Executor, clock: Clock) -> float:
    """Seconds of a pass: the least of a few."""
    least, started = float("inf"), clock()
    for _ in range(TIMED_PASSES):
        before = clock()
        executor.forward()
        after = clock()
        least = min(least, after - before)
        if after - started >= TIMED_S:
            break
    return least


def probe_rows(count: int, values: int) -> NDArray[np.float32]:
    """Rows for the probe, of all kinds that models are given: a row of one kind stands beside one of another.

    Small numbers, of several magnitudes so that a softmax at the end is not saturated for all of them; pixels and other whole
    numbers, as indices are; zeros and ones; zeros alone; large numbers; and each row again, somewhere else.
    """
    random = np.random.RandomState(20090601)
    rows = random.uniform(-1, 1, (count, values)).astype(np.float32)
    rows[::2] = np.abs(rows[::2])
    rows *= np.exp2(-(np.arange(count) % 12)).astype(np.float32)[:, None]
    # By a row's number modulo 7, which no batch size has as a divisor: each kind comes to every place.
    rows[1::7] = random.randint(0, 256, rows[1::7].shape)
    rows[2::7] = random.randint(0, 10, rows[2::7].shape)
    rows[3::7] = random.randint(0, 2, rows[3::7].shape)
    rows[4::7] *= 1000
    rows[5::14] = 0
    again = rows[12::14]
    again[:] = rows[: len(again)]
    return rows


def probe_inputs(executor: Executor) -> Rows:
    """Rows for each input of a graph."""
    return [probe_rows(*rows_of(executor, number).shape) for number in range(len(executor.inputs))]


def probe_batches(executor: Executor, row_bytes: int | None = None) -> list[Rows]:
    """Batches of rows for each input of a graph: one, or more where it gives few values; still more where a row is little
    work, by the bytes of all values in the graph for one."""
    size = executor.batch_size
    given = sum(math.prod(each.shape) for each in executor.inputs)
    values = sum(each.rows * math.prod(each.shape) for each in executor.outputs)
    least = min(-(-LEAST_VALUES // max(1, values)), MOST_ROWS, MOST_GIVEN // given)
    if row_bytes is not None:
        least = max(least, min(-(-MANY_VALUES // max(1, values)), MANY_ROWS_BYTES // row_bytes))
    count = max(1, -(-least // size))
    rows = [probe_rows(count * size, math.prod(each.shape)) for each in executor.inputs]
    return [[each[first : first + size] for each in rows] for first in range(0, count * size, size)]


def run(executor: Executor, rows: Rows) -> list[NDArray[Any]]:
    """The predictions of all outputs, with as many rows each as there are records."""
    for number, each in enumerate(rows):
        rows_of(executor, number)[:] = each
    return [each.reshape(executor.batch_size, -1) for each in predict_all(executor)]


def same_bits(left: list[NDArray[Any]], right: list[NDArray[Any]]) -> bool:
    """Whether arrays have the same bytes."""
    return all(each.tobytes() == other.tobytes() for each, other in zip(left, right))


def nearly_same(left: list[NDArray[Any]], right: list[NDArray[Any]]) -> bool:
    """Whether arrays have the same values but for what the order of sums changes in them."""
    return all(
        np.allclose(
            each,
            other,
            rtol=1e-3,
            atol=1e-5 * np.abs(other, where=np.isfinite(other), out=np.zeros(other.shape)).max(initial=0),
            equal_nan=True,
        )
        for each, other in zip(left, right)
    )
