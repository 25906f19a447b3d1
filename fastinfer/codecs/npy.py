"""``application/x-npy``: NumPy's own file format, as the body of a request and of an answer.

Nothing is unpickled, and a header alone never makes memory be allocated.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, escape
from ..python_text import parse_again

# Of an array of NumPy.
DIMENSIONS_LIMIT, BYTES_LIMIT = 32, 2**63 - 1
# NumPy itself reads no header of more than 10,000 bytes; of version 1.0 none can be longer than this.
HEADER_BYTES = 1 << 16


def decode_npy_body(body: bytes) -> NDArray[Any]:
    """The array of an NPY body, as a view of its bytes.

    Returns:
        array of bool, integers or floats, of the shape and order that the header names.

    Raises:
        InputError: as :func:`read_npy_header`; ``bad_npy`` if its length does not match its header.
    """
    header = read_npy_header(body)
    if header is None:
        raise not_npy()
    shape, fortran, kind, offset = header
    count = math.prod(shape)
    found = len(body) - offset
    if found != count * kind.itemsize:
        raise InputError(
            f"expected {count * kind.itemsize:,} bytes for an array of shape {shape} and type {kind}, found {found:,}",
            code="bad_npy",
        )
    array = np.frombuffer(body, dtype=kind, count=count, offset=offset)
    return array.reshape(shape, order="F" if fortran else "C")


def read_npy_header(start: bytes | bytearray) -> tuple[tuple[int, ...], bool, np.dtype[Any], int] | None:
    """The header of an NPY body: its shape, whether it is in Fortran's order, the type of its values, the header's size.

    Args:
        start: the first bytes of the body.

    Returns:
        None where the header is not whole.

    Raises:
        InputError: ``bad_npy`` if it is not NPY of version 1.0 or 2.0; ``bad_values`` if it does not hold numbers.
    """
    npy: Any = np.lib.format  # without types
    magic = b"\x93NUMPY"
    version = tuple(start[6:8])
    if not magic.startswith(start[:6]) or (len(version) == 2 and version not in ((1, 0), (2, 0))):
        raise not_npy()
    if len(start) < 12:
        return None
    size = (
        10 + int.from_bytes(start[8:10], "little") if version == (1, 0) else 12 + int.from_bytes(start[8:12], "little")
    )
    if size > HEADER_BYTES:
        raise not_npy()
    if len(start) < size:
        return None
    header, read = bytes(start[8:size]), npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, kind = parse_again(lambda: read(io.BytesIO(header)))
        shown = escape(str(shape))  # a number may have too many digits for text
    except Exception as error:  # NumPy evaluates the header as Python's text, which can fail in any way
        raise not_npy() from error
    if kind.kind not in "biuf":
        raise InputError(f"expected numbers, found an array of {escape(str(kind))}", code="bad_values")
    # A size of 0 hides others that NumPy cannot multiply.
    sizes_fit = len(shape) <= DIMENSIONS_LIMIT and all(type(size) is int and size >= 0 for size in shape)
    if not sizes_fit or math.prod(size or 1 for size in shape) * kind.itemsize > BYTES_LIMIT:
        raise InputError(f"the shape {shown} is not one of an array", code="bad_npy")
    return shape, fortran, kind, size


def not_npy() -> InputError:
    """The error for a body that is not NPY."""
    return InputError("expected an NPY array of version 1.0 or 2.0, found something else", code="bad_npy")


def encode_npy_body(array: NDArray[Any]) -> bytes:
    """A whole body: what ``numpy.save`` writes of ``array.tolist()``, where floats are doubles; a structured array as it is."""
    stream = io.BytesIO()
    values = (
        array.astype("<f8", order="C") if array.dtype == np.float32 else array if array.dtype.names else array.tolist()
    )
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
