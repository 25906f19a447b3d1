"""A pool of processes ends, whatever moment one of them is killed at."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import pytest

from fastinfer.engine import process_pool
from fastinfer.engine.process_pool import ProcessPool


def wait_for_all(pool: ProcessPool, futures: list[Any]) -> list[Any]:
    results = []
    while futures:
        future = pool.wait(futures)
        futures.remove(future)
        results.append(future.result())
    return sorted(results)


def test_a_process_that_is_killed_as_the_pool_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # One of two idle processes holds the lock of the queue from which both read.
    monkeypatch.setattr(process_pool, "KILL_TIMEOUT_S", 0.3)
    for victim in (0, 1):
        pool = ProcessPool(2)
        assert wait_for_all(pool, [pool.submit(abs, -number) for number in range(4)]) == [0, 1, 2, 3]
        time.sleep(0.05)
        processes = pool._processes()
        started = time.monotonic()
        os.kill(processes[victim].pid, signal.SIGKILL)
        pool.close(kill=False)
        assert time.monotonic() - started < 20
        assert not any(each.is_alive() for each in processes)


def cut_report() -> None:
    """Writes the beginning of a report, and is killed with the lock in its hands."""
    frame: Any = sys._getframe()
    while "result_queue" not in frame.f_locals:
        frame = frame.f_back
    results = frame.f_locals["result_queue"]
    results._wlock.acquire()
    os.write(results._writer.fileno(), b"\0\0\1\0abc")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_report_that_is_cut_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "STALL_S", 0.3)
    monkeypatch.setattr(process_pool, "KILL_TIMEOUT_S", 0.3)
    pool = ProcessPool(2)
    futures = [pool.submit(cut_report), pool.submit(time.sleep, 1000)]
    started = time.monotonic()
    with pytest.raises(process_pool.TerminatedWorkerError, match="while it wrote a report"):
        wait_for_all(pool, futures)
    processes = pool._processes()
    pool.close(kill=True)
    assert time.monotonic() - started < 30
    assert not any(each.is_alive() for each in processes)


def test_a_pool_of_which_nothing_was_asked_ends() -> None:
    ProcessPool(2).close(kill=False)
