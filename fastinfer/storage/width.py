"""How many small requests should be under way at a time: as many as give more answers in a second, and no more.

The latency does not tell. Where requests wait for each other it grows with their number, but S3's own is many times longer for
some requests than for others, and nobody knows which of the two it was. So the number is doubled for a while, and stays so if
that many more answers came in a second; or it is halved, and stays so if hardly fewer came. Each such trial that fails makes
the pause before the next one longer, since half as many requests may mean half the rate for its time.

After a pause of the requests the first answers tell the latency, and the rate is taken for what the cores can do at best: else
many round trips would pass before enough are under way.
"""

from __future__ import annotations

import threading
from time import perf_counter

# More threads than are needed wait for the interpreter instead of the link, and wake each other up.
LEAST_THREADS, MOST_THREADS = 8, 256
# Before anything is known.
FIRST_THREADS = 32
# What a core does at best in a second, read or written (benchmarks/bench_s3.py).
BEST_RATE = 8000
# The least latency is that of so many answers: some of the first ones waited for connections.
FIRST_ANSWERS = 16
# A rate is taken of so many answers, or of as many as are under way.
WINDOW = 128
# Twice as many stay if they give so many times the answers; half as many if they give so many times the answers.
LEAST_GAIN, LEAST_KEPT = 1.15, 0.94
# Half as many that give no more than this show that all are needed.
CLEARLY_LESS = 0.75
# A trial is made after so many windows, and then after four times as many as before it, if it fails.
FIRST_REST, LONGEST_REST = 4, 64
# No request waits longer for the others.
LONGEST_WAIT_S = 5.0
# Requests that a server refused within so long of each other were under way together.
TOGETHER_S = 0.2
# For so long it is remembered that a server wanted fewer, also over pauses.
REMEMBERED_S = 60.0


class Width:
    """A number of requests that stays the same.

    Attributes:
        value: the number.
    """

    def __init__(self, value: int) -> None:
        self.value = value

    def begin(self) -> None:
        """Forgets what was learnt: nothing is under way."""

    def note(self, began: float) -> bool:  # noqa: ARG002
        """Notes that a request that began at that time was answered; returns whether more should be under way than before."""
        return False

    def give_way(self) -> None:
        """Notes that a request was refused because there were too many."""


class Steered(Width):
    """A number of small requests that steers itself. May be used by several threads.

    So many attributes: what is counted, and how far the trials are.

    Args:
        cores: how many there are.
    """

    def __init__(self, cores: int) -> None:
        super().__init__(FIRST_THREADS)
        self._best_rate = BEST_RATE * cores
        self._lock = threading.Lock()
        self._gave_way = float("-inf")  # when
        self.begin()

    def begin(self) -> None:
        """Forgets what was learnt, but not for a while that the server wanted fewer: nothing is under way."""
        now = perf_counter()
        if now - self._gave_way < REMEMBERED_S:
            self._begin_window(now)
            return
        self._seen = self._first = 0  # answers; and before this window
        self._least_s = float("inf")  # latency of the first answers
        self._began = now
        self._ends = 1  # the window, when so many answers were seen
        self._settles = False  # whether answers to requests of another width are still coming
        self._before: tuple[int, float] | None = None  # width and rate before a trial
        self._is_up = True  # the direction of the next trial, which costs nothing where it fails
        self._rest = self._pause = FIRST_REST  # windows until the next trial, and after one that fails

    def note(self, began: float) -> bool:
        """Notes that a request that began at that time was answered; returns whether more should be under way than before."""
        # Without a lock, which all threads would wait for: an estimate, even if some answers are not counted.
        self._seen += 1
        if self._seen < self._ends or not self._lock.acquire(blocking=False):
            return False
        try:
            before, now = self.value, perf_counter()
            if self._seen <= FIRST_ANSWERS:
                self._take_latency(now, now - began)
            elif self._seen >= self._ends:
                self._end_window(now)
            return self.value > before
        finally:
            self._lock.release()

    def give_way(self) -> None:
        """Notes that a request was refused because there were too many: half as many should be under way, for long."""
        with self._lock:
            now = perf_counter()
            if now - self._gave_way > TOGETHER_S:
                self._gave_way = now
                self._before, self._is_up = None, True
                self._rest = self._pause = LONGEST_REST
                self._set(self.value // 2)
                self._begin_window(now)

    def _take_latency(self, now: float, seconds: float) -> None:
        if self._least_s == float("inf"):
            self._began, self._first = now, self._seen
        if seconds < self._least_s:
            self._least_s = seconds
            self._set(round(2 * self._best_rate * seconds))
        self._ends = self._seen + 1
        if self._seen == FIRST_ANSWERS:
            # They come together, unless the server takes the requests in turn and is slow.
            self._set(min(self.value, int(self._rate(now) * LONGEST_WAIT_S)))
            self._ends = max(WINDOW, self.value)

    def _rate(self, now: float) -> float:
        """Answers in a second, since the window began."""
        return (self._seen - self._first) / max(now - self._began, 1e-9)

    def _end_window(self, now: float) -> None:
        rate = self._rate(now)
        if self._settles:
            self._settles = False
        elif self.value > rate * LONGEST_WAIT_S:
            self._before = None
            self._set(int(rate * LONGEST_WAIT_S))
        elif self._before is not None:
            self._judge(rate, *self._before)
        elif self._rest:
            self._rest -= 1
        else:
            self._try(rate)
        self._begin_window(now)

    def _judge(self, rate: float, width_before: int, rate_before: float) -> None:
        """Ends a trial."""
        self._before = None
        if rate >= rate_before * (LEAST_GAIN if self._is_up else LEAST_KEPT):
            self._pause = FIRST_REST
            self._try(rate if self._is_up else max(rate, rate_before))  # what several halvings lose does not add up
            return
        self._set(width_before)
        if not self._is_up and rate < CLEARLY_LESS * rate_before:
            self._pause = LONGEST_REST
        self._rest = self._pause
        self._pause = min(4 * self._pause, LONGEST_REST)
        self._is_up = not self._is_up

    def _try(self, rate: float) -> None:
        """Begins a trial."""
        if self.value == (MOST_THREADS if self._is_up else LEAST_THREADS):
            self._is_up = not self._is_up
        self._before = self.value, rate
        self._set(2 * self.value if self._is_up else self.value // 2)

    def _set(self, value: int) -> None:
        self.value = max(LEAST_THREADS, min(MOST_THREADS, value))
        self._settles = True

    def _begin_window(self, now: float) -> None:
        # Requests that began together are answered together: of fewer than all of them no rate can be told.
        self._began, self._first = now, self._seen
        self._ends = self._seen + max(WINDOW, self.value)
