"""Requests that are tried again: which failures pass by themselves, how long to wait, how often."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Callable, TypeVar

from ..errors import ServiceError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a service.

    Attributes:
        attempts: how often a request is tried.
        backoff_s: the wait after the first failure, doubled after each further one, and varied at random.
        longest_backoff_s: no wait is longer.
        connect_s: for a connection.
        request_s: for the whole answer to a request of up to ``small_bytes``.
        large_request_s: for the whole answer to a larger request; none has more than some MiB.
        small_bytes: see ``request_s``.
    """

    attempts: int = 6
    backoff_s: float = 0.2
    longest_backoff_s: float = 8.0
    connect_s: float = 5.0
    request_s: float = 20.0
    large_request_s: float = 120.0
    small_bytes: int = 1 << 20


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
        Exception: any other error that `translate` returned, at once.
    """
    attempt, problem = 1, error
    try:
        while True:
            problem = translate(error)
            if not isinstance(problem, ServiceError) or not problem.transient:
                raise problem from error
            if attempt >= patience.attempts:
                problem.message += f" (attempt {attempt} of {attempt})"
                raise problem from error
            longest = min(patience.longest_backoff_s, patience.backoff_s * 2 ** (attempt - 1))
            time.sleep(longest * random.uniform(0.5, 1.0))
            attempt += 1
            try:
                return request()
            except Exception as next_error:
                error = next_error
    finally:
        del error, problem  # their tracebacks hold this frame, and with it the bytes of the request
