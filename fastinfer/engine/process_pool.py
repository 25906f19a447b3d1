"""The processes that run shards: loky's, where no wait is for ever.

A process may be killed while it holds a lock of a queue, or has written a part of a report. loky sees that a process has ended,
and ends the others; but not while it reads a report, nor when it is about to end them anyway: then it waits for processes that
wait for the lock, without end. Here either is found by the clock, and all are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import connection
from typing import Any, Callable, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend.process import LokyProcess
from joblib.externals.loky.process_executor import TerminatedWorkerError as TerminatedWorkerError

from . import process

T = TypeVar("T")

# loky sees at once that a process has ended, unless it waits itself: for so long at most.
STALL_S = 5.0
# Processes that have nothing to do any more end within this time, or are killed.
END_TIMEOUT_S = 30.0
# Those that are killed end at once; and where one was, the others may wait for a lock that it held.
KILL_TIMEOUT_S = 2.0
LOOK_S = 0.2


class ProcessPool:
    """Fresh processes, started by the thread that submits first, which must live as long as they do (process.py).

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self._executor: Any = ProcessPoolExecutor(workers, initializer=process.end_with_parent, initargs=(os.getpid(),))

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Calls a function in one of the processes. Raises TerminatedWorkerError where one of them has ended."""
        future: Future[T] = self._executor.submit(function, *arguments)
        return future

    def wait(self, futures: Iterable[Future[T]]) -> Future[T]:
        """Waits until one of them is done, and returns it. Raises TerminatedWorkerError where loky waits for a dead process."""
        futures = list(futures)
        ended: set[int] = set()
        while True:
            done = wait(futures, STALL_S, FIRST_COMPLETED).done
            if done:
                return done.pop()
            seen, ended = ended, self._ended()
            if seen & ended:
                raise TerminatedWorkerError("a process has ended while it wrote a report")

    def close(self, *, kill: bool) -> None:
        """Ends the processes, and returns when they have ended.

        Args:
            kill: whether they are killed, whatever they do.
        """
        processes = self._processes()
        manager, results = self._executor._executor_manager_thread, self._executor._result_queue
        self._executor.shutdown(wait=False, kill_workers=kill)
        if manager is None:  # none was started
            return
        try:
            ends_at = time.monotonic() + END_TIMEOUT_S
            while not kill and manager.is_alive() and time.monotonic() < ends_at:
                manager.join(LOOK_S)
                kill = any(each.exitcode for each in processes)
            manager.join(KILL_TIMEOUT_S)
        finally:
            if manager.is_alive():
                for each in filter(LokyProcess.is_alive, processes):
                    os.kill(each.pid, signal.SIGKILL)
                # Nobody writes any more: the report that one has begun to write ends here.
                with contextlib.suppress(OSError):
                    results._writer.close()
                manager.join()

    def _ended(self) -> set[int]:
        """The numbers of processes that have ended, of those that loky still counts on."""
        processes = self._processes()
        ready = connection.wait([each.sentinel for each in processes], 0)
        return {each.pid for each in processes if each.sentinel in ready}

    def _processes(self) -> list[Any]:
        return list(self._executor._processes.values())
