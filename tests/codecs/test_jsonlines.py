"""JSON Lines: a line is a record of the model's shape; errors name the line; rows are printed a line each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastinfer.codecs.jsonlines import decode_jsonlines_body, encode_jsonlines, encode_jsonlines_body
from fastinfer.errors import InputError


@pytest.mark.parametrize(
    "body",
    [b"[1, 2, 3, 4]\n[5, 6, 7, 8]\n", b"\n [[1,2],[3,4]] \r\n\t\n[[[5],[6],[7],[8]]]", b"[1,2,3,4]\n[5e0,6,7,8]"],
)
def test_a_line_is_a_record_of_the_models_shape(body: bytes) -> None:
    rows = decode_jsonlines_body(body, (2, 2))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"[1, 2]\n\n[1, 2, 3]\n", "bad_shape", "^3: expected a list of 2 numbers, found 3$"),
        (b"[1, 2]\n5\n", "bad_shape", "^2: expected a list of 2 numbers, found a single value without brackets$"),
        (b"[1, 2]\n[1, \n", "bad_json", "^2:5: invalid JSON: Expecting value$"),
        (b'[1, 2]\n{"features": [1, 2]}\n', "bad_values", "^2:1: expected numbers, found an object$"),
        (b"[[1, 2], [3]]", "bad_values", "^1:12: expected a rectangular list of numbers"),
        (b"\n \r\n", "empty_input", "^empty input"),
    ],
)
def test_errors_state_line_and_fault(body: bytes, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_jsonlines_body(body, (2,))
    assert caught.value.code == code


@pytest.mark.parametrize("row_shape", [(), (1,), (3,), (2, 2)])
def test_rows_are_printed_as_json_a_line_each(row_shape: tuple[int, ...]) -> None:
    rows = np.random.RandomState(1).rand(5, *row_shape).astype(np.float32)
    lines = [json.dumps(row).encode() for row in rows.tolist()]
    assert encode_jsonlines_body(rows) == b"".join(line + b"\n" for line in lines)
    assert encode_jsonlines(rows.reshape(5, -1), row_shape) == b"\n".join(lines)
    assert encode_jsonlines_body(rows[:0]) == b""
