"""A bound graph whose operators are divided among threads; one thread binds it and runs it (resources.py)."""

from __future__ import annotations

import threading
import time
from typing import Callable

from ...errors import ModelError
from .graph import MXNetExecutor
from .resources import Resources


class ThreadedExecutor:
    """A bound graph; see :class:`fastinfer.runtimes.base.Executor`. It cannot be used in a forked process.

    Args:
        bind: binds the graph with resources.
        threads: among how many threads operators are divided, at least 2.

    Raises:
        ModelError: what `bind` raises; or the system does not let this process have so many threads.
    """

    def __init__(self, bind: Callable[[Resources], MXNetExecutor], threads: int) -> None:
        _check_threads(threads)
        self._resources = Resources(threads)
        self._executor = bind(self._resources)
        self.batch_size = self._executor.batch_size
        self.inputs = self._executor.inputs
        self.outputs = self._executor.outputs
        self.gives_a_row_each = self._executor.gives_a_row_each

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        self._executor.bind_again()  # here: this thread may hold the lock of binding
        return self._resources.call(self._executor.forward)

    def processor_s(self) -> float:
        """See :meth:`fastinfer.runtimes.base.OwnThread.processor_s`.

        The thread computes a share of each operator, as others do, and sleeps while it waits for them: it takes as long as a
        pass does where no other program has their cores.
        """
        return self._resources.call(time.thread_time)


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
