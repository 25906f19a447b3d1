"""CSV text to float32 rows and float32 rows to text, at the speed of memory: the public face of the C++ kernels.

>>> import numpy
>>> out = numpy.empty((2, 3), numpy.float32)
>>> parse_csv(b"1,2,3\\n0.5,.5,5e-1\\n", out)
2
>>> format_json(out)
b'[[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]]'

A cell means what Python's ``float()`` makes of it (without underscores, and of ASCII text only), rounded to double and
then to float32; a value is printed as ``json.dumps`` prints the double that the float32 widens to. docs/kernels.md lists
what is accepted. The instruction set is chosen at import, or by ``FASTINFER_ISA``.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from ._native.text import (
    CsvParser,
    active_isa,
    available_isas,
    count_lines,
    find_line_start,
    format_csv_rows,
    format_json_bodies,
    format_json_rows,
)
from ._native.text import format_json as _format_json
from .codecs.csv import read_body
from .codecs.csv_errors import line_of, partial_row
from .runtimes.mxnet.library import ndarray_memory

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CsvParser",
    "active_isa",
    "available_isas",
    "count_lines",
    "find_line_start",
    "float32_memory",
    "format_csv",
    "format_csv_rows",
    "format_json",
    "format_json_bodies",
    "format_json_rows",
    "parse_csv",
]


def parse_csv(
    buffer: Buffer,
    out: Any,
    *,
    comment: str | None = None,
    missing: float | None = None,
    path: str | None = None,
) -> int:
    """Reads a CSV body into `out` and returns how many of its rows it filled.

    Only the total counts, as in SageMaker's container: lines of equal length whose values fill a whole number of rows
    (a 28 x 28 grid is one row of 784).

    Args:
        buffer: the whole body: bytes, a memory map, any contiguous buffer.
        out: C-contiguous float32 array of shape (rows, values, ...), or an mxnet NDArray on the CPU, whose own memory
            is written: nothing is copied. Its content after the last value read is undefined. After an error the
            values before the wrong one are written.
        comment: a character; from it to the end of its line everything is skipped.
        missing: the value of an empty cell; without it an empty cell is an error.
        path: the name of the input in an error.

    Raises:
        InputError: `expected_number`, `empty_cell`, `unequal_line`, `output_full` (more values than `out` holds), with line
            and column; `partial_row`, with the last line; `empty_input` (no value at all).
        ValueError: `out` is not a C-contiguous float32 array with at least one row.
    """
    shape, memory = float32_memory(out)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"out must be of shape (rows, values, ...) and not empty, not {shape}")
    values, row_values = read_body(buffer, memory, comment=comment, missing=missing, path=path), math.prod(shape[1:])
    if values % row_values:
        with memoryview(buffer).cast("B") as view:
            raise partial_row(values, row_values, path=path, line=line_of(view, len(view))[0])
    return values // row_values


def format_json(rows: Any) -> bytes:
    """float32 rows of shape (rows, values) as JSON: exactly the bytes of ``json.dumps(rows.tolist())``.

    Raises:
        ValueError: `rows` is not a C-contiguous float32 array of two dimensions.
    """
    return _format_json(rows)


def format_csv(rows: Any) -> bytes:
    """float32 rows of shape (rows, values) as CSV: the digits of JSON, commas without spaces, a newline per row.

    NaN and infinities are ``nan``, ``inf`` and ``-inf``.

    Raises:
        ValueError: `rows` is not a C-contiguous float32 array of two dimensions.
    """
    return format_csv_rows(rows)


def float32_memory(array: Any) -> tuple[tuple[int, ...], Any]:
    """The shape of `array`, and a writable buffer of its memory: the array itself, or the memory of an mxnet NDArray.

    The buffer does not keep an NDArray alive. mxnet is not imported here: without it there are no NDArrays.

    Raises:
        ValueError: it is not an array, or an NDArray that is not dense float32 on the CPU.
    """
    mxnet = sys.modules.get("mxnet")
    if mxnet is None or not isinstance(array, mxnet.nd.NDArray):
        try:
            return memoryview(array).shape or (), array
        except (TypeError, BufferError) as error:
            raise ValueError(f"expected a float32 array, not {type(array).__name__}") from error
    return tuple(array.shape), ndarray_memory(array)
