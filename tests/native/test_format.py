"""float32 to text: every target writes the bytes of json.dumps, and of the container's CSV."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer import kernels
from fastinfer._native import text as _kernels

ISAS = kernels.available_isas()

bits = st.integers(0, 2**32 - 1).map(lambda word: float(np.uint32(word).view(np.float32)))
values = st.one_of(bits, st.floats(width=32), st.floats(0, 1, width=32), st.integers(-(2**24), 2**24).map(float))
rows = st.integers(1, 12).flatmap(
    lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=6)
)


def csv(array: np.ndarray) -> bytes:
    return "".join(",".join(str(value) for value in row) + "\n" for row in array.tolist()).encode()


@pytest.mark.parametrize("isa", ISAS)
@given(rows=rows)
def test_rows_are_printed_as_json_dumps_prints_them(isa: str, rows: list[list[float]]) -> None:
    array = np.array(rows, np.float32)
    assert _kernels.format_json(array, isa=isa) == json.dumps(array.tolist()).encode()
    assert _kernels.format_json_rows(array, isa=isa) == json.dumps(array.tolist())[1:-1].encode()
    assert _kernels.format_csv_rows(array, isa=isa) == csv(array)


@pytest.mark.parametrize("isa", ISAS)
def test_all_powers_of_two_and_their_neighbours_are_printed_as_repr(isa: str) -> None:
    # Shortest digits are hardest there: the gap below a power of two is half of the one above.
    powers = np.arange(0, 256, dtype=np.uint32) << np.uint32(23)
    words = np.concatenate([powers + np.uint32(delta % 2**32) for delta in (-2, -1, 0, 1, 2, 12345, 0x400000)])
    array = words[words < 0x7F800000].view(np.float32)[:, None].copy()
    assert _kernels.format_json(array, isa=isa) == json.dumps(array.tolist()).encode()


@pytest.mark.parametrize("isa", ISAS)
def test_all_small_decimals_are_printed_as_repr(isa: str) -> None:
    decimals = [n / 10**k for k in range(9) for n in range(300)] + [n * 10.0**k for k in range(30) for n in range(30)]
    array = np.array(decimals, np.float32)[None]
    assert _kernels.format_json(array, isa=isa) == json.dumps(array.tolist()).encode()


def test_words_for_what_is_no_number() -> None:
    array = np.array([[math.nan, math.inf, -math.inf, -0.0]], np.float32)
    assert kernels.format_json(array) == b"[[NaN, Infinity, -Infinity, -0.0]]"
    assert kernels.format_csv(array) == b"nan,inf,-inf,-0.0\n"


def test_empty_rows_are_printed_as_json_dumps_prints_them() -> None:
    for shape in [(0, 3), (2, 0)]:
        array = np.empty(shape, np.float32)
        assert kernels.format_json(array) == json.dumps(array.tolist()).encode()


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros(2, np.float32), np.zeros((4, 4), np.float32)[:, ::2]])
def test_what_is_not_rows_of_float32_is_refused(array: np.ndarray) -> None:
    with pytest.raises((ValueError, BufferError)):
        kernels.format_json(array)
