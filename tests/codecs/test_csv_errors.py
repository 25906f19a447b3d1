"""A kernel's status in words, with the place as line and column."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastinfer.codecs.base import empty_input
from fastinfer.codecs.csv import read_body
from fastinfer.codecs.csv_errors import CODES, csv_error, partial_row
from fastinfer.errors import InputError

STATUS_H = Path(__file__).parent.parent.parent / "csrc" / "status.h"


def test_the_codes_are_those_of_the_header() -> None:
    enum = re.findall(r"^  (\w+) = (\d+),", STATUS_H.read_text(), re.M)
    assert [(code.word, str(code.number)) for code in CODES] == enum


def test_the_place_is_right_in_a_long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastinfer.codecs.csv_errors.LINE_PIECE_BYTES", 7)
    body = b"0,0,0,0,0,0,0,0,0,0\r\n" * 3 + b"0,0,0,0,0,0,0,0,0,x\n"
    error = csv_error(body, 2, body.index(b"x"), columns=10)
    assert (error.line, error.column) == (4, 19)
    assert "field 10 of 10" in str(error)
    assert csv_error(b"0,0,0,0,0,x", 2, 10).column == 11


def test_what_was_found_is_there_for_programs() -> None:
    error = csv_error(b"1,#2,3\n", 2, 2, path="a")
    assert (error.found, error.hint) == ("#2", None)
    assert str(error) == "a:1:3: expected a number, found '#2' (field 2 of 3)"


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"1;2;3\n", "values are separated by ';', expected ','"),
        (b"1,5;2,5\n", "values are separated by ';', expected ','"),
        (b"1\t2\n", "values are separated by tabs, expected ','"),
        (b"1 2\n", "values are separated by spaces, expected ','"),
        (b'"1","2"\n', "values are in quotes, expected bare numbers"),
        (b"'1'\n", "values are in quotes, expected bare numbers"),
        (b"\x1f\x8b\x08\x00\n", "it is compressed with gzip: decompress it first"),
        (b"\xff\xfe1\x00\n", "it is UTF-16 text: convert it to UTF-8 first"),
        (b"1\n\x1f\x8b\x08\n", None),
        (b"a;b\n", None),
        (b'"a","b"\n', None),
        (b"3 apples\n", None),
        (b"name\n", None),
    ],
)
def test_a_value_whose_form_says_what_is_wrong_has_a_hint(body: bytes, hint: str | None) -> None:
    with pytest.raises(InputError) as caught:
        read_body(body, np.zeros(8, np.float32))
    assert (caught.value.code, caught.value.hint) == ("expected_number", hint)


def test_totals_that_are_no_rows_say_what_was_found() -> None:
    assert str(empty_input("a")) == "a: empty input: no values found"
    assert str(partial_row(1500, 784, path="a", line=1, in_a_line=750)) == (
        "a:1: expected a multiple of 784 values, found 1,500, 750 in a line"
    )
    assert str(partial_row(3, 2)) == "expected a multiple of 2 values, found 3"
