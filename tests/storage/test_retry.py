"""Requests are tried again where a failure may pass, and only there."""

from __future__ import annotations

import functools
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from fastinfer.errors import ServiceError
from fastinfer.storage.retry import (
    Patience,
    before_attempt,
    beginning_within,
    call_again,
    checked_by,
    is_late,
    with_deadline,
)

QUICK = Patience(attempts=3, backoff_s=0.001)


def failing(*errors: Exception | None) -> tuple[list[int], object]:
    """A request that raises these errors one after another; and how often it was called."""
    calls: list[int] = []

    def request() -> str:
        calls.append(1)
        error = errors[len(calls) - 1]
        if error is not None:
            raise error
        return "answer"

    return calls, request


def call(request: Any, translate: Callable[[Exception], Exception], patience: Patience) -> object:
    """A request, and again as often as it may."""
    try:
        return request()
    except Exception as error:
        return call_again(request, translate, patience, error)


def busy() -> ServiceError:
    return ServiceError("busy", code="aws_throttled")


def same(error: Exception) -> Exception:
    return error


def test_what_passes_is_tried_again_until_it_has_passed() -> None:
    calls, request = failing(busy(), busy(), None)
    assert call(request, same, QUICK) == "answer"
    assert len(calls) == 3


def test_the_last_attempt_says_how_many_there_were() -> None:
    calls, request = failing(busy(), busy(), busy())
    with pytest.raises(ServiceError, match=r"busy \(attempt 3 of 3\)"):
        call(request, same, QUICK)
    assert len(calls) == 3


def test_one_attempt_is_not_followed_by_others() -> None:
    for attempts in (1, 0):
        calls, request = failing(busy(), None)
        with pytest.raises(ServiceError, match=r"busy \(attempt 1 of 1\)"):
            call(request, same, Patience(attempts=attempts, backoff_s=0.001))
        assert len(calls) == 1


@pytest.mark.parametrize("error", [ServiceError("no", code="aws_denied"), OSError(2, "none"), ValueError("x")])
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    calls, request = failing(error)
    with pytest.raises(type(error)):
        call(request, same, QUICK)
    assert len(calls) == 1


def test_what_the_client_raises_is_translated() -> None:
    calls, request = failing(KeyError("x"), None)
    assert call(request, lambda _: busy(), QUICK) == "answer"
    assert len(calls) == 2


def test_what_was_tried_again_is_forgotten_with_its_errors() -> None:
    class Content(bytearray):
        """What the request sends."""

    def request(_: Content) -> str:
        left.pop()
        if left:
            raise busy()
        return "answer"

    left = [1, 2, 3]
    content = Content(b"x")
    held = weakref.ref(content)
    gc.disable()
    try:
        assert call(functools.partial(request, content), same, QUICK) == "answer"
        del content
        assert held() is None
    finally:
        gc.enable()


def test_nothing_is_tried_again_when_the_time_of_its_thread_is_over() -> None:
    for seconds, count in ((0.0, 1), (60.0, 3)):
        calls, request = failing(busy(), busy(), busy())
        with beginning_within(seconds), beginning_within(60.0), pytest.raises(ServiceError, match=f"attempt {count}"):
            call(request, same, QUICK)
        assert len(calls) == count
        assert not is_late()


def test_other_threads_keep_to_the_time_of_the_one_that_asks() -> None:
    with ThreadPoolExecutor(1) as pool:
        for seconds, late in ((0.0, True), (60.0, False)):
            with beginning_within(seconds):
                request = with_deadline(lambda _: is_late())
                assert pool.submit(request, 1).result() is late
        assert not pool.submit(is_late).result()
        assert not pool.submit(with_deadline(lambda _: is_late()), 1).result()


def test_each_attempt_is_checked_before_it_begins() -> None:
    calls, request = failing(busy(), busy(), None)
    checks: list[int] = []

    def check() -> None:
        checks.append(len(calls))
        if len(calls) == 2:
            raise KeyError("too late")

    with checked_by(check):
        before_attempt()
        with pytest.raises(KeyError, match="too late"):
            call(request, same, QUICK)
        with checked_by(None):
            before_attempt()
    before_attempt()
    assert checks == [0, 1, 2]
    assert len(calls) == 2
