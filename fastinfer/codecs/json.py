"""Predictions to text, as the container's encoder prints them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .._native.text import format_json_bodies, format_json_rows
from .base import Form

FORM = Form(b"[", b", ", b"]", b"null")


def encode_json(predictions: np.ndarray[Any, np.dtype[np.float32]], row_shape: tuple[int, ...]) -> bytes:
    """Rows as ``json.dumps(rows.tolist())`` prints them, without the outermost brackets.

    Args:
        predictions: C-contiguous float32 array of shape (rows, prod(row_shape)).
        row_shape: shape of one row's prediction; a row of shape () is a bare number.
    """
    if len(row_shape) == 1:
        return format_json_rows(predictions)
    if row_shape == ():
        return format_json_rows(predictions.reshape(1, -1))[1:-1]
    # Deeper nests are rare (segmentation maps): the standard library prints them.
    return json.dumps(predictions.reshape(-1, *row_shape).tolist())[1:-1].encode()


def encode_json_bodies(
    predictions: np.ndarray[Any, np.dtype[np.float32]], row_shape: tuple[int, ...], counts: list[int]
) -> list[bytes]:
    """The whole outputs of several bodies, brackets included.

    Args:
        predictions: C-contiguous float32 array of shape (rows, prod(row_shape)).
        row_shape: shape of one row's prediction.
        counts: how many of the rows each body has, in order.
    """
    if len(row_shape) == 1:
        return format_json_bodies(predictions, counts)
    texts, first = [], 0
    for count in counts:
        texts.append(b"[" + encode_json(predictions[first : first + count], row_shape) + b"]")
        first += count
    return texts
