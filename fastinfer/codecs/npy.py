"""NPY, NumPy's own file format, to an array."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def decode_npy(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    npy: Any = np.lib.format  # without types
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version}")
        shape, fortran, kind = readers[version](stream)
    except (ValueError, EOFError, SyntaxError, TypeError) as error:
        raise InputError("is not an NPY array of version 1.0 or 2.0", code="bad_npy") from error
    if kind.kind not in "biuf":
        raise InputError(f"expected numbers, found an array of {kind}", code="bad_values")
    count = math.prod(shape)
    found = len(content) - stream.tell()
    # Before any memory is taken: the header is the sender's word.
    if found != count * kind.itemsize:
        raise InputError(
            f"an array of shape {shape} and type {kind} has {count * kind.itemsize:,} bytes, found {found:,}",
            code="bad_npy",
        )
    array = np.frombuffer(content, dtype=kind, count=count, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")
