"""A graph whose operators are divided among threads, for a record beside which nothing else is computed.

Usually each worker computes with one thread, and the workers are the parallelism. A lone record leaves the other cores idle: of
a model that computes much for it, its operators are divided among them. That changes bits for some models, so the same
records are given to both graphs; only where all bits are the same does a clock say which graph is used.

What other programs do while it is measured says nothing of later: with one of them on the second of two cores, a divided pass
takes as long as a usual one. So the clock is the processor time of the thread that computes, and waits asleep for the others.
"""

from __future__ import annotations

import math
import os
import time
from time import perf_counter
from typing import TYPE_CHECKING, Callable

from .. import machine
from ..errors import ModelError
from ..options import Options
from . import probe_cache
from .base import AS_IT_IS, Executor, OwnThread, Runtime
from .batch_size import Batching, copied_bytes
from .ladder import Ladder
from .provenance import of_model
from .refused import FAILED_PASS

if TYPE_CHECKING:
    from ..models.load import AnyModel

Clock = Callable[[], float]

# A record is much work where the graph computes values of so many bytes for it: resnet18 at 224 x 224 25 MB, AlexNet 5, a small
# mobilenet, an LSTM or LeNet less than 2. Passes of less take a few milliseconds, and handing them to threads takes longer.
LARGE_BYTES = 2 << 20
# Of a model with more parameters no other copy is made.
MOST_COPIED_BYTES = 256 << 20
# More threads gain little for one record, and wait for each other.
MOST_THREADS = 8
# The graph is used if the other one takes so many times as long, in processor time.
WORTH = 1.3
TIMED_PASSES, TIMED_S = 3, 1.0
# So many records are compared, of each kind; and more where they give so few values that chance might make all bits equal.
LEAST_ROWS, MOST_ROWS, LEAST_VALUES = 14, 84, 512
# Where passes take long the server should not: after so many seconds these are enough, which is one of each of the first kinds.
COMPARED_S, ENOUGH_ROWS = 10.0, 6
# Each of several slow passes in a row lets twice as many records pass by, up to so many.
MOST_PASSED_BY = 64


class Divided:
    """The graph, for one thread at a time, and when it is used.

    Args:
        ladder: the graph.
        threads: among how many threads its operators are divided.
        usual_s: seconds of a record by the usual graph.
    """

    def __init__(self, ladder: Ladder, threads: int, usual_s: float) -> None:
        self.ladder = ladder
        self.threads = threads
        self._usual_s = usual_s
        self._process = os.getpid()
        self._slow = 0  # passes in a row that took longer than the usual graph
        self._to_pass_by = 0

    def takes(self, records: int) -> bool:
        """Whether some records that are alone are to be computed with it: fewer than there are threads.

        While it is slow, because other programs use the cores for which its threads wait, most records pass it by.
        """
        if records >= self.threads or os.getpid() != self._process:  # its thread is not in a forked process
            return False
        self._to_pass_by -= 1
        return self._to_pass_by < 0

    def took(self, seconds: float) -> None:
        """Says how long a record took."""
        self._slow = self._slow + 1 if seconds > self._usual_s else 0
        self._to_pass_by = min(2**self._slow, MOST_PASSED_BY) if self._slow else 0


def bind_divided(
    runtime: Runtime, model: AnyModel, batching: Batching, usual: Ladder, options: Options
) -> Divided | None:
    """The divided graph, where there is use for it: the runtime can divide operators, a record is much work, there are idle
    cores beside the one that computes it, its bits are the usual ones, and it is quicker.

    Args:
        runtime: the runtime.
        model: the model.
        batching: how the usual graph computes records.
        usual: the usual graph.
        options: with how many workers there are; no more threads than these are used.
    """
    threads = min(options.workers or 1, machine.cores(), MOST_THREADS)
    is_float = all(each.dtype.startswith("float") for each in usual.outputs)  # the number of a class hides the bits
    if threads < 2 or not runtime.divides or options.device != "cpu" or not (batching.invariant and is_float):
        return None
    size, row_wise = batching.smallest, batching.row_wise
    dense = batching.dense if size < batching.dense.rows else AS_IT_IS
    depends_on = {**of_model(model, options), **runtime.identity(), "threads": threads, "size": size}
    depends_on.update(exact=row_wise, dense=list(dense))
    bound: list[Executor] = []

    def ladder() -> Ladder:
        if not bound:
            bound.append(runtime.bind(model, ("cpu", 0), size, row_wise=row_wise, dense=dense, threads=threads))
        return Ladder(lambda _: bound[0], (size,))

    try:
        if sum(runtime.value_bytes(model)) < LARGE_BYTES or copied_bytes(model) > MOST_COPIED_BYTES:
            return None
        if not probe_cache.cached_answer(depends_on, lambda: gives_the_same(usual, ladder())):
            return None
        divided = ladder()
        executor = bound[0]
        clock = executor.processor_s if isinstance(executor, OwnThread) else time.thread_time
        usual_s, seconds = time_both((usual, time.thread_time), (divided, clock))
    except ModelError:
        return None  # the usual graph answers
    return Divided(divided, threads, usual_s) if usual_s >= WORTH * seconds else None


def gives_the_same(usual: Ladder, divided: Ladder) -> bool:
    """Whether a graph gives single records the bits of the usual one, in one order and in the other."""
    from .invariance import probe_rows  # and NumPy with it: most runs know the answer

    values = sum(each.rows * math.prod(each.shape) for each in usual.outputs)
    count = min(max(LEAST_ROWS, -(-LEAST_VALUES // max(1, values))), MOST_ROWS)
    inputs = [probe_rows(count, math.prod(each.shape)) for each in usual.inputs]

    def answer(graph: Ladder, number: int) -> list[bytes] | None:
        """The bytes of all outputs; None for a record that an operator refuses."""
        for each, rows in zip(graph.inputs, inputs):
            row = rows[number].tobytes()
            each.memory.cast("B")[: len(row)] = row
        try:
            found = graph.forward(1, blank=True)
        except ModelError as error:
            if error.code != FAILED_PASS:
                raise
            return None
        sizes = [each.itemsize * output.rows * math.prod(output.shape) for each, output in zip(found, graph.outputs)]
        return [bytes(each.cast("B")[:size]) for each, size in zip(found, sizes)]

    expected: list[list[bytes] | None] = []
    computed = 0
    started = perf_counter()
    while len(expected) < count and (computed < ENOUGH_ROWS or perf_counter() - started < COMPARED_S):
        number = len(expected)
        expected.append(answer(usual, number))
        if answer(divided, number) != expected[number]:
            return False
        computed += expected[number] is not None
    if computed < ENOUGH_ROWS:
        return False  # the model refuses most of them
    return all(answer(divided, number) == expected[number] for number in range(ENOUGH_ROWS)[::-1])


def time_both(usual: tuple[Ladder, Clock], divided: tuple[Ladder, Clock]) -> tuple[float, float]:
    """Seconds of a record by each, by its clock: the least of a few, in turns; the first pass is not counted."""
    least = [math.inf, math.inf]
    started = perf_counter()
    for number in range(TIMED_PASSES + 1):
        for which, (ladder, clock) in enumerate((usual, divided)):
            before = clock()
            ladder.forward(1)
            if number:
                least[which] = min(least[which], clock() - before)
        if number and perf_counter() - started > TIMED_S:
            break
    return least[0], least[1]
