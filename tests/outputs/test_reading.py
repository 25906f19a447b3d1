"""Finished results are read row by row, however their text is cut into pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastinfer.errors import OutputError
from fastinfer.outputs.reading import json_rows, text_lines


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("[[1, 2], null, [3, 4]]", [[1, 2], None, [3, 4]]),
        ("[[1]][[2]]\n[[3]]\r\n", [[1], [2], [3]]),
        ("[10, 20]", [10, 20]),
        ("10\n200\n", [10, 200]),
        ("0.25", [0.25]),
        ('{"a": [1, {}]}\n{"a": 2}', [{"a": [1, {}]}, {"a": 2}]),
        ("null\n[[1]]\nnull", [None, [1], None]),
        ('["], [", "a"]', ["], [", "a"]),
        ("[]", []),
        ("", []),
    ],
)
def test_rows_are_the_elements_of_lists_and_what_is_in_none(text: str, rows: list[Any], size: int) -> None:
    assert list(json_rows(pieces(text, size), "x")) == rows


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("text", ["[[1]", "[[1]]]", "[1]x", "[1 2", "{", "[" * 100_000])
def test_what_is_cut_or_damaged_is_an_error(text: str, size: int) -> None:
    if len(text) > 100 and size == 1:
        text = text[:2000]
    with pytest.raises(OutputError, match="not a list of rows"):
        list(json_rows(pieces(text, size), "x"))


def test_a_long_value_is_not_read_again_for_each_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text, tries = json.dumps([list(range(20_000))]), []
    plain = json.JSONDecoder.raw_decode

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> Any:
            tries.append(len(s))
            return plain(self, s, idx)

    monkeypatch.setattr(json, "JSONDecoder", Counting)
    assert list(json_rows(pieces(text, 100), "x")) == [list(range(20_000))]
    assert len(tries) < 20


def test_lines_may_lack_the_last_end() -> None:
    for size in (1, 2, 100):
        assert list(text_lines(pieces("a\n\nbc\nd", size))) == ["a", "", "bc", "d"]
    assert list(text_lines([])) == []
