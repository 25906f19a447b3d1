"""Requests that are tried again: which failures pass by themselves, how long to wait, how often, and what allows each."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, TypeVar

from ..errors import ServiceError

T = TypeVar("T")
K = TypeVar("K")

# When a run ends early, requests that the next run can do as well are begun for so long.
END_S = 5.0
# The deadline of what has none.
NEVER = float("inf")


class _Bounds(threading.local):
    at = NEVER
    check: Callable[[], None] | None = None


_bounds = _Bounds()


@dataclass(frozen=True)
class Patience:
    """How long to wait for a service.

    Attributes:
        attempts: how often a request is tried.
        backoff_s: the wait after the first failure, doubled after each further one, and varied at random.
        longest_backoff_s: no wait is longer.
        connect_s: for a connection.
        short_request_s: for each part of the answer to a request that moves hardly any bytes, as of a lease, a removal.
        request_s: for the whole answer to a request of up to ``small_bytes``.
        large_request_s: for the whole answer to a larger request; none has more than some MiB.
        small_bytes: see ``request_s``.
    """

    attempts: int = 6
    backoff_s: float = 0.2
    longest_backoff_s: float = 8.0
    connect_s: float = 5.0
    short_request_s: float = 10.0
    request_s: float = 20.0
    large_request_s: float = 120.0
    small_bytes: int = 1 << 20

    def longest_s(self, size: int, *, by_boto3: bool = False) -> float:
        """For how long a request that sends so many bytes may be under way, which obstore or boto3 carries out."""
        if (
            by_boto3
        ):  # its limit is one for sending, and one for each part of the answer; and its requests are large ones
            return self.connect_s + 2 * self.large_request_s
        return self.request_s if size <= self.small_bytes else self.large_request_s

    @property
    def longest_short_s(self) -> float:
        """For how long a request that sends hardly any bytes may be under way."""
        return self.connect_s + 2 * self.short_request_s


@contextlib.contextmanager
def beginning_within(seconds: float) -> Iterator[None]:
    """Requests of this thread, and repetitions of them, begin within so many seconds, or not at all (ServiceError)."""
    outer = _bounds.at
    _bounds.at = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _bounds.at = outer


def is_late() -> bool:
    """Whether this thread may begin no request any more."""
    return seconds_left() < 0


def seconds_left() -> float:
    """For how long this thread may begin requests."""
    at = _bounds.at
    return at if at == NEVER else at - time.monotonic()


@contextlib.contextmanager
def checked_by(check: Callable[[], None] | None) -> Iterator[None]:
    """`check` is called before each attempt at a request of this thread; what it raises is raised in the attempt's place."""
    outer = _bounds.check
    _bounds.check = check
    try:
        yield
    finally:
        _bounds.check = outer


def before_attempt() -> None:
    """Call it before each attempt at a request: raises what the thread's check does (:func:`checked_by`)."""
    if _bounds.check is not None:
        _bounds.check()


def with_deadline(request: Callable[[K], T]) -> Callable[[K], T]:
    """The same request, to be carried out by other threads as if by this one: it begins no later."""
    at = _bounds.at

    def carry_out(key: K) -> T:
        with beginning_within(at - time.monotonic()):
            return request(key)

    return request if at == NEVER else carry_out


def call_again(
    request: Callable[[], T], translate: Callable[[Exception], Exception], patience: Patience, error: Exception
) -> T:
    """Carries out a request that has failed again, if the failure may pass by itself.

    Args:
        request: may be carried out more than once.
        translate: makes of what the request raised the error to raise.
        patience: how often and how long.
        error: what the first attempt raised.

    Raises:
        ServiceError: of the last attempt, which its message names.
        Exception: any other error that `translate` returned, or that the thread's check raised, at once.
    """
    attempt, problem = 1, error
    try:
        while True:
            problem = translate(error)
            if not isinstance(problem, ServiceError) or not problem.transient:
                raise problem from error
            if attempt >= patience.attempts or is_late():
                problem.message += f" (attempt {attempt} of {attempt})"
                raise problem from error
            longest = min(patience.longest_backoff_s, patience.backoff_s * 2 ** (attempt - 1))
            time.sleep(longest * random.uniform(0.5, 1.0))
            attempt += 1
            before_attempt()
            try:
                return request()
            except Exception as next_error:
                error = next_error
    finally:
        del error, problem  # their tracebacks hold this frame, and with it the bytes of the request
