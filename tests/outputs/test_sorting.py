"""More lines than are held at a time are sorted all the same."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.outputs.sorting import MOST_FILES, sort_lines


def number(line: bytes) -> int:
    return int(line.split(b" ")[0])


@given(st.lists(st.integers(0, 20)), st.integers(1, 40))
def test_lines_are_sorted_and_each_is_there_once(values: list[int], part_bytes: int) -> None:
    lines = [b"%d x\n" % value for value in values]
    expected = [(each, b"%d x\n" % each) for each in sorted(set(values))]
    assert list(sort_lines(lines, number, tempfile.gettempdir(), "x", part_bytes)) == expected


def test_more_parts_than_are_merged_at_a_time(tmp_path: Path) -> None:
    lines = [b"%d x\n" % value for value in range(10 * MOST_FILES)]
    random.Random(1).shuffle(lines)
    found = [line for _, line in sort_lines(iter(lines), number, str(tmp_path), ".x", part_bytes=8)]
    assert found == sorted(lines, key=number)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(sort_lines([b"1 x\n"] * 9, number, str(tmp_path / "missing"), ".x", part_bytes=8))
