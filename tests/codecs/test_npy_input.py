"""NPY as rows of a batch: what the whole array holds, of every type and order, however its bytes come in pieces."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastinfer.codecs.npy_input as module
from fastinfer.codecs.npy_input import NpyCodec
from fastinfer.errors import InputError
from tests.codecs.test_json_input import read


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


def values(
    body: bytes, size: int, room: int = 6, *, row_shape: tuple[int, ...] = (2, 3), any_shape: bool = False
) -> list[float]:
    decoder = NpyCodec(any_shape).decoder(row_shape, line_is_record=False)
    return read(decoder, [body[place : place + size] for place in range(0, len(body), size)] or [b""], room)[0]


ARRAY = np.arange(24).reshape(4, 2, 3)


@given(
    st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2", "i1", "<u2", ">i8", "?"]),
    st.sampled_from(["C", "F"]),
    st.integers(1, 300),
    st.sampled_from([6, 12, 100]),
    st.sampled_from([(1, 0), (2, 0)]),
)
def test_values_are_those_of_the_array(kind: str, order: Any, size: int, room: int, version: tuple[int, int]) -> None:
    array = np.array(ARRAY.astype(kind), order=order)
    assert values(npy(array, version), size, room) == array.astype(np.float32).reshape(-1).tolist()


def test_a_double_beyond_float32_is_infinite() -> None:
    assert values(npy([[1e39, -1e39]]), 50, row_shape=(2,)) == [np.inf, -np.inf]


def test_rows_may_have_another_shape_where_the_graph_flattens_them() -> None:
    assert values(npy(ARRAY.reshape(4, 6)), 100, any_shape=True) == ARRAY.reshape(-1).tolist()


@pytest.mark.parametrize("size", [1, 100, 10_000])
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (npy(ARRAY.reshape(4, 6)), "bad_shape", r"expected a list of rows of shape \(2, 3\), found rows of shape \(6,\)"),
        (npy(1.0), "bad_shape", "found a single value"),
        (npy(ARRAY[:0]), "empty_input", "no rows found"),
        (npy(ARRAY)[:-1], "bad_npy", r"^expected 192 bytes for an array of shape \(4, 2, 3\) and type int64, found 191$"),
        (npy(ARRAY) + b"x", "bad_npy", "found more$"),
        (npy(ARRAY)[:40], "bad_npy", "expected an NPY array"),
        (npy(np.array(["a"])), "bad_values", "expected numbers, found an array of <U1"),
        (npy(np.array([[1j]])), "bad_values", "expected numbers"),
        (b"1,2,3\n", "bad_npy", "expected an NPY array"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "bad_npy", "expected an NPY array"),
        (b"", "empty_input", "no values found"),
    ],
)  # fmt: skip
def test_errors_state_what_is_wrong(body: bytes, code: str, message: str, size: int) -> None:
    with pytest.raises(InputError, match=message) as caught:
        values(body, size)
    assert caught.value.code == code


def test_nothing_is_unpickled() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="expected numbers, found an array of object"):
        values(stream.getvalue(), 1000)


def test_a_large_array_in_fortrans_order_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORTRAN_BYTES", 100)
    with pytest.raises(InputError, match=r"an array of 192 bytes is in Fortran's order. Hint: save it in C's order"):
        values(npy(np.asfortranarray(ARRAY))[:128], 1000)
    assert values(npy(np.asfortranarray(np.arange(60.0)[:, None])), 1000, row_shape=(1,)) == list(range(60))
