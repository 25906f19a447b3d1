"""Predictions as JSON: rows of float32 to text, by kernels, from any buffer. A run prints with this and does without NumPy."""

from __future__ import annotations

import json
from typing import Any

from .._native.text import format_json_bodies, format_json_rows
from .base import Encoder, Form

FORM = Form(head=b"[", between=b", ", tail=b"]", rejected=b"null")


def encode_json(predictions: Any, row_shape: tuple[int, ...]) -> bytes:
    """Rows without the body's outer brackets, so that a body can be written in parts.

    Args:
        predictions: C-contiguous float32 buffer of shape (rows, prod(row_shape)).
        row_shape: shape of one row's prediction; a row of shape () is a bare number.
    """
    if len(row_shape) == 1:
        return format_json_rows(predictions)
    if row_shape == ():
        with memoryview(predictions) as rows:
            return format_json_rows(rows.cast("B").cast("f", (1, len(rows))))[1:-1] if len(rows) else b""
    # Deeper nests are rare (segmentation maps): the standard library prints them.
    return json.dumps(as_lists(predictions, row_shape))[1:-1].encode()


def as_lists(predictions: Any, row_shape: tuple[int, ...]) -> list[Any]:
    """Rows as nested lists, as :func:`encode_json` is given them."""
    with memoryview(predictions) as rows:
        return rows.cast("B").cast("f", (len(rows), *row_shape)).tolist() if len(rows) else []


def encode_json_bodies(predictions: Any, row_shape: tuple[int, ...], counts: list[int]) -> list[bytes]:
    """The whole bodies of several outputs.

    Args:
        predictions: C-contiguous float32 buffer of shape (rows, prod(row_shape)).
        row_shape: shape of one row's prediction.
        counts: how many of the rows each body has, in order.
    """
    if len(row_shape) == 1:
        return format_json_bodies(predictions, counts)
    bodies, first = [], 0
    with memoryview(predictions) as rows:
        for count in counts:
            bodies.append(FORM.head + encode_json(rows[first : first + count], row_shape) + FORM.tail)
            first += count
    return bodies


ENCODER = Encoder(FORM, encode_json, encode_json_bodies)
