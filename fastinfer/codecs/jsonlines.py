"""``application/jsonlines``: a line of JSON for each record, and for each prediction.

SageMaker's MXNet container has no default for it, so the rules are this project's: a line that is not blank is one record, a
list (also of lists) of as many numbers as the model takes; a prediction is printed as in JSON, with a newline after it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Encoder, Form, empty_input
from .json import decode_json_body
from .json_rows import as_lists, encode_json, is_structured


def decode_jsonlines_body(body: bytes, row_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The rows of a whole body.

    Args:
        body: the body.
        row_shape: shape of one row; of a line, only the number of its values must be that of the shape.

    Returns:
        float32 array of shape (rows, *row_shape).

    Raises:
        InputError: ``bad_json`` and ``bad_values``, with the line; ``bad_shape`` where a line has another number of values;
            ``empty_input``.
    """
    rows = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip(b" \t\r"):
            try:
                values = decode_json_body(line)
            except InputError as error:
                raise error.at(line=number) from None
            check_record(values.shape, row_shape, line=number)
            with np.errstate(over="ignore"):  # a double beyond float32 is infinite
                rows.append(values.astype(np.float32).reshape(row_shape))
    if not rows:
        raise empty_input(None)
    return np.stack(rows)


def check_record(shape: tuple[int, ...], row_shape: tuple[int, ...], line: int | None = None) -> None:
    """Raises InputError (``bad_shape``) unless a line's list has as many values as a row of the model."""
    if not shape or math.prod(shape) != math.prod(row_shape):
        found = f"{math.prod(shape):,}" if shape else "a single value without brackets"
        raise InputError(
            f"expected a list of {math.prod(row_shape):,} numbers, found {found}", code="bad_shape", line=line
        )


def encode_jsonlines(predictions: Any, row_shape: tuple[int, ...]) -> bytes:
    """Rows with newlines between them.

    Args:
        predictions: see :func:`.json_rows.encode_json`.
        row_shape: shape of one row's prediction; a row of shape () is a bare number.
    """
    if len(row_shape) < 2 and not is_structured(predictions):
        # No number has these signs.
        between = (b"], [", b"]\n[") if row_shape else (b", ", b"\n")
        return encode_json(predictions, row_shape).replace(*between)
    return b"\n".join(json.dumps(row).encode() for row in as_lists(predictions, row_shape))


def encode_jsonlines_body(array: NDArray[Any]) -> bytes:
    """A whole body: ``json.dumps(row)`` and a newline for each row of ``array.tolist()``."""
    if array.dtype == np.float32 and array.size:
        rows = np.ascontiguousarray(array).reshape(len(array) if array.ndim else 1, -1)
        return encode_jsonlines(rows, array.shape[1:]) + b"\n"
    values = array.tolist() if array.ndim else [array.tolist()]
    if array.dtype.names is not None:
        values = as_lists(array, ())
    return b"".join(json.dumps(row).encode() + b"\n" for row in values)


ENCODER = Encoder.of_rows(Form(head=b"", between=b"\n", tail=b"\n", rejected=b"null"), encode_jsonlines)
