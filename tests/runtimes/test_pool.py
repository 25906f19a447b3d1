"""A pool lends each thing to one thread at a time."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from fastinfer.runtimes.pool import Pool


def test_nobody_else_has_what_is_lent() -> None:
    pool = Pool(["a", "b"])
    with pool.lend() as first, pool.lend() as second:
        assert {first, second} == {"a", "b"}
        got = threading.Event()

        def wait_for_one() -> None:
            with pool.lend():
                got.set()

        waiting = threading.Thread(target=wait_for_one)
        waiting.start()
        assert not got.is_set()
    waiting.join()
    assert got.is_set()


def test_the_first_is_lent_first_and_the_last_that_came_back_next() -> None:
    pool = Pool(["a", "b"])
    with pool.lend() as first:
        assert first == "a"
        with pool.lend() as second:
            assert second == "b"
    with pool.lend() as again:
        assert again == "a"


def test_what_was_lent_comes_back_after_an_error() -> None:
    pool = Pool(["a"])
    with pytest.raises(ValueError, match="no"), pool.lend():
        raise ValueError("no")
    with pool.lend() as again:
        assert again == "a"


def test_an_interruption_before_the_lending_loses_and_doubles_nothing() -> None:
    pool = Pool(["a"])
    lines = 0

    def interrupt(at: int) -> bool:
        """Raises KeyboardInterrupt before a line of the pool, as a signal would; whether there was such a line."""
        seen = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal seen
            if not frame.f_code.co_filename.endswith("runtimes/pool.py"):
                return None
            if event == "line":
                seen += 1
                if seen == at:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with pool.lend():
                sys.settrace(None)
            return False
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)

    while interrupt(lines + 1):
        lines += 1
        with pool.lend() as thing:
            assert thing == "a"
            assert pool._idle == []
    assert lines >= 5
