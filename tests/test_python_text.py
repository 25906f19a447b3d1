"""Python's parser among threads."""

from __future__ import annotations

import ast

import pytest

from fastinfer.python_text import ATTEMPTS, parse_again
from tests.disturbed import disturbed_parsing

TEXT = "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 1, 60, 50), }"


def test_parsing_that_is_disturbed_is_done_again() -> None:
    expected = ast.literal_eval(TEXT)
    with disturbed_parsing():
        assert parse_again(lambda: ast.literal_eval(TEXT)) == expected


def test_what_fails_each_time_is_said_in_the_end() -> None:
    calls = []

    def fail() -> None:
        calls.append(None)
        raise SystemError("always")

    with pytest.raises(SystemError, match="always"):
        parse_again(fail)
    assert len(calls) == ATTEMPTS


def test_other_errors_are_said_at_once() -> None:
    calls = []

    def fail() -> None:
        calls.append(None)
        raise SyntaxError("no Python")

    with pytest.raises(SyntaxError):
        parse_again(fail)
    assert len(calls) == 1
