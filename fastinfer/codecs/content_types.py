"""The content types of requests and answers: one table with the functions that decode and encode each.

Names are compared without regard to case, and a charset that UTF-8 includes is accepted; SageMaker's container refuses both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote
from .csv_body import decode_csv_body, encode_csv_body
from .image import decode_image_body
from .json import decode_json_body, encode_json_body
from .jsonlines import decode_jsonlines_body, encode_jsonlines_body
from .npy import decode_npy_body, encode_npy_body

CSV, JSON, NPY, JSONLINES = "text/csv", "application/json", "application/x-npy", "application/jsonlines"
IMAGE = "application/x-image"
# Other names of content types.
ALIASES = {"image/jpeg": IMAGE, "image/png": IMAGE}
# In the parameter `charset`.
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
# Parameters of CSV that say how its lines are meant, each with the one value that is what is done. Others change nothing.
CSV_PARAMETERS = {"header": "absent", "label_size": "0"}


class Codec(NamedTuple):
    """What reads and prints one content type.

    Attributes:
        decode: a body, the shape of a row of the model, and the content type's parameters, to an array of numbers. CSV and
            JSON Lines take that shape; the others have one of their own.
        encode: an array of any type, to a body.
    """

    decode: Callable[[bytes, tuple[int, ...], dict[str, str]], NDArray[Any]]
    encode: Callable[[NDArray[Any]], bytes]


CODECS = {
    JSON: Codec(lambda body, *_: decode_json_body(body), encode_json_body),
    CSV: Codec(lambda body, row_shape, _: decode_csv_body(body, row_shape), encode_csv_body),
    NPY: Codec(lambda body, *_: decode_npy_body(body), encode_npy_body),
    JSONLINES: Codec(lambda body, row_shape, _: decode_jsonlines_body(body, row_shape), encode_jsonlines_body),
}
CONTENT_TYPES = tuple(CODECS)
# Pictures are read, not printed.
INPUT_TYPES = (*CONTENT_TYPES, IMAGE)


def find_content_type(name: str | None, content_types: Sequence[str] = INPUT_TYPES) -> str:
    """The content type that a header names, as it is in the table.

    Raises:
        InputError: ``unsupported_content_type``.
    """
    found, parameters = parse_header(name or "")
    found = ALIASES.get(found, found)
    charset = parameters.get("charset", CHARSETS[0])
    if found not in content_types or charset not in CHARSETS:
        raise InputError(
            f"unsupported content type {quote(name or '')}: expected one of {', '.join(content_types)}",
            code="unsupported_content_type",
        )
    for parameter, value in CSV_PARAMETERS.items() if found == CSV else ():
        if parameters.get(parameter, value) != value:
            raise InputError(
                f"unsupported parameter {quote(f'{parameter}={parameters[parameter]}')} of {CSV}: each line is a record of "
                "inputs alone",
                code="unsupported_content_type",
            )
    return found


def parse_header(text: str) -> tuple[str, dict[str, str]]:
    """A media type of a header, and its parameters, in lower case: ``Text/CSV; charset="UTF-8"``."""
    name, *rest = text.lower().split(";")
    pairs = (parameter.partition("=") for parameter in rest)
    return name.strip(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def decode_rows(
    body: bytes | str,
    content_type: str | None,
    row_shape: tuple[int, ...],
    content_types: Sequence[str] = INPUT_TYPES,
) -> NDArray[np.float32]:
    """The rows of a request's body.

    Args:
        body: bytes, or text that is encoded as UTF-8.
        content_type: the body's content type.
        row_shape: shape of one row, which CSV and JSON Lines take.
        content_types: those that are supported.

    Returns:
        float32 array, C-contiguous, of shape (rows, ...).

    Raises:
        InputError: ``unsupported_content_type``; ``bad_shape`` for a single value; ``empty_input``; and what
            the codecs raise.
    """
    found = find_content_type(content_type, content_types)
    decode = decode_image_body if found == IMAGE else CODECS[found].decode
    content = body.encode() if isinstance(body, str) else body
    array = decode(content, row_shape, parse_header(content_type or "")[1])
    check_rows(array)
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    # A double beyond float32 is infinite, as in the container.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def check_rows(array: NDArray[Any]) -> None:
    """Raises InputError where an array has no rows: ``bad_shape`` for a single value, ``empty_input``."""
    if array.ndim == 0:
        raise InputError("expected a list of rows, found a single value", code="bad_shape")
    if array.shape[0] == 0:
        raise InputError("empty input: no rows found", code="empty_input")


def encode_predictions(predictions: NDArray[Any], content_type: str) -> bytes:
    """Predictions as the container's encoder prints what their ``tolist()`` gives.

    Args:
        predictions: array of any type and shape; float32 is the fast case.
        content_type: one of :data:`CONTENT_TYPES`.

    Raises:
        InputError: ``unsupported_accept`` where CSV cannot hold the predictions.
    """
    return CODECS[content_type].encode(predictions)


def choose_accepted(accept: str | None, content_types: Sequence[str] = CONTENT_TYPES) -> str:
    """The content type of an answer: of those that an Accept header names the first supported one, those with a higher quality
    (``;q=``) before others; JSON where any is accepted.

    Raises:
        InputError: ``unsupported_accept``.
    """
    if not accept:
        return JSON
    names = [(name, _quality(parameters)) for name, parameters in map(parse_header, accept.split(","))]
    for name, quality in sorted(names, key=lambda item: -item[1]):
        if quality > 0 and (name == "*/*" or name in content_types):
            return JSON if name == "*/*" else name
    raise InputError(
        f"unsupported Accept {quote(accept)}: expected one of {', '.join(content_types)}", code="unsupported_accept"
    )


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
