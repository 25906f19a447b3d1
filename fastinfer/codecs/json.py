"""``application/json``: a body to an array, and predictions to text, by the rules of SageMaker's container.

Rectangles of plain numbers, which is what bodies are, are read by a kernel (csrc/parse_json.h). The json module reads what the
kernel leaves to it, and finds the words for what is wrong. Two things are refused that the container accepts: ``null`` (it
becomes NaN there) and numbers in strings.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._native.json import JsonParser
from .._native.text import format_json
from ..errors import FOUND_LIMIT, InputError, quote
from .json_rows import FORM, as_lists, encode_json

NUMBERS = (int, float, bool)


# The json module takes some thirty bytes for a number: it is not asked about more text than this.
MODULE_BYTES = 64 << 20


def decode_json_body(body: bytes) -> NDArray[Any]:
    """The array that a JSON body holds: nested lists of numbers, or a single number.

    Returns:
        array of float32, or where the json module read it of bool, integers or floats, of the shape of the lists.

    Raises:
        InputError: ``bad_json`` where it is not JSON, with line and column; ``bad_values`` where it is not a rectangle of
            numbers.
    """
    parser = JsonParser()
    parser.reset(body)
    # A number and the sign behind it take at least two bytes. Memory after the last value is never touched.
    values = np.empty(len(body) // 2 + 1, np.float32)
    count = parser.parse(values)
    if parser.done:
        return values[:count].reshape(parser.shape)
    return decode_by_module(body, parser.position)


def decode_by_module(body: bytes, position: int = 0) -> NDArray[Any]:
    """The array that a JSON body holds, read by the json module.

    Args:
        body: the body.
        position: the byte from which on it is not plain, which errors without a place of their own name.

    Returns:
        array of bool, integers or floats, of the shape of the lists.

    Raises:
        InputError: ``bad_json`` where it is not JSON, ``bad_values`` where it is not a rectangle of numbers; with line and
            column.
    """
    try:
        return _decode_by_module(body, position)
    except InputError as error:
        if error.line is not None:
            raise
        line_start = body.rfind(b"\n", 0, position) + 1
        raise error.at(line=body.count(b"\n", 0, position) + 1, column=position - line_start + 1) from error.__cause__


def _decode_by_module(body: bytes, position: int) -> NDArray[Any]:
    if len(body) > MODULE_BYTES:
        found = quote(body[position : position + 4 * FOUND_LIMIT])
        raise InputError(f"expected lists of numbers, all of equal length, found {found}", code="bad_values")
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError("invalid JSON: not UTF-8 text", code="bad_json") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"invalid JSON: {error.msg}", code="bad_json", line=error.lineno, column=error.colno
        ) from error
    except RecursionError as error:
        raise InputError("invalid JSON: nested too deeply", code="bad_json") from error
    except ValueError as error:  # Python's limit for the digits of an integer
        raise InputError(
            "expected numbers, found an integer with more than 4,000 digits, too large for a double", code="bad_values"
        ) from error
    if b'"' in body:
        # NumPy would give every element the room of the longest text.
        raise InputError(f"expected numbers, found {_describe_text(value)}", code="bad_values")
    try:
        array = np.array(value)
    except ValueError as error:  # NumPy's
        raise InputError(
            "expected a rectangular list of numbers, found lists of different lengths, or nested too deeply",
            code="bad_values",
        ) from error
    if array.dtype == object and array.size and all(type(value) in NUMBERS for value in array.flat):
        try:
            return array.astype(np.float64)  # integers beyond 64 bits
        except OverflowError as error:
            raise InputError("expected numbers, found an integer too large for a double", code="bad_values") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected numbers, found {_describe_others(array)}", code="bad_values")
    return array


def encode_json_body(array: NDArray[Any]) -> bytes:
    """A whole body: the bytes of ``json.dumps(array.tolist())``, at the kernels' speed for float32; of a structured array,
    a list of objects."""
    if array.dtype.names is not None:
        return json.dumps(as_lists(array, ())).encode()
    if array.dtype != np.float32 or array.ndim == 0:
        return json.dumps(array.tolist()).encode()
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    if array.ndim == 2:
        return format_json(rows)
    return FORM.head + encode_json(rows, array.shape[1:]) + FORM.tail


def encode_json_value(value: Any) -> bytes:
    """Any value that is JSON, as SageMaker's model server prints what a hook returns.

    Raises:
        TypeError: the value is not JSON.
    """
    return json.dumps(value, indent=2).encode()


def _describe_others(array: NDArray[Any]) -> str:
    """The kind of value that is not a number."""
    others = {type(None): "null", dict: "an object", list: "a list"}
    return next((others[type(value)] for value in array.flat if type(value) in others), "text")


def _describe_text(value: Any) -> str:
    """The kind of the first value in nested lists that is not a number: text, or an object."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            return "an object"
        elif value is None:
            return "null"
        elif isinstance(value, str):
            break
    return "text"
