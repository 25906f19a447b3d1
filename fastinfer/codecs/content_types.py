"""The content types that a request may have and ask for, and what reads and prints each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote
from .csv import decode_csv, format_csv
from .json import decode_json, encode_json
from .npy import decode_npy

CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
CONTENT_TYPES = (JSON, CSV, NPY)


def decode_rows(
    body: bytes | str,
    content_type: str,
    row_shape: tuple[int, ...],
    content_types: Sequence[str] = CONTENT_TYPES,
) -> NDArray[np.float32]:
    """See :meth:`Predictor.decode`; CSV takes the shape (rows, *row_shape), and only some content types may be read."""
    if content_type not in content_types:
        raise InputError(
            f"the content type {quote(content_type or '')} is not read; {', '.join(content_types)} are",
            code="unsupported_content_type",
        )
    content = body.encode() if isinstance(body, str) else body
    if content_type == CSV:
        return decode_csv(content, row_shape)
    array = decode_json(content) if content_type == JSON else decode_npy(content)
    check_rows(array)
    # A double beyond float32 is infinite, as in the container.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def check_rows(array: NDArray[Any]) -> None:
    if array.ndim == 0:
        raise InputError("expected a list of rows, found a single value", code="bad_shape")
    if array.shape[0] == 0:
        raise InputError("there is no row in it", code="empty_input")


def encode_predictions(predictions: NDArray[np.float32], content_type: str) -> bytes:
    """Predictions of shape (rows, ...) as text or NPY."""
    if content_type == NPY:
        stream = io.BytesIO()
        np.save(stream, predictions.astype("<f8"), allow_pickle=False)
        return stream.getvalue()
    flat = np.ascontiguousarray(predictions, dtype=np.float32).reshape(len(predictions), -1)
    if content_type == JSON:
        return b"[" + encode_json(flat, predictions.shape[1:]) + b"]"
    if predictions.ndim > 2:
        raise InputError(
            f"text/csv cannot hold predictions of shape {predictions.shape}; {JSON} and {NPY} can",
            code="unsupported_accept",
        )
    return format_csv(flat)


def choose_accepted(accept: str | None, content_types: Sequence[str] = CONTENT_TYPES) -> str:
    """The first of the types in an Accept header that can be given; JSON where anything may be.

    Raises:
        InputError: ``unsupported_accept``.
    """
    if not accept or accept == "*/*":
        return JSON
    for item in accept.replace(" ", "").split(","):
        if item in content_types:
            return item
    raise InputError(f"none of {quote(accept)} can be given; {', '.join(content_types)} can", code="unsupported_accept")
