"""Predictions as JSON: rows to text, of float32 by kernels. A run prints with this, from any buffer, and does without NumPy."""

from __future__ import annotations

import json
import math
from typing import Any

from .._native.text import format_json_bodies, format_json_rows
from .base import Encoder, Form

FORM = Form(head=b"[", between=b", ", tail=b"]", rejected=b"null")


def encode_json(predictions: Any, row_shape: tuple[int, ...]) -> bytes:
    """Rows without the body's outer brackets, so that a body can be written in parts.

    Args:
        predictions: C-contiguous buffer of shape (records, values of a record); a record may have several rows. Or a
            structured array of NumPy, whose records are printed as objects.
        row_shape: shape of one row's prediction; a row of shape () is a bare number.
    """
    if len(row_shape) < 2 and not is_structured(predictions):
        with memoryview(predictions) as rows:
            if rows.format == "f":
                return _encode_floats(rows, row_shape) if len(rows) else b""
    # Deeper nests are rare (segmentation maps), and so are other types: the standard library prints them.
    return json.dumps(as_lists(predictions, row_shape))[1:-1].encode()


def as_lists(predictions: Any, row_shape: tuple[int, ...]) -> list[Any]:
    """Rows as nested lists, as :func:`encode_json` is given them; records of several outputs as dictionaries."""
    if is_structured(predictions):
        names = predictions.dtype.names
        return [dict(zip(names, values)) for values in zip(*(predictions[name].tolist() for name in names))]
    rows: Any
    with memoryview(predictions) as rows:
        count = rows.nbytes // rows.itemsize // math.prod(row_shape)
        shaped: list[Any] = rows.cast("B").cast(rows.format, (count, *row_shape)).tolist() if count else []
    return shaped


def rows_of_record(predictions: Any, row_shape: tuple[int, ...]) -> int:
    """How many rows each record has."""
    if is_structured(predictions):
        return 1
    rows: Any
    with memoryview(predictions) as rows:
        return math.prod(rows.shape[1:]) // math.prod(row_shape) if rows.ndim else 1


def encode_json_bodies(predictions: Any, row_shape: tuple[int, ...], counts: list[int]) -> list[bytes]:
    """The whole bodies of several outputs.

    Args:
        predictions: see :func:`encode_json`.
        row_shape: shape of one row's prediction.
        counts: how many of the records each body has, in order.
    """
    if len(row_shape) == 1 and not is_structured(predictions):
        with memoryview(predictions) as rows:
            if rows.format == "f":
                several = rows_of_record(rows, row_shape)
                if several == 1:
                    return format_json_bodies(rows, counts)
                return format_json_bodies(as_rows(rows, row_shape), [count * several for count in counts])
    bodies, first = [], 0
    for count in counts:
        bodies.append(FORM.head + encode_json(predictions[first : first + count], row_shape) + FORM.tail)
        first += count
    return bodies


def is_structured(predictions: Any) -> bool:
    """Whether they are records of several outputs."""
    return getattr(getattr(predictions, "dtype", None), "names", None) is not None


def as_rows(values: Any, row_shape: tuple[int, ...]) -> Any:
    """Values of records as rows."""
    width = math.prod(row_shape)
    flat: Any = values.cast("B")
    return flat.cast(values.format, (values.nbytes // values.itemsize // width, width))


def _encode_floats(rows: Any, row_shape: tuple[int, ...]) -> bytes:
    if row_shape:
        return format_json_rows(rows if rows.shape[1:] == row_shape else as_rows(rows, row_shape))
    return format_json_rows(as_rows(rows, (rows.nbytes // rows.itemsize,)))[1:-1]


ENCODER = Encoder(FORM, encode_json, encode_json_bodies)
