"""Whole CSV bodies to rows of a model's shape, and predictions to CSV."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fastinfer.codecs.csv_body import decode_csv_body, encode_csv_body
from fastinfer.errors import InputError
from fastinfer.kernels import parse_csv


@pytest.mark.parametrize(
    "body", [b"1,2,3,4\n", b"1,2\n3,4", b"1\n2\n3\n4\n", b"\xef\xbb\xbf1,2,3,4", b"1,2\r\n\r\n3,4\r\n"]
)
def test_only_the_total_counts(body: bytes) -> None:
    for row_shape in ((), (1,), (2,), (2, 1), (4,), (1, 2, 2)):
        rows = decode_csv_body(body, row_shape)
        assert rows.dtype == np.float32
        assert rows.tolist() == np.arange(1, 5).reshape(-1, *row_shape).tolist()


@pytest.mark.parametrize(
    ("body", "code", "line", "column"),
    [
        (b"1,2\n3,x\n", "expected_number", 2, 3),
        (b"1,\n", "empty_cell", 1, 3),
        (b"1,2\n1\n", "unequal_line", 2, 2),
        (b"\n\n", "empty_input", None, None),
        (b"", "empty_input", None, None),
        (b"1,2\n3,4\n5,6\n", "partial_row", None, None),
    ],
)
def test_errors_name_the_line_that_is_at_fault(body: bytes, code: str, line: int | None, column: int | None) -> None:
    with pytest.raises(InputError) as caught:
        decode_csv_body(body, (4,))
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)
    with pytest.raises(InputError) as parsed:
        parse_csv(body, np.empty((2, 4), np.float32))
    assert (parsed.value.message, parsed.value.code) == (caught.value.message, code)


def test_float32_has_the_digits_of_json_and_other_types_those_of_numpy() -> None:
    rows = np.array([[0.1, 2], [np.nan, -np.inf]], np.float32)
    assert encode_csv_body(rows) == b"0.10000000149011612,2.0\nnan,-inf\n"
    assert encode_csv_body(rows[:, 0]) == b"0.10000000149011612\nnan\n"
    for array in (np.array([[1, 2]]), np.array([0.1, 2]), np.array([[True]])):
        expected = io.StringIO()
        np.savetxt(expected, array.tolist(), delimiter=",", fmt="%s")
        assert encode_csv_body(array) == expected.getvalue().encode()


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_other_than_one_or_two_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="use application/json or application/x-npy") as caught:
        encode_csv_body(np.zeros(shape, np.float32))
    assert caught.value.code == "unsupported_accept"
