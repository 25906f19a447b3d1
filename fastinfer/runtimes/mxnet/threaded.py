"""A bound graph whose operators are divided among threads; one thread of its own binds it and runs it.

OpenMP's number of threads is a value of each thread. oneDNN reserves memory for that number when an operator is made, and
divides the work by the number that it finds when the operator runs: its pooling, made for one thread and run by two, writes
past that memory. So a thread sets the number before it calls MXNet for the first time, and never again. MXNet keeps operators
for each thread, and oneDNN for each number, so none is run by another number of threads than it was made for.
"""

from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue
from typing import Any, Callable

from ...errors import ModelError
from .graph import MXNetExecutor
from .libmxnet import check, load_libmxnet


class ThreadedExecutor:
    """A bound graph; see :class:`fastinfer.runtimes.base.Executor`. It cannot be used in a forked process.

    Args:
        bind: binds the graph.
        threads: among how many threads operators are divided, at least 2.

    Raises:
        ModelError: what `bind` raises; or the system does not let this process have so many threads.
    """

    def __init__(self, bind: Callable[[], MXNetExecutor], threads: int) -> None:
        _check_threads(threads)
        self._asked: SimpleQueue[int] = SimpleQueue()
        self._given: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._number = 0
        arguments = (bind, threads, self._asked, self._given)
        threading.Thread(target=_run, args=arguments, name="fastinfer-operators", daemon=True).start()
        self._executor: MXNetExecutor = self._wait()
        self.batch_size = self._executor.batch_size
        self.inputs = self._executor.inputs
        self.outputs = self._executor.outputs
        self.gives_a_row_each = self._executor.gives_a_row_each
        # The thread ends with this object; at the end of the program it is left alone.
        weakref.finalize(self, self._asked.put, 0).atexit = False

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        self._number += 1
        self._asked.put(self._number)
        predictions: tuple[memoryview, ...] = self._wait()
        return predictions

    def _wait(self) -> Any:
        number, given = self._given.get()
        while number != self._number:  # of a pass whose caller was interrupted while it waited
            number, given = self._given.get()
        if isinstance(given, BaseException):
            raise given
        return given


def _run(
    bind: Callable[[], MXNetExecutor], threads: int, asked: SimpleQueue[int], given: SimpleQueue[tuple[int, Any]]
) -> None:
    """The thread of a graph: gives the graph, then the predictions of each pass, or the error, with the number of the pass."""
    try:
        check(load_libmxnet().MXSetNumOMPThreads(threads))
        executor = bind()
    except BaseException as error:
        given.put((0, error))
        return
    given.put((0, executor))
    while number := asked.get():
        try:
            given.put((number, executor.forward()))
        except BaseException as error:
            given.put((number, error))


def _check_threads(count: int) -> None:
    """Raises ModelError if so many threads cannot be started: OpenMP would end the process."""
    gate = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=gate.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise ModelError(f"this process cannot have {count} threads more: {error}") from error
    finally:
        gate.set()
        for thread in started:
            thread.join()
