"""Requests are carried out by as many threads as keep the machine busy, and all have ended when their gathering is closed."""

from __future__ import annotations

import threading

import pytest

from fastinfer.machine import cores
from fastinfer.storage.crew import LEAST_THREADS, MOST_THREADS, WINDOW, Crew, Gathering


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


def test_nothing_runs_when_a_gathering_is_closed() -> None:
    goes_on = threading.Event()
    begun: list[int] = []

    def request(number: int) -> None:
        begun.append(number)
        goes_on.wait(30)

    crew = Crew()
    crew.note(1e-9)  # few threads
    gathered = Gathering(crew, request)
    gathered.begin(range(10 * MOST_THREADS))
    threading.Timer(0.05, goes_on.set).start()
    gathered.close()
    ended = len(begun)
    assert ended < 10 * MOST_THREADS
    gathered.close()
    assert len(begun) == ended


def test_the_width_follows_the_latency() -> None:
    crew = Crew()
    widths = []
    for latency in (0.0001, 0.02, 10.0):
        for _ in range(2 * WINDOW):
            crew.note(latency)
            crew.note(latency * 5)  # a busy machine makes it look longer
        widths.append(crew.width)
    assert widths == [LEAST_THREADS, min(MOST_THREADS, 100 * cores() + LEAST_THREADS // 2), MOST_THREADS]
