"""Predictions to text, as the container's encoder prints them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .csv import format_json_bodies, format_json_rows


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


def decode_json(content: bytes) -> NDArray[Any]:
    try:
        array = np.array(json.loads(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", code="bad_json") from error
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", code="bad_json", line=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise InputError("is nested too deep", code="bad_json") from error
    except ValueError as error:  # lists of unequal lengths, or more levels than an array has
        raise InputError("its lists make no rectangle of numbers", code="bad_values") from error
    if array.dtype == object and array.size and all(type(value) in (int, float, bool) for value in array.flat):
        try:
            return array.astype(np.float64)  # integers beyond 64 bits
        except OverflowError as error:
            raise InputError("an integer is beyond what a double holds", code="bad_values") from error
    if array.dtype.kind not in "biuf":
        raise InputError("something else than numbers stands in its lists", code="bad_values")
    return array
