"""A request's and an answer's defaults; an error in the place of an answer is raised, and keeps nothing alive."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest

from fastinfer.errors import InputError
from fastinfer.handlers.request import Answer, Request, unwrap


def test_a_request_accepts_any_type_and_an_answer_counts_no_rows_unless_they_say() -> None:
    assert Request(b"1", "text/csv") == (b"1", "text/csv", None)
    assert Answer(b"[1]", "application/json") == (b"[1]", "application/json", 0)


def test_the_only_answer_is_given_without_its_rows() -> None:
    assert unwrap([Answer(b"[1]", "application/json", 3)]) == (b"[1]", "application/json")


@pytest.mark.parametrize("count", [0, 2])
def test_more_or_fewer_answers_than_one_are_a_mistake_of_the_caller(count: int) -> None:
    with pytest.raises(ValueError, match="unpack"):
        unwrap([Answer(b"[1]", "application/json")] * count)


def test_an_error_is_raised_as_it_is() -> None:
    error = InputError("is not a number", line=3)
    with pytest.raises(InputError) as caught:
        unwrap([error])
    assert caught.value is error


class Held(Exception):
    """An error that a weak reference may watch, as one that holds a request's body."""


def test_an_error_that_was_raised_goes_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        error: Exception | None = Held()
        watched = weakref.ref(error)
        results = [error]
        error = None
        with contextlib.suppress(Held):
            unwrap(results)
        del results
        assert watched() is None
    finally:
        gc.enable()
