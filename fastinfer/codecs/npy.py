"""``application/x-npy``: NumPy's own file format, as the body of a request and of an answer.

Nothing is unpickled, and a header alone never makes memory be allocated.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote

# Of an array of NumPy.
DIMENSIONS_LIMIT, BYTES_LIMIT = 32, 2**63 - 1


def decode_npy_body(body: bytes) -> NDArray[Any]:
    """The array of an NPY body, as a view of its bytes.

    Returns:
        array of bool, integers or floats, of the shape and order that the header names.

    Raises:
        InputError: ``bad_npy`` if it is not NPY of version 1.0 or 2.0, or its length does not match its header;
            ``bad_values`` if it does not hold numbers.
    """
    stream = io.BytesIO(body)
    npy: Any = np.lib.format  # without types
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version}")
        shape, fortran, kind = readers[version](stream)
    except Exception as error:  # NumPy evaluates the header as Python's text, which can fail in any way
        raise InputError("expected an NPY array of version 1.0 or 2.0, found something else", code="bad_npy") from error
    if kind.kind not in "biuf":
        raise InputError(f"expected numbers, found an array of {quote(str(kind))[1:-1]}", code="bad_values")
    # A size of 0 hides others that NumPy cannot multiply.
    sizes_fit = len(shape) <= DIMENSIONS_LIMIT and all(type(size) is int and size >= 0 for size in shape)
    if not sizes_fit or math.prod(size or 1 for size in shape) * kind.itemsize > BYTES_LIMIT:
        raise InputError(f"the shape {quote(str(shape))[1:-1]} is not one of an array", code="bad_npy")
    count = math.prod(shape)
    found = len(body) - stream.tell()
    if found != count * kind.itemsize:
        raise InputError(
            f"expected {count * kind.itemsize:,} bytes for an array of shape {shape} and type {kind}, found {found:,}",
            code="bad_npy",
        )
    array = np.frombuffer(body, dtype=kind, count=count, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def encode_npy_body(array: NDArray[Any]) -> bytes:
    """A whole body: what ``numpy.save`` writes of ``array.tolist()``, where floats are doubles."""
    stream = io.BytesIO()
    values = array.astype("<f8", order="C") if array.dtype == np.float32 else array.tolist()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
