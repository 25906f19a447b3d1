"""As many requests are under way as give more answers in a second, whatever their latency is, and no more."""

from __future__ import annotations

import heapq
import random
import threading
from typing import NamedTuple

import pytest

from fastinfer.storage.retry import Patience
from fastinfer.storage.width import (
    BEST_RATE,
    FIRST_ANSWERS,
    FIRST_THREADS,
    LEAST_THREADS,
    LONGEST_REST,
    LONGEST_WAIT_S,
    MOST_THREADS,
    REMEMBERED_S,
    TOGETHER_S,
    WINDOW,
    Steered,
)

CORES = 2


class Clock:
    """Stands still until it is set."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fastinfer.storage.width.perf_counter", lambda: clock.now)
    return clock


class Ran(NamedTuple):
    """What came of a run: answers in a second, and for what part of the time each number was under way."""

    rate: float
    shares: dict[int, float]


def simulate(clock: Clock, latency_s: float, spread_s: float, most_a_second: float, answers: int = 8000) -> Ran:
    """Requests to a server that begins so many a second; each then takes the latency, and in the mean the spread longer."""
    random_, width, free = random.Random(1), Steered(CORES), 0.0
    under_way: list[tuple[float, float]] = []
    seconds: dict[int, float] = {}
    for _ in range(answers):
        while len(under_way) < width.value:
            free = max(clock.now, free) + 1 / most_a_second
            longer = random_.expovariate(1 / spread_s) if spread_s else 0.0
            heapq.heappush(under_way, (free + latency_s + longer, clock.now))
        ended, began = heapq.heappop(under_way)
        seconds[width.value] = seconds.get(width.value, 0.0) + ended - clock.now
        clock.now = ended
        width.note(began)
    return Ran(answers / clock.now, {number: each / clock.now for number, each in seconds.items()})


@pytest.mark.parametrize(
    ("latency_s", "spread_s"),
    [(0.01, 0.0), (0.02, 0.0), (0.01, 0.01), (0.01, 0.02), (0.01, 0.05), (0.002, 0.01), (0.03, 0.03), (0.1, 0.05)],
)
@pytest.mark.parametrize("most_a_second", [3000, 11_000])
def test_a_latency_costs_few_answers_however_it_varies(
    latency_s: float, spread_s: float, most_a_second: float, clock: Clock
) -> None:
    best = min(most_a_second, MOST_THREADS / (latency_s + spread_s))
    assert simulate(clock, latency_s, spread_s, most_a_second).rate > 0.85 * best


@pytest.mark.parametrize(("latency_s", "spread_s"), [(0.0002, 0.0), (0.0002, 0.0002), (0.0005, 0.0)])
def test_a_server_nearby_is_asked_by_few(latency_s: float, spread_s: float, clock: Clock) -> None:
    ran = simulate(clock, latency_s, spread_s, 11_000)
    assert ran.rate > 0.97 * 11_000
    assert sum(share for number, share in ran.shares.items() if number <= 2 * LEAST_THREADS) > 0.7


def test_a_server_that_is_slow_is_asked_by_fewer(clock: Clock) -> None:
    ran = simulate(clock, 0.003, 0.001, 1500, 20_000)
    assert ran.rate > 0.97 * 1500
    assert ran.shares[LEAST_THREADS] > 0.7


def test_nobody_waits_long_for_the_others(clock: Clock) -> None:
    width = Steered(CORES)
    for number in range(2 * MOST_THREADS):
        clock.now += 0.1
        width.note(clock.now - 0.1 * (width.value if number >= FIRST_ANSWERS else 1))
    assert width.value <= 10 * LONGEST_WAIT_S


@pytest.mark.parametrize("rate", [5, 10, 20])
def test_a_server_that_answers_in_turn_and_slowly_is_not_asked_by_many_at_the_start(rate: int, clock: Clock) -> None:
    """Else requests would wait for each other until their time is over, and be tried again."""
    width = Steered(CORES)
    begun = [0.0] * width.value  # and when each of those under way began
    for number in range(FIRST_ANSWERS + MOST_THREADS):
        clock.now = (number + 1) / rate
        width.note(begun.pop(0))
        begun += [clock.now] * (width.value - len(begun))
        if number >= FIRST_ANSWERS:
            assert width.value <= rate * LONGEST_WAIT_S


def test_one_finds_the_better_number_when_the_server_changes(clock: Clock) -> None:
    width = Steered(CORES)

    def answer(latency_s: float) -> None:
        rate = min(width.value / latency_s, 10_000)
        clock.now += 1 / rate
        width.note(clock.now - width.value / rate)

    for _ in range(100 * WINDOW):
        answer(0.0001)
    assert width.value <= 2 * LEAST_THREADS
    for _ in range(300 * WINDOW):
        answer(0.02)
    assert width.value >= MOST_THREADS // 2


@pytest.mark.parametrize(
    ("latency_s", "expected"), [(0.0001, LEAST_THREADS), (0.003, 2 * CORES * BEST_RATE * 0.003), (0.05, MOST_THREADS)]
)
def test_the_first_answers_say_how_many_requests_are_needed(latency_s: float, expected: float, clock: Clock) -> None:
    width = Steered(CORES)
    clock.now = 10.0
    assert width.note(clock.now - 1.0)  # it waited for a connection
    assert width.value == MOST_THREADS
    for _ in range(FIRST_ANSWERS - 1):
        assert not width.note(clock.now - latency_s)
    assert width.value == expected
    width.note(clock.now - 0.00001)  # the next ones only count for the rate
    assert width.value == expected


def test_after_a_pause_nothing_is_known_of_before(clock: Clock) -> None:
    width = Steered(CORES)
    for latency_s in (0.0001, 0.05):
        clock.now += 1000.0
        width.begin()
        for _ in range(WINDOW):
            clock.now += 0.0001
            width.note(clock.now - latency_s)
    assert width.value == MOST_THREADS


def test_one_that_cannot_steer_at_the_moment_does_not_wait() -> None:
    width = Steered(CORES)
    held = threading.Event()
    with width._lock:
        thread = threading.Thread(target=lambda: (width.note(-1.0), held.set()))
        thread.start()
        assert held.wait(30)
    thread.join()
    assert width.value == FIRST_THREADS


def test_requests_that_are_refused_together_make_them_fewer_once(clock: Clock) -> None:
    width = Steered(CORES)
    clock.now = 1.0
    width.note(0.0)
    assert width.value == MOST_THREADS
    for _ in range(MOST_THREADS):
        clock.now += TOGETHER_S / MOST_THREADS / 2
        width.give_way()
    assert width.value == MOST_THREADS // 2
    clock.now += 2 * TOGETHER_S
    width.give_way()
    assert width.value == MOST_THREADS // 4
    for _ in range(LONGEST_REST * WINDOW):
        clock.now += 0.001
        width.note(clock.now - 0.02)
    assert width.value == MOST_THREADS // 4


def test_a_pause_does_not_hide_that_the_server_wanted_fewer(clock: Clock) -> None:
    width = Steered(CORES)
    clock.now = 1.0
    width.note(0.0)
    width.give_way()
    for pause_s, value in ((REMEMBERED_S / 2, MOST_THREADS // 2), (REMEMBERED_S, MOST_THREADS)):
        clock.now += pause_s
        width.begin()
        width.note(clock.now - 1.0)
        assert width.value == value


@pytest.mark.parametrize(("latency_s", "most_a_second"), [(0.02, 3500), (0.1, 500), (0.01, 5500), (0.3, 3500)])
def test_no_request_is_refused_again_and_again(latency_s: float, most_a_second: float, clock: Clock) -> None:
    """A server that takes so many requests a second, and refuses all others, as S3 does for a prefix."""
    random_, width, patience = random.Random(1), Steered(CORES), Patience()
    under_way: list[tuple[float, float, int, bool]] = []  # when it is answered, when it began, attempts, whether taken
    room, filled, answers, working = most_a_second / 10, 0.0, 0, 0

    def send(at: float, began: float, attempts: int) -> None:
        nonlocal room, filled
        room, filled = min(most_a_second / 10, room + (at - filled) * most_a_second), at
        is_taken = room >= 1
        room -= is_taken
        heapq.heappush(under_way, (at + latency_s, began, attempts, is_taken))

    waiting: list[tuple[float, float, int]] = []  # those that are tried again, and when
    most_attempts = 0
    while answers < 30_000:
        while working < width.value:
            working += 1
            send(clock.now, clock.now, 1)
        if waiting and (not under_way or waiting[0][0] < under_way[0][0]):
            clock.now, began, attempts = heapq.heappop(waiting)
            send(clock.now, began, attempts)
            continue
        clock.now, began, attempts, is_taken = heapq.heappop(under_way)
        if is_taken:
            answers += 1
            working -= 1
            width.note(began)
            continue
        width.give_way()
        most_attempts = max(most_attempts, attempts)
        pause = patience.backoff_s * 2 ** (attempts - 1) * random_.uniform(0.5, 1.0)
        heapq.heappush(waiting, (clock.now + pause, began, attempts + 1))
    assert most_attempts < patience.attempts
    assert answers / clock.now > 0.5 * min(most_a_second, MOST_THREADS / latency_s)
