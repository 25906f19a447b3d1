"""The payloads of an input, decoded again as the model was given them: of all that is not lines of CSV.

They are cut and filtered by what the run cut and filtered them with (engine/payloads.py, engine/processed.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..codecs.content_types import IMAGE, JSONLINES, decode_rows, find_content_type, parse_header
from ..engine.payload_reading import payloads_of
from ..engine.processed import make_processing
from ..engine.request import LINE, SINGLE, TransformRequest
from ..errors import ConfigError, InputError
from ..options import Limits, Options
from ..records.compression import AUTO
from ..records.reading import OpenObjects
from ..storage.base import Object
from ..storage.local import LocalStore

# Records that are held to choose some of them: so many bytes as numbers.
MOST_BYTES = 512 << 20


def read_payloads(
    item: Object, request: TransformRequest, options: Options, row_shape: tuple[int, ...]
) -> list[NDArray[np.float32] | None]:
    """Of each payload its records, float32 (records, values of each); None where it cannot be decoded: it was rejected.

    Args:
        item: the input.
        request, options: of the run.
        row_shape: of the model.

    Raises:
        InputError: the input cannot be read, split or filtered; ``payload_too_large`` where its records cannot be held.
    """
    return list(_bounded(_decoded(item, _as_shown(request), options, row_shape), item.uri))


def _as_shown(request: TransformRequest) -> TransformRequest:
    """The request by which an input is read to be shown."""
    request = replace(request, compression_type=AUTO)
    kind = find_content_type(request.content_type)
    if kind == JSONLINES and not request.processes:
        # A line is a record whatever the payloads are, and is rejected by itself.
        return replace(request, split_type=LINE, strategy=SINGLE)
    if kind == IMAGE:
        # The picture, not what is left of it when the mean was subtracted.
        fit = parse_header(request.content_type)[1].get("fit")
        return replace(request, content_type=f"{IMAGE}; fit={fit}" if fit else IMAGE)
    return request


def _decoded(
    item: Object, request: TransformRequest, options: Options, row_shape: tuple[int, ...]
) -> Iterator[NDArray[np.float32] | None]:
    processing = make_processing(request, options)
    with OpenObjects(LocalStore(), [item], Limits().chunk_bytes) as opened:
        for payload in payloads_of(item, request, opened, Limits(), processing):
            body = payload.content
            if processing is not None:
                try:
                    prepared = processing.prepare(body)
                except InputError as error:
                    raise payload.locate(error).at(path=item.uri) from error
                if prepared is None:
                    continue
                body = prepared.body
            try:
                rows = decode_rows(body, request.content_type, row_shape)
            except InputError:
                yield None
                continue
            except ConfigError as error:  # a package is missing
                raise error.at(path=item.uri) from error
            yield rows.reshape(len(rows), -1)


def _bounded(payloads: Iterator[NDArray[np.float32] | None], path: str) -> Iterator[NDArray[np.float32] | None]:
    held = 0
    for rows in payloads:
        held += rows.nbytes if rows is not None else 0
        if held > MOST_BYTES:
            raise InputError(
                f"has records of more than {MOST_BYTES >> 20:,} MiB, too many to show some of them",
                code="payload_too_large",
                path=path,
                hint="leave the inputs out",
            )
        yield rows
