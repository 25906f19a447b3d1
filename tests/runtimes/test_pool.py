"""A pool lends each thing to one thread at a time."""

from __future__ import annotations

import threading

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


def test_what_was_lent_comes_back_after_an_error() -> None:
    pool = Pool(["a"])
    with pytest.raises(ValueError, match="no"), pool.lend():
        raise ValueError("no")
    with pool.lend() as again:
        assert again == "a"
