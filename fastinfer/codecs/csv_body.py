"""``text/csv``: a whole body to an array, and predictions to text, by the rules of SageMaker's container."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._native.text import format_csv_rows
from ..errors import InputError
from .base import BadRecord, Encoder, Form
from .csv import CsvDecoder, CsvOptions, read_body
from .csv_errors import partial_row
from .json_rows import as_lists, as_rows, is_structured

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_csv_body(body: bytes, row_shape: tuple[int, ...]) -> NDArray[Any]:
    """The rows of a whole body.

    Args:
        body: the body.
        row_shape: shape of one row; only the total of the values must be a multiple of its size.

    Returns:
        float32 array of shape (rows, *row_shape).

    Raises:
        InputError: as :func:`fastinfer.codecs.csv.read_body`; ``partial_row``, without a line, because no single line is wrong.
    """
    row_values = math.prod(row_shape)
    # A value and its separator take at least two bytes. Memory after the last value is never touched.
    most = (len(body) + 1) // 2
    rows = np.empty((max(1, -(-most // row_values)), row_values), dtype=np.float32)
    values = read_body(body, rows)
    if values % row_values:
        raise partial_row(values, row_values)
    return rows[: values // row_values].reshape(-1, *row_shape)


def decode_csv_lines(
    body: bytes, row_shape: tuple[int, ...], options: CsvOptions, *, line_is_record: bool
) -> NDArray[Any]:
    """The rows of a whole body, as a run reads them.

    Args:
        body, row_shape: see :func:`decode_csv_body`.
        options: what is accepted.
        line_is_record: whether each line is one row.

    Returns:
        float32 array of shape (rows, *row_shape).

    Raises:
        InputError: as :class:`fastinfer.codecs.csv.CsvDecoder`.
    """
    row_values = math.prod(row_shape)
    most = (len(body) + 1) // 2
    # One more: a line with too many values is seen by the first of them.
    rows = np.empty((1 - -most // row_values, row_values), dtype=np.float32)
    decoder = CsvDecoder(options, row_values, line_is_record=line_is_record)
    decoder.begin(0)
    decoder.start(body, 0, len(body), first=True)
    try:
        outcome = decoder.fill(rows, 0)
        if isinstance(outcome, BadRecord):
            raise outcome.error
        decoder.end(may_be_empty=False)
    finally:
        decoder.release()
    return rows[: decoder.written // row_values].reshape(-1, *row_shape)


def encode_csv(predictions: Any, row_shape: tuple[int, ...]) -> bytes:
    """Rows as lines.

    Args:
        predictions: see :func:`.json_rows.encode_json`.
        row_shape: shape of one row's prediction, of one dimension at most.

    Raises:
        InputError: ``unsupported_accept`` for records of several outputs.
    """
    if not is_structured(predictions):
        with memoryview(predictions) as rows:
            if rows.format == "f":
                return format_csv_rows(as_rows(rows, row_shape)) if rows.nbytes else b""
        return encode_csv_body(np.array(as_lists(predictions, row_shape)))
    return encode_csv_body(predictions)


def check_row_shape(row_shape: tuple[int, ...]) -> None:
    """Raises InputError (``unsupported_accept``) where predictions of this shape are no lines of cells."""
    check_dimensions((1, *row_shape))


def check_dimensions(shape: tuple[int, ...]) -> None:
    """Raises InputError (``unsupported_accept``) where predictions of this shape are no lines of cells."""
    if len(shape) not in (1, 2):
        raise InputError(
            f"unsupported Accept 'text/csv' for predictions of shape {shape}: "
            "use application/json or application/x-npy",
            code="unsupported_accept",
        )


def encode_csv_body(array: NDArray[Any]) -> bytes:
    """A whole body: the digits of JSON for float32, what ``numpy.savetxt`` prints of ``array.tolist()`` for other types.

    Raises:
        InputError: ``unsupported_accept`` where the array has not one or two dimensions.
    """
    if array.dtype.names is not None:
        raise InputError(
            "unsupported Accept 'text/csv' for several outputs: use application/json", code="unsupported_accept"
        )
    check_dimensions(array.shape)
    if array.dtype == np.float32:
        return format_csv_rows(np.ascontiguousarray(array).reshape(len(array), -1))
    text = io.StringIO()
    np.savetxt(text, array.tolist(), delimiter=",", fmt="%s")
    return text.getvalue().encode()


# A line has its own end. A record that was rejected has no cells to show.
FORM = Form(head=b"", between=b"", tail=b"", rejected=b"null\n")
ENCODER = Encoder.of_rows(FORM, encode_csv)._replace(check=check_row_shape)
