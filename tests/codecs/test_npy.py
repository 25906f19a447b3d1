"""NPY bodies: what is accepted, and what is refused before memory is allocated or anything unpickled."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from fastinfer.codecs.npy import decode_npy_body, encode_npy_body
from fastinfer.errors import InputError
from tests.disturbed import disturbed_parsing

# A header names shape, order and type; this one lacks the order.
NO_ORDER = b"\x93NUMPY\x01\x00\x26\x00{'descr': '<f4', 'shape': (1, 2), }    \n"


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


ROWS = np.random.RandomState(2).rand(3, 4)
PICKLED = io.BytesIO()
np.save(PICKLED, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "u1", "<i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_arrays_of_numbers_are_read(kind: str, order: Any, version: tuple[int, int]) -> None:
    array = np.asarray(ROWS.astype(kind), order=order)
    assert np.array_equal(decode_npy_body(npy(array, version)), array)


def test_a_header_is_read_again_whose_parsing_another_thread_disturbed() -> None:
    with disturbed_parsing():
        assert np.array_equal(decode_npy_body(npy(ROWS)), ROWS)


def test_a_body_is_not_copied() -> None:
    assert not decode_npy_body(npy(ROWS)).flags.owndata


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "bad_npy", "expected an NPY array of version 1.0 or 2.0"),
        (b"1,2\n", "bad_npy", "expected an NPY array of version 1.0 or 2.0"),
        (npy(ROWS, (3, 0)), "bad_npy", "expected an NPY array of version 1.0 or 2.0"),
        (NO_ORDER + b"\0" * 8, "bad_npy", "expected an NPY array of version 1.0 or 2.0"),
        (npy(ROWS)[:-1], "bad_npy", r"expected 96 bytes for .* shape \(3, 4\) and type float64, found 95$"),
        (npy(ROWS) + b"!", "bad_npy", "expected 96 bytes .*, found 97$"),
        (npy(ROWS.astype(np.complex64)), "bad_values", "expected numbers, found an array of complex64"),
        (npy(np.array(["a"])), "bad_values", "expected numbers, found an array of <U1"),
        (PICKLED.getvalue(), "bad_values", "expected numbers, found an array of object"),
    ],
)
def test_errors_state_what_is_wrong(body: bytes, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_npy_body(body)
    assert caught.value.code == code


def test_a_header_that_claims_more_than_there_is_takes_no_memory() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 784)})
    with pytest.raises(InputError, match=r"found 8$"):
        decode_npy_body(header.getvalue() + b"\0" * 8)


@pytest.mark.parametrize(
    "shape",
    [
        "(0, 4611686018427387904)",
        "(4611686018427387904, 0)",
        "(-1, -784)",
        "(True, 784)",
        str((1,) * 40),
        "(2.0, 392)",
        f"(0x{'f' * 9000},)",  # more digits than Python prints
    ],
)
def test_shapes_that_no_array_has_are_refused(shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(245) + "\n"
    body = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    for values in (b"", bytes(784 * 4)):
        with pytest.raises(InputError) as caught:
            decode_npy_body(body + values)
        assert caught.value.code == "bad_npy"


@pytest.mark.parametrize(
    "text", ["(" * 3000, "[" * 200, "'a" * 40, "{" + "'a':" * 300, "\\", "1" * 5000, "\0", "x = 1"]
)
def test_headers_that_python_cannot_evaluate_are_refused(text: str) -> None:
    for version, size in ((b"\x01\x00", 2), (b"\x02\x00", 4)):
        body = b"\x93NUMPY" + version + len(text).to_bytes(size, "little") + text.encode()
        with pytest.raises(InputError) as caught:
            decode_npy_body(body)
        assert caught.value.code == "bad_npy"


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.bool_])
def test_what_numpy_saves_of_lists_is_written(kind: Any) -> None:
    array = np.asfortranarray((ROWS * 3).astype(kind))
    expected = io.BytesIO()
    np.save(expected, array.tolist())
    assert encode_npy_body(array) == expected.getvalue()
