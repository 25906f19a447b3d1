"""JSON bodies: what is accepted, what is refused, and that all ways to print rows give the same text."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fastinfer.codecs.json import decode_json_body, encode_json_body, encode_json_value
from fastinfer.codecs.json_rows import FORM, encode_json, encode_json_bodies
from fastinfer.errors import InputError


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        (b"[true, 0.5]", [1.0, 0.5]),
        (b"[[1000000000000000000000000000000, 1]]", [[1e30, 1.0]]),
        (b"[1, NaN, Infinity]", [1, float("nan"), float("inf")]),
        (b"1", 1),
        (b"[]", []),
    ],
)
def test_numbers_are_read(body: bytes, expected: object) -> None:
    assert np.array_equal(decode_json_body(body), np.array(expected), equal_nan=True)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", "bad_json", "^1:2: invalid JSON: Expecting property name"),
        (b"[1,\n2", "bad_json", "^2:2: invalid JSON: Expecting ','"),
        (b"", "bad_json", "^1:1: invalid JSON: Expecting value$"),
        (b'["\xff"]', "bad_json", "^invalid JSON: not UTF-8 text$"),
        (b"[" * 100_000, "bad_json", "^invalid JSON: nested too deeply$"),
        (b"[[1], [1, 2]]", "bad_values", "^expected a rectangular list of numbers, found lists of different lengths"),
        (b"[" * 99 + b"1" + b"]" * 99, "bad_values", "^expected a rectangular list of numbers, found .* too deeply$"),
        (b'[["1"]]', "bad_values", "^expected numbers, found text$"),
        (b'[1, "1"]', "bad_values", "^expected numbers, found text$"),
        (b"[[1, null]]", "bad_values", "^expected numbers, found null$"),
        (b'{"instances": [[1]]}', "bad_values", "^expected numbers, found an object$"),
        (b"null", "bad_values", "^expected numbers, found null$"),
        (b'[[1, "' + b"a" * 100 + b'"]]', "bad_values", "^expected numbers, found text$"),
        (b'[[1, null, {"a": 1}]]', "bad_values", "^expected numbers, found null$"),
        (
            b"[1" + b"0" * 1_000_000 + b"]",
            "bad_values",
            "^expected numbers, found an integer .* too large for a double$",
        ),
        (b"[1" + b"0" * 400 + b"]", "bad_values", "^expected numbers, found an integer too large for a double$"),
    ],
)
def test_errors_state_what_is_wrong(body: bytes, code: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_json_body(body)
    place = "".join(f"{number}:" for number in (caught.value.line, caught.value.column))
    assert re.search(message, caught.value.message if message[1].isalpha() else str(caught.value))
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{place} ")


def test_a_long_text_among_many_values_takes_no_memory_for_each() -> None:
    body = b'["' + b"a" * 100_000 + b'"' + b",1" * 20_000 + b"]"  # 8 GB, if every element had room for the text
    with pytest.raises(InputError, match="found text"):
        decode_json_body(body)


@pytest.mark.parametrize("row_shape", [(), (1,), (3,), (2, 2)])
def test_bodies_printed_whole_in_parts_and_together_are_the_same(row_shape: tuple[int, ...]) -> None:
    rows = np.random.RandomState(1).rand(5, *row_shape).astype(np.float32)
    flat = rows.reshape(5, -1)
    expected = json.dumps(rows.tolist()).encode()
    assert encode_json_body(rows) == expected
    parts = [encode_json(flat[first:stop], row_shape) for first, stop in ((0, 1), (1, 3), (3, 5))]
    assert FORM.head + FORM.between.join(parts) + FORM.tail == expected
    assert encode_json_bodies(flat, row_shape, [2, 3]) == [
        json.dumps(part.tolist()).encode() for part in (rows[:2], rows[2:])
    ]


def test_a_value_of_a_hook_is_printed_as_by_the_model_server() -> None:
    value = {"a": [1, None]}
    assert encode_json_value(value) == json.dumps(value, indent=2).encode()
    with pytest.raises(TypeError):
        encode_json_value(object())
