"""CSV text to float32 rows and float32 rows to text, at the speed of memory: the public face of the C++ kernels.

>>> import numpy
>>> out = numpy.empty((2, 3), numpy.float32)
>>> parse_csv(b"1,2,3\\n0.5,.5,5e-1\\n", out)
2
>>> format_json(out)
b'[[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]]'

A cell means what Python's ``float()`` makes of it (without underscores, and of ASCII text only), rounded to double and
then to float32; a value is printed as ``json.dumps`` prints the double that the float32 widens to. What is accepted and
what is refused stands in docs/kernels.md. The instruction set is chosen at import, or by ``FASTINFER_ISA``.
"""

from __future__ import annotations

import io
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._native.kernels import (
    CsvParser,
    active_isa,
    available_isas,
    count_lines,
    find_line_start,
    format_csv_rows,
    format_json_bodies,
    format_json_rows,
)
from .._native.kernels import format_json as _format_json
from ..errors import FOUND_LIMIT, InputError, quote
from ..runtimes.mxnet.library import ndarray_memory
from ..storage.local import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = [
    "CODES",
    "CsvParser",
    "active_isa",
    "available_isas",
    "count_lines",
    "csv_error",
    "find_line_start",
    "float32_memory",
    "format_csv",
    "format_csv_rows",
    "format_json",
    "format_json_bodies",
    "format_json_rows",
    "parse_csv",
]


LINE_PIECE_BYTES = 1 << 16


class Code(NamedTuple):
    """What a kernel's status says: the word that errors carry, and the message. One for each code of csrc/status.h."""

    number: int
    word: str
    message: str
    hint: str | None


# The one table of codes; a test compares it with csrc/status.h.
CODES = [
    Code(0, "ok", "all input was read", None),
    Code(1, "output_full", "there are more values than the output has room for", None),
    Code(2, "expected_number", "expected a number, found {found} (field {field} of {fields})", None),
    Code(
        3,
        "empty_cell",
        "expected a number, found an empty field (field {field} of {fields})",
        "--missing VALUE reads it",
    ),
    Code(4, "unequal_line", "expected {columns} fields as in the first line, found {fields}", None),
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
            is written: nothing is copied. What it holds behind the last value read is undefined. After an error the
            values before the one at fault are written.
        comment: a character from which on the rest of a line is skipped.
        missing: the value of an empty cell; without it an empty cell is an error.
        path: what an error calls the input.

    Raises:
        InputError: `expected_number`, `empty_cell`, `unequal_line`, `output_full` (more values than `out` holds), with line
            and column; `partial_row`, with the last line; `empty_input` (no value at all).
        ValueError: `out` is not a C-contiguous float32 array with at least one row.
    """
    shape, memory = float32_memory(out)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"out must be of shape (rows, values, ...) and not empty, not {shape}")
    parser = CsvParser(comment=comment, missing=missing)
    with memoryview(buffer).cast("B") as body:
        parser.reset(buffer, len(BYTE_ORDER_MARK) if body[:3] == BYTE_ORDER_MARK else 0)
    try:
        written = parser.parse(memory)
        if parser.code != 0:
            raise csv_error(buffer, parser.code, parser.position, columns=parser.columns, path=path, comment=comment)
    finally:
        parser.release()
    if written == 0:
        raise empty_input(path)
    values_per_row = math.prod(shape[1:])
    if written % values_per_row:
        line = _line_of(memoryview(buffer).cast("B"), parser.position)[0]
        raise partial_row(written, values_per_row, path=path, line=line)
    return written // values_per_row


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
    """The shape of `array`, and a writable buffer of its own memory: itself, or what an mxnet NDArray holds.

    The buffer does not keep an NDArray alive. mxnet is not imported here: without it there are no NDArrays.

    Raises:
        ValueError: an NDArray that is not dense float32 on the CPU, or no array at all.
    """
    mxnet = sys.modules.get("mxnet")
    if mxnet is None or not isinstance(array, mxnet.nd.NDArray):
        try:
            return memoryview(array).shape or (), array
        except (TypeError, BufferError) as error:
            raise ValueError(f"expected a float32 array, not {type(array).__name__}") from error
    return tuple(array.shape), ndarray_memory(array)


def empty_input(path: str | None) -> InputError:
    """The error for a body without a value."""
    return InputError("there is no value in it", code="empty_input", path=path)


def partial_row(
    values: int, row_values: int, *, path: str | None, line: int | None, in_a_line: int = 0, hint: str | None = None
) -> InputError:
    """The error for a body whose values are no whole number of rows; ``in_a_line`` of them each, where that is known."""
    found = f"{values:,}, {in_a_line:,} in a line" if in_a_line else f"{values:,}"
    return InputError(
        f"expected a multiple of {row_values:,} values, found {found}",
        code="partial_row",
        path=path,
        line=line,
        hint=hint,
    )


def csv_error(
    body: Buffer,
    code: int,
    position: int,
    *,
    columns: int = 0,
    path: str | None = None,
    first_line: int = 1,
    comment: str | None = None,
) -> InputError:
    """The error that a kernel's status stands for, with its place in words.

    Args:
        body: the bytes that were read.
        code: a number of :data:`CODES` above 0.
        position: byte offset in `body` of the cell or line end at fault.
        columns: fields of a line as far as known; 0 inside the first line.
        path: what the message calls the input.
        first_line: the number of `body`'s first line, where it is a part of a file.
        comment: the sign that ends a line's fields, if one does.
    """
    _, word, message, hint = CODES[code]
    with memoryview(body).cast("B") as view:
        line, line_start = _line_of(view, position)
        line_end = _line_end(view, position)
        if comment is not None:
            sign = bytes(view[line_start:line_end]).find(comment.encode())
            line_end = line_start + sign if sign >= 0 else line_end
        fields = bytes(view[line_start:line_end]).count(b",") + 1
        # Four bytes a character at most, and one more character so that quote() can see that it cuts.
        found = bytes(view[position : min(line_end, position + 4 * FOUND_LIMIT + 4)]).split(b",")[0].strip(b" \t")
        field = bytes(view[line_start:position]).count(b",") + 1
    if word == "expected_number":
        if found.startswith(b"#"):
            hint = "--comment '#' skips comments"
        elif line + first_line == 2 and field == 1:
            hint = "--header skip skips a first line of names"
    return InputError(
        message.format(found=quote(found), field=field, fields=max(fields, field), columns=columns),
        code=word,
        path=path,
        line=line + first_line - 1,
        column=position - line_start + 1,
        hint=hint,
    )


def _line_of(view: memoryview, position: int) -> tuple[int, int]:
    """The 1-based line that `position` stands in, and the offset of that line's first byte."""
    start = position
    while start > 0:
        # From the end, a piece at a time: the input may be larger than what one wants to copy.
        piece = bytes(view[max(0, start - LINE_PIECE_BYTES) : start])
        found = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        if found >= 0:
            start -= len(piece) - found - 1
            break
        start -= len(piece)
    return count_lines(view, 0, start) + 1, start


def _line_end(view: memoryview, position: int) -> int:
    """The offset of the LF or CR that ends the line of `position`, or the end of `view`."""
    stop = find_line_start(view, min(position + 1, len(view)))
    while stop > position and view[stop - 1] in b"\r\n":
        stop -= 1
    return stop


def decode_csv_body(body: bytes, row_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The rows of a whole body, by its total number of values as in :func:`parse_csv`.

    Returns:
        array of shape (rows, *row_shape).

    Raises:
        InputError: as :func:`parse_csv`; `partial_row` without a line, as none of them is at fault.
    """
    row_values = math.prod(row_shape)
    # A value and what separates it from the next take two bytes at least. Memory behind the last value is never touched.
    most = (len(body) + 1) // 2
    rows = np.empty((max(1, -(-most // row_values)), row_values), dtype=np.float32)
    parser = CsvParser()
    parser.reset(body, len(BYTE_ORDER_MARK) if body[:3] == BYTE_ORDER_MARK else 0)
    try:
        written = parser.parse(rows)
        if parser.code != 0:
            raise csv_error(body, parser.code, parser.position, columns=parser.columns)
    finally:
        parser.release()
    if written == 0:
        raise empty_input(None)
    if written % row_values:
        raise partial_row(written, row_values, path=None, line=None)
    return rows[: written // row_values].reshape(-1, *row_shape)


def encode_csv_body(array: NDArray[Any]) -> bytes:
    """A whole body: the digits of JSON for float32, what ``numpy.savetxt`` prints of ``array.tolist()`` for other types.

    Raises:
        InputError: `unsupported_accept` where the array has not one or two dimensions.
    """
    if array.ndim not in (1, 2):
        raise InputError(
            f"unsupported Accept 'text/csv' for predictions of shape {array.shape}: "
            "use application/json or application/x-npy",
            code="unsupported_accept",
        )
    if array.dtype == np.float32:
        return format_csv(np.ascontiguousarray(array).reshape(len(array), -1))
    text = io.StringIO()
    np.savetxt(text, array.tolist(), delimiter=",", fmt="%s")
    return text.getvalue().encode()
