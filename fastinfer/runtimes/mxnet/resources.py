"""What operators use while they run: temporary space and generators of random numbers, which MXNet keeps for each thread.

An executor uses those of the thread that *bound* it, whichever thread runs it. MXNet's other engines let two operators that
share temporary space run one after the other; the naive one does not. So two executors that one thread has bound overwrite
each other's values, or end the process, when two threads run them at the same time: a mobilenet was seen to give wrong
results in 3 passes of 100. And what a thread has is freed with the process, not with the thread: 5 MB for each.

So graphs are bound by threads that do nothing else. Executors that never run at the same time share one, and it is used again
when they are gone.

OpenMP's number of threads belongs to a thread as well. oneDNN reserves memory for that number when an operator is made, and
divides the work by the number that it finds when the operator runs: its pooling, made for one thread and run by two, writes
past that memory. So a thread that has more than one sets the number before it calls MXNet for the first time, and never again;
it must also run what it binds.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Any, Callable, TypeVar

from .libmxnet import check, load_libmxnet

T = TypeVar("T")


class Resources:
    """Those of a thread that no others use. Kept by the executors that are bound with them, which run one at a time.

    Args:
        operator_threads: among how many threads that thread divides the operators that it runs.
    """

    def __init__(self, operator_threads: int = 1) -> None:
        self._operator_threads = operator_threads
        self._thread: _Thread | None = None

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function on that thread, and returns or raises what it does.

        As a call of a C function, it ends before an interruption is raised: the thread, and a lock that the caller holds for
        it, are not free before.
        """
        if self._thread is None or self._thread.process != os.getpid():  # a fork of a process has no thread but its own
            self._thread = _take_idle(self._operator_threads)
        if self._thread.number == threading.get_ident():
            return function()
        return self._thread.call(function)

    def __del__(self) -> None:
        if self._thread is not None:
            _idle.append(self._thread)


class _Call:
    """A function that a thread is to call, and what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function: Callable[[], Any] | None = function
        self.result: Any = None
        self.error: BaseException | None = None
        self._has_ended = False
        self._ended = threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        assert self.function is not None
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error
        self.function = None  # and what it holds
        self._has_ended = True
        self._ended.release()

    def wait(self) -> None:
        # An interruption may be raised when the lock has just been taken: what tells that the call has ended is kept.
        while not self._has_ended:
            self._ended.acquire()


class _Thread:
    def __init__(self, operator_threads: int) -> None:
        self.process = os.getpid()
        self.operator_threads = operator_threads
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        thread = threading.Thread(target=self._run, name="fastinfer-bind", daemon=True)
        thread.start()
        self.number = thread.ident
        if operator_threads > 1:
            self.call(lambda: check(load_libmxnet().MXSetNumOMPThreads(operator_threads)))

    def call(self, function: Callable[[], T]) -> T:
        call = _Call(function)
        try:
            self._calls.put(call)
            call.wait()
        except BaseException:
            self._wait_for_all()
            raise
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call  # its error's traceback holds this frame
        found: T = call.result
        return found

    def _wait_for_all(self) -> None:
        """Waits until the calls before have ended, whether or not the last one was put before its caller was interrupted."""
        while True:
            last = _Call(int)
            try:
                self._calls.put(last)
                last.wait()
            except KeyboardInterrupt:  # one is raised already
                continue
            return

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            call.run()
            del call  # and what it holds


_idle: list[_Thread] = []


def _take_idle(operator_threads: int) -> _Thread:
    """A thread with so many operator threads that nothing uses; a new one if there is none."""
    here = os.getpid()
    for thread in list(_idle):
        is_own = thread.process == here
        if is_own and thread.operator_threads != operator_threads:
            continue
        try:
            _idle.remove(thread)
        except ValueError:  # another one has taken it
            continue
        if is_own:
            return thread
    return _Thread(operator_threads)
