"""Requests are carried out by as many threads as keep the machine busy, and all have ended when their gathering is closed."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from fastinfer.storage.crew import Crew, Gathering, answered, gathering, the_crew
from fastinfer.storage.width import FIRST_THREADS, LEAST_THREADS, MOST_THREADS
from tests.conftest import wait_until


def test_answers_are_taken_in_any_order_and_errors_are_raised() -> None:
    def request(number: int) -> int:
        if number == 3:
            raise OSError(2, "three")
        return number * number

    gathered = Gathering(Crew(), request)
    gathered.begin(range(5))
    assert [gathered.take(number) for number in (4, 0, 1)] == [16, 0, 1]
    with pytest.raises(OSError, match="three"):
        gathered.take(3)
    assert gathered.has(2)
    assert not gathered.has(3)
    assert gathered.take(2) == 4
    gathered.close()


def test_requests_run_at_a_time() -> None:
    meeting = threading.Barrier(LEAST_THREADS)
    gathered = Gathering(Crew(), lambda _: meeting.wait(30))
    gathered.begin(range(LEAST_THREADS))
    assert sorted(gathered.take(number) for number in range(LEAST_THREADS)) == list(range(LEAST_THREADS))


def test_large_requests_run_at_a_time_however_few_small_ones_should() -> None:
    crew, meeting = Crew(is_steered=False), threading.Barrier(2 * FIRST_THREADS)
    gathered = Gathering(crew, lambda _: meeting.wait(30))
    gathered.begin(range(2 * FIRST_THREADS))
    assert len({gathered.take(number) for number in range(2 * FIRST_THREADS)}) == 2 * FIRST_THREADS


def test_small_requests_do_not_wait_for_large_ones() -> None:
    goes_on = threading.Event()
    large = Gathering(the_crew(is_large=True), lambda _: goes_on.wait(30))
    large.begin(range(MOST_THREADS))
    assert list(answered(str, range(3))) == ["0", "1", "2"]
    goes_on.set()
    assert all(large.take(number) for number in range(MOST_THREADS))


def test_nothing_runs_when_a_gathering_is_closed() -> None:
    goes_on = threading.Event()
    begun: list[int] = []

    def request(number: int) -> None:
        begun.append(number)
        goes_on.wait(30)

    gathered = Gathering(Crew(), request)
    gathered.begin(range(10 * MOST_THREADS))
    threading.Timer(0.05, goes_on.set).start()
    gathered.close()
    ended = len(begun)
    assert ended < 10 * MOST_THREADS
    gathered.close()
    assert len(begun) == ended


def test_more_requests_are_begun_as_soon_as_an_answer_says_so() -> None:
    meeting = threading.Barrier(MOST_THREADS - 1)

    def request(number: int) -> None:
        if number:
            meeting.wait(30)
        else:
            time.sleep(0.05)  # so many must be under way that all others meet

    gathered = Gathering(Crew(), request)
    gathered.begin(range(MOST_THREADS))
    for number in range(MOST_THREADS):
        gathered.take(number)


def test_threads_that_are_no_longer_wanted_end() -> None:
    crew, lock = Crew(), threading.Lock()
    crew.note = lambda _: None  # type: ignore[method-assign, assignment]
    working = most = 0

    def request(number: int) -> None:
        nonlocal working, most
        with lock:
            working += 1
            if number == FIRST_THREADS:
                crew._width.value = LEAST_THREADS
            most = max(most, working if number >= 3 * FIRST_THREADS else 0)
        time.sleep(0.001)  # all others begin theirs
        with lock:
            working -= 1

    gathered = Gathering(crew, request)
    gathered.begin(range(6 * FIRST_THREADS))
    for number in range(6 * FIRST_THREADS):
        gathered.take(number)
    assert 0 < most <= LEAST_THREADS
    gathered.close()


class _Woken(threading.Event):
    """Counts how often somebody waited and was woken."""

    waits = threading.Semaphore(0)
    count = 0

    def wait(self, timeout: float | None = None) -> bool:
        _Woken.waits.release()
        ended = super().wait(timeout)
        _Woken.count += 1
        return ended


def _release(permits: threading.Semaphore, woken: type[_Woken], count: int) -> threading.Thread:
    """Gives so many permits when somebody waits."""

    def release() -> None:
        assert woken.waits.acquire(timeout=30)
        permits.release(count)

    thread = threading.Thread(target=release)
    thread.start()
    return thread


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> type[_Woken]:
    monkeypatch.setattr("fastinfer.storage.crew.threading", SimpleNamespace(Lock=threading.Lock, Event=_Woken))
    monkeypatch.setattr(_Woken, "waits", threading.Semaphore(0))
    monkeypatch.setattr(_Woken, "count", 0)
    return _Woken


def test_nobody_is_woken_but_for_the_answer_that_is_awaited(woken: type[_Woken]) -> None:
    is_awaited, others = threading.Semaphore(0), threading.Semaphore(0)

    def request(number: int) -> int:
        assert is_awaited.acquire(timeout=30)
        if number:
            others.release()
        else:  # the last one to be answered
            assert all(others.acquire(timeout=30) for _ in range(19))
        return number

    gathered = Gathering(Crew(), request)
    gathered.begin(range(20))
    started = _release(is_awaited, woken, 20)
    assert gathered.take(0) == 0
    assert woken.count == 1
    assert [gathered.take(number) for number in range(1, 20)] == list(range(1, 20))
    assert woken.count <= 2  # the others were answered, the last of them perhaps a moment later
    gathered.close()
    started.join()


def test_who_waits_for_many_answers_is_woken_once_by_the_last_of_them(woken: type[_Woken]) -> None:
    is_awaited = threading.Semaphore(0)

    def request(number: int) -> int:
        assert is_awaited.acquire(timeout=30)
        if number == 7:
            raise OSError(2, "seven")
        return number

    gathered = Gathering(Crew(), request)
    gathered.begin(range(40))
    started = _release(is_awaited, woken, 40)
    gathered.wait(range(20))
    gathered.wait(range(20))
    assert woken.count == 1
    with pytest.raises(OSError, match="seven"):
        gathered.take(7)
    assert [gathered.take(number) for number in range(20) if number != 7] == [n for n in range(20) if n != 7]
    assert woken.count == 1
    gathered.close()
    started.join()


def test_two_may_wait_for_the_same_answer() -> None:
    is_awaited = threading.Event()
    gathered = Gathering(Crew(), lambda number: is_awaited.wait(30) and number)
    gathered.begin(range(4))
    others = [threading.Thread(target=gathered.wait, args=(keys,)) for keys in (range(3), range(1, 4))]
    for other in others:
        other.start()
    is_awaited.set()
    for other in others:
        other.join(30)
        assert not other.is_alive()
    assert [gathered.take(number) for number in range(4)] == [0, 1, 2, 3]


def test_threads_that_there_are_do_the_work_of_those_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_two(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    gathered = Gathering(Crew(), str)
    gathered.begin(range(20))
    assert [gathered.take(number) for number in range(20)] == [str(number) for number in range(20)]
    gathered.begin(range(20, 30))
    gathered.close()


def test_where_no_thread_can_be_had_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    gathered = Gathering(Crew(), str)
    with pytest.raises(RuntimeError):
        gathered.begin(range(3))
    gathered.close()


def test_an_interrupt_while_threads_begin_costs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, submit, begun = Crew(is_steered=False), ThreadPoolExecutor.submit, 0

    def interrupted(pool: ThreadPoolExecutor, work: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            raise KeyboardInterrupt
        submit(pool, work)

    gathered = Gathering(crew, str)
    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gathered.begin(range(100))
    gathered.close()
    meeting = threading.Barrier(MOST_THREADS, timeout=20)
    gathered = Gathering(crew, lambda _: meeting.wait())
    gathered.begin(range(MOST_THREADS))
    assert {gathered.take(number) for number in range(MOST_THREADS)} == set(range(MOST_THREADS))


def test_after_an_interrupt_nobody_waits_for_what_no_thread_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    gathered = Gathering(Crew(), str)
    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gathered.begin(range(3))
    closing = threading.Thread(target=gathered.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_an_interrupt_does_not_wait_for_answers_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastinfer.storage.crew.END_S", 0.05)
    goes_on, begun = threading.Event(), threading.Event()

    def request(_: int) -> None:
        begun.set()
        goes_on.wait(20)

    def interrupt() -> None:
        with gathering(request) as gathered:
            gathered.begin([0])
            assert begun.wait(20)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert time.monotonic() - started < 10
    goes_on.set()


def test_a_thread_has_its_answers_also_after_the_main_thread_has_ended() -> None:
    crew = Crew()
    for _ in range(2):
        gathered = Gathering(crew, str)
        gathered.begin(range(100))
        waiting = threading.Thread(target=gathered.wait, args=(range(100),), daemon=True)
        waiting.start()
        waiting.join(20)
        assert gathered.take_all(range(100)) == [str(number) for number in range(100)]
        gathered.close()
        crew._threads.shutdown()  # as the interpreter does when it ends


def test_a_request_that_failed_is_forgotten_with_its_error() -> None:
    class Content(bytearray):
        """What the request held."""

    def request(_: int) -> None:
        content = Content(b"x")
        held.append(weakref.ref(content))
        raise OSError(2, "on purpose")

    held: list[weakref.ref[Content]] = []
    gathered = Gathering(Crew(), request)
    gc.disable()
    try:
        gathered.begin([0])
        with contextlib.suppress(OSError):
            gathered.take(0)
        gathered.close()
        wait_until(lambda: held[0]() is None)
    finally:
        gc.enable()


def test_a_fork_has_threads_of_its_own() -> None:
    together = threading.Barrier(LEAST_THREADS, timeout=20)
    # By as many threads, which are idle then.
    assert len(list(answered(lambda _: together.wait(), range(LEAST_THREADS)))) == LEAST_THREADS
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(list(answered(str, [1])) != ["1"])
        finally:
            os._exit(1)  # an error must not run the other tests again
    assert os.waitpid(child, 0)[1] == 0
