"""Threads for requests: as many at a time as keep client, link and server busy while each request waits for its answer."""

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
from .retry import END_S
from .width import MOST_THREADS, Steered, Width

# So many requests of one caller are under way where it takes the answers one by one.
ANSWERS_AHEAD = 64
# So many groups of results are under way for each worker, and labels of results are got ahead.
GROUPS_UNDER_WAY = 8
LABELS_AHEAD = 2048

Task = Callable[[Any], None]  # of a key


class Crew:
    """Threads that carry out tasks in the order in which they were added. A task raises nothing.

    Args:
        is_steered: whether the number under way is the one that gives most answers in a second. False for requests that move
            many bytes: up to all threads carry them out, and who begins them bounds their number.
    """

    def __init__(self, *, is_steered: bool = True) -> None:
        self._tasks: deque[tuple[Task, Any]] = deque()
        self._lock = threading.Lock()
        self._working = 0
        self._has_threads = False
        self._threads = ThreadPoolExecutor(MOST_THREADS, "fastinfer-io")
        self._width = Steered(cores()) if is_steered else Width(MOST_THREADS)

    @property
    def width(self) -> int:
        """How many requests should be under way."""
        return self._width.value

    def add(self, task: Task, keys: Collection[Any]) -> None:
        """Adds a task for each key; threads that are not at work begin them."""
        with self._lock:
            if self._working <= 0:  # less by those that began after all when they were interrupted
                self._width.begin()
            self._tasks.extend(zip(itertools.repeat(task), keys))
        self._start(len(keys))

    def note(self, began: float) -> None:
        """Notes that a request that began then was answered."""
        if self._width.note(began) and self._working < self.width:
            self._start(len(self._tasks))  # tasks were added when fewer were wanted

    def give_way(self) -> None:
        """Notes that the server refused a request because there were too many."""
        self._width.give_way()

    def _start(self, tasks: int) -> None:
        """Lets threads that are not at work begin so many tasks, until as many are under way as should be."""
        starting = 0
        try:
            with self._lock:
                starting = max(0, min(self.width - self._working, tasks))
                self._working += starting
            while starting:
                self._start_one()
                starting -= 1
        except RuntimeError:
            # The system gives no more threads. This call waits in the pool for one of those that there are.
            with self._lock:
                self._working -= starting - 1
            if not self._has_threads:
                raise
        except BaseException:  # Ctrl-C: who is not at work may not be taken for it later
            with self._lock:
                self._working -= starting
            raise

    def _start_one(self) -> None:
        try:
            self._threads.submit(self._work)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            # The main thread has ended, and the pool with it; the thread that is waiting for answers has not.
            threading.Thread(target=self._work, name="fastinfer-io").start()
        self._has_threads = True

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
            if self._working > self._width.value:
                with self._lock:
                    if self._working > self._width.value:
                        self._working -= 1
                        return


class Gathering:
    """Answers to requests that a crew carries out, taken in any order, by one thread at a time.

    It has no lock: all threads of the crew would wait for it, for each answer. What they share are steps that the interpreter
    does not divide, so that whoever waits says so first and then looks once more at the answers.

    Args:
        crew: carries them out.
        request: a function of a key whose answer is kept.
    """

    def __init__(self, crew: Crew, request: Callable[[Any], Any]) -> None:
        self._crew = crew
        self._request = request
        self._answers: dict[Any, Any] = {}
        self._wanted: set[Any] = set()
        self._under_way: set[Any] = set()
        self._waiting: list[_Waiting] = []
        self._is_closed = False

    def begin(self, keys: Collection[Any]) -> None:
        """Begins the requests of these keys."""
        self._wanted.update(keys)
        try:
            self._crew.add(self._run, keys)
        except RuntimeError:  # there is no thread, and nobody answers
            self._wanted.difference_update(keys)
            raise

    def has(self, key: Any) -> bool:
        """Whether a request of this key was begun, and its answer was not taken."""
        return key in self._wanted

    def wait(self, keys: Collection[Any], longest_s: float | None = None) -> None:
        """Waits until all these requests are answered. Who needs many answers is woken once, not by each of them.

        Args:
            keys: of the requests.
            longest_s: no longer than this; None: until all are.
        """
        missing = {key for key in keys if key not in self._answers}
        if not missing:
            return
        waiting = _Waiting(missing)
        self._waiting.append(waiting)
        try:
            for key in keys:  # some may have come before anybody knew of this
                if key in self._answers:
                    waiting.note(key)
            waiting.have_come.wait(longest_s)
        finally:
            self._waiting.remove(waiting)

    def take(self, key: Any) -> Any:
        """Waits for an answer, which is then forgotten. Raises what the request raised."""
        if key not in self._answers:
            self.wait((key,))
        answer = self._answers.pop(key)
        self._wanted.discard(key)
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del answer  # its traceback holds this frame
        return answer

    def take_all(self, keys: Collection[Any]) -> list[Any]:
        """Waits for answers, which are then forgotten; of a request that raised an error, the error."""
        self.wait(keys)
        self._wanted.difference_update(keys)
        return [self._answers.pop(key) for key in keys]

    def close(self, longest_s: float | None = None) -> None:
        """Waits for requests that are under way, at most so long, and drops those that have not begun."""
        self._is_closed = True
        # Not for all that was asked for: where Ctrl-C came between, no thread may ever begin it.
        self.wait(self._under_way & self._wanted, longest_s)
        self._answers.clear()
        self._wanted.clear()

    def _run(self, key: Any) -> None:
        self._under_way.add(key)  # first: who closes meanwhile waits for it, or it is not begun
        answer: Any = None
        if not self._is_closed:
            began = perf_counter()
            try:
                answer = self._request(key)
                self._crew.note(began)
            except BaseException as error:
                answer = error
        self._answers[key] = answer
        del answer  # an error's traceback holds this frame
        self._under_way.discard(key)
        for waiting in tuple(self._waiting):
            waiting.note(key)


class _Waiting:
    """The answers that somebody waits for."""

    def __init__(self, missing: set[Any]) -> None:
        self._missing = missing
        self.have_come = threading.Event()

    def note(self, key: Any) -> None:
        """An answer has come. May be called by several threads, also again."""
        self._missing.discard(key)
        if not self._missing:
            self.have_come.set()


_crews: dict[bool, Crew] = {}
_lock = threading.Lock()


def _forget() -> None:
    global _crews, _lock
    _crews, _lock = {}, threading.Lock()


# A fork has none of the threads, and one may have held the lock.
os.register_at_fork(after_in_child=_forget)


def the_crew(*, is_large: bool = False) -> Crew:
    """A crew of this process, started by the first call: for small requests, or for those that move many bytes.

    None waits for those of the other kind.
    """
    with _lock:
        if is_large not in _crews:
            _crews[is_large] = Crew(is_steered=not is_large)
        return _crews[is_large]


@contextlib.contextmanager
def gathering(request: Callable[[Any], Any]) -> Any:
    """A :class:`Gathering` of the process's crew, closed in the end; who interrupts it does not wait long."""
    gathered = Gathering(the_crew(), request)
    longest_s: float | None = None
    try:
        yield gathered
    except KeyboardInterrupt:
        longest_s = END_S
        raise
    finally:
        gathered.close(longest_s)


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
        codes: list[int] = self._gathered.take_all(range(self._count))
        for problem in codes:
            if isinstance(problem, BaseException):
                raise problem
        return codes
