"""Which keys are meant."""

from __future__ import annotations

import pytest

from fastinfer.storage.base import Object
from fastinfer.storage.selection import Selection, is_hidden, matches, with_checked_name


def test_the_last_part_of_a_key_says_whether_it_is_hidden() -> None:
    assert [is_hidden(key) for key in (".a", "_a", "x/.a", "x/_a")] == [True] * 4
    assert [is_hidden(key) for key in ("a", "a_", "a.b", ".x/a", "_x/a")] == [False] * 5


def test_a_pattern_fits_a_whole_key_or_its_last_part() -> None:
    assert matches("x/a.csv", ("*.csv",))
    assert matches("x/a.csv", ("x/*",))
    assert not matches("x/a.CSV", ("*.csv", "a.csv"))
    assert not matches("y/x/a.csv", ("x/*",))


def test_what_is_passed_over_is_counted_and_named() -> None:
    named: list[tuple[str, str]] = []
    selection = Selection(
        ("*.csv",), ("b*",), "out", ".out", "old".__eq__, lambda key, reason: named.append((key, reason))
    )
    assert [key for key in ("a.csv", "b.csv", "c.txt", "_d.csv", "e.csv.out") if selection.select(key)] == ["a.csv"]
    assert [folder for folder in ("x", ".git", "out", "old") if selection.enter(folder)] == ["x"]
    assert [key for key in ("x/a.csv", "x/.y/a.csv") if selection.select_matched(key)] == ["x/a.csv"]
    assert named == [
        ("b.csv", "excluded"),
        ("c.txt", "not included"),
        ("_d.csv", "hidden"),
        ("e.csv.out", "a result"),
        (".git/", "hidden"),
        ("old/", "results of a run"),
        ("x/.y/a.csv", "hidden"),
    ]
    assert selection.passed_over == len(named)


@pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "./a", "a/..", "a/", "a\0b", ""])
def test_a_key_that_no_file_of_its_own_can_have_is_a_problem(key: str) -> None:
    item = with_checked_name(Object("s3://b/x", key, 1, b"v"))
    assert item.problem is not None
    assert (item.problem.code, item.problem.path) == ("unsafe_key", "s3://b/x")


@pytest.mark.parametrize("key", ["a", "a/b", "..a/b..", "a b", "ü", "a/.b"])
def test_other_keys_are_names(key: str) -> None:
    assert with_checked_name(Object("s3://b/x", key, 1, b"v")).problem is None
