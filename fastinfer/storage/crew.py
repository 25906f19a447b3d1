"""Threads for requests: as many at a time as keep client, link and server busy while each request waits for its answer.

Requests under way = rate x latency. Both are those of the last requests: how many were answered in a second, and the least
time that one took, since those that wait for each other take longer. Twice as many are let under way. Where that gives more
answers in a second there will be still more; where the requests only wait, rate and least latency stay, and so does their
number. (TCP's congestion control BBR does the same.) After a pause the first answer tells the latency, and the rate is taken
for what the cores can do at best: else many round trips would pass before enough are under way. A request's bytes move
without the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Callable

from ..machine import cores

LEAST_THREADS, MOST_THREADS = 32, 256
# Before anything is known.
FIRST_THREADS = 64
# What a core does at best in a second, read or written (benchmarks/bench_s3.py).
BEST_RATE = 8000
# Rate and latency are those of so many requests.
WINDOW = 64
# So many requests of one caller are under way where it takes the answers one by one.
ANSWERS_AHEAD = 64
# So many groups of results are under way for each worker, and labels of results are got ahead.
GROUPS_UNDER_WAY = 8
LABELS_AHEAD = 2048

Task = Callable[[Any], None]  # of a key


class Crew:
    """Threads that carry out tasks in the order in which they were added. A task raises nothing."""

    def __init__(self) -> None:
        self._tasks: deque[tuple[Task, Any]] = deque()
        self._lock = threading.Lock()
        self._working = 0
        self._has_threads = False
        self._threads = ThreadPoolExecutor(MOST_THREADS, "fastinfer-io")
        self._width = FIRST_THREADS
        self._best_rate = BEST_RATE * cores()
        self._seen, self._least, self._began = 0, float("inf"), perf_counter()

    @property
    def width(self) -> int:
        """How many small requests should be under way."""
        return self._width

    def add(self, task: Task, keys: Collection[Any], most: int) -> None:
        """Adds a task for each key; threads that are not at work begin them, until so many are."""
        with self._lock:
            if not self._working:
                self._begin_anew()
            self._tasks.extend(zip(itertools.repeat(task), keys))
        self._start(most, len(keys))

    def note(self, seconds: float) -> None:
        """Notes how long a small request took."""
        # Without a lock: an estimate. Another thread may begin a window between any two lines.
        self._seen += 1
        self._least = least = min(self._least, seconds)
        if self._seen == 1:
            self._set_width(self._best_rate, least)
        elif self._seen % WINDOW == 0:
            now = perf_counter()
            self._set_width(WINDOW / max(now - self._began, 1e-9), least)
            self._least, self._began = float("inf"), now

    def _start(self, most: int, tasks: int) -> None:
        """Lets more threads begin so many tasks, until `most` are at work."""
        with self._lock:
            starting = max(0, min(most - self._working, tasks))
            self._working += starting
        for begun in range(starting):
            try:
                self._threads.submit(self._work)
            except RuntimeError:
                # The system gives no more threads. This call waits in the pool for one of those that there are.
                with self._lock:
                    self._working -= starting - begun - 1
                if not self._has_threads:
                    raise
                return
            self._has_threads = True

    def _begin_anew(self) -> None:
        """Forgets rate and latency: nothing is under way."""
        self._seen, self._least, self._began = 0, float("inf"), perf_counter()

    def _set_width(self, rate: float, latency: float) -> None:
        self._width = max(LEAST_THREADS, min(MOST_THREADS, round(2 * rate * latency)))
        if self._working < self._width:
            self._start(self._width, len(self._tasks))  # tasks were added when fewer were wanted

    def _work(self) -> None:
        while True:
            try:
                task, key = self._tasks.popleft()
            except IndexError:
                with self._lock:
                    if self._tasks:
                        continue
                    self._working -= 1
                    return
            task(key)
            if self._working > self._width:
                with self._lock:
                    if self._working > self._width:
                        self._working -= 1
                        return


class Gathering:
    """Answers to requests that a crew carries out, taken in any order.

    Args:
        crew: carries them out.
        request: a function of a key whose answer is kept.
        is_large: whether requests move many bytes. Who begins them bounds their number, and they say nothing of the latency.
    """

    def __init__(self, crew: Crew, request: Callable[[Any], Any], *, is_large: bool = False) -> None:
        self._crew = crew
        self._request = request
        self._is_large = is_large
        self._lock = threading.Lock()
        self._answers: dict[Any, Any] = {}
        self._wanted: set[Any] = set()
        self._waiting: list[tuple[set[Any], threading.Event]] = []  # the answers that each one waits for
        self._is_closed = False

    def begin(self, keys: Collection[Any]) -> None:
        """Begins the requests of these keys."""
        with self._lock:
            self._wanted.update(keys)
        try:
            self._crew.add(self._run, keys, MOST_THREADS if self._is_large else self._crew.width)
        except RuntimeError:  # there is no thread, and nobody answers
            with self._lock:
                self._wanted.difference_update(keys)
            raise

    def has(self, key: Any) -> bool:
        """Whether a request of this key was begun, and its answer was not taken."""
        return key in self._wanted

    def wait(self, keys: Iterable[Any]) -> None:
        """Waits until all these requests are answered. Who needs many answers is woken once, not by each of them."""
        with self._lock:
            missing = {key for key in keys if key not in self._answers}
            if not missing:
                return
            waiting = missing, threading.Event()
            self._waiting.append(waiting)
        try:
            waiting[1].wait()
        finally:
            with self._lock:
                self._waiting.remove(waiting)

    def take(self, key: Any) -> Any:
        """Waits for an answer, which is then forgotten. Raises what the request raised."""
        if key not in self._answers:
            self.wait((key,))
        with self._lock:
            answer = self._answers.pop(key)
            self._wanted.discard(key)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Waits for requests that are under way, and drops those that have not begun."""
        self._is_closed = True
        self.wait(self._wanted)
        with self._lock:
            self._answers.clear()
            self._wanted.clear()

    def _run(self, key: Any) -> None:
        answer: Any = None
        if not self._is_closed:
            started = perf_counter()
            try:
                answer = self._request(key)
                if not self._is_large:
                    self._crew.note(perf_counter() - started)
            except BaseException as error:
                answer = error
        with self._lock:
            self._answers[key] = answer
            for missing, have_come in self._waiting:
                if key in missing:
                    missing.remove(key)
                    if not missing:
                        have_come.set()


_crew: Crew | None = None
_lock = threading.Lock()


def _forget() -> None:
    global _crew, _lock
    _crew, _lock = None, threading.Lock()


# A fork has none of the threads, and one may have held the lock.
os.register_at_fork(after_in_child=_forget)


def the_crew() -> Crew:
    """The crew of this process, started by the first call."""
    global _crew
    with _lock:
        if _crew is None:
            _crew = Crew()
        return _crew


@contextlib.contextmanager
def gathering(request: Callable[[Any], Any]) -> Any:
    """A :class:`Gathering` of the process's crew, closed in the end."""
    gathered = Gathering(the_crew(), request)
    try:
        yield gathered
    finally:
        gathered.close()


def answered(request: Callable[[Any], Any], keys: Iterable[Any], ahead: int = ANSWERS_AHEAD) -> Iterator[Any]:
    """The answers of requests in the order of their keys, of which some are under way at a time. Raises what one raised.

    Args:
        request: a function of a key.
        keys: no two are the same.
        ahead: how many are under way at most.
    """
    with gathering(request) as gathered:
        waiting: deque[Any] = deque()
        for key in keys:
            gathered.begin([key])
            waiting.append(key)
            if len(waiting) > ahead:
                yield gathered.take(waiting.popleft())
        while waiting:
            yield gathered.take(waiting.popleft())


class Puts:
    """Small results that are being written.

    Args:
        put: writes the result of an index: 0, or the errno of a name that it cannot have.
        count: how many there are.
    """

    def __init__(self, put: Callable[[int], int], count: int) -> None:
        self._count = count
        self._gathered = Gathering(the_crew(), put)
        self._gathered.begin(range(count))

    def wait(self) -> list[int]:
        """Waits for all; errno or 0 of each. Raises OutputError or ServiceError, when all have ended."""
        self._gathered.wait(range(self._count))
        codes: list[int] = []
        problem: BaseException | None = None
        for index in range(self._count):
            try:
                codes.append(self._gathered.take(index))
            except BaseException as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return codes
