"""The choice of the road that a run's objects take: rows that share batches, or payloads that are answered one by one.

Where both are possible they give the same bytes; rows are faster. The choice is made here and nowhere else.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

from ..codecs.base import Encoder, Form
from ..codecs.json_rows import ENCODER, as_lists, encode_json, is_structured, rows_of_record
from .formats import accepted_of, choose_encoder, content_type_of
from .request import CSV, JSON, LINE, NONE, SINGLE, TransformRequest

# Lines one behind another, each with its end; a record that was rejected has no cells to show.
LINES = Form(b"", b"", b"", b"null\n")


class Lane(NamedTuple):
    """How a run's objects are transformed.

    Attributes:
        by_rows: whether as rows of shared batches (worker.py); else by payloads (payloads.py).
        encoder: what prints the rows.
    """

    by_rows: bool
    encoder: Encoder


def choose_lane(request: TransformRequest, *, code: bool, has_plain_rows: bool = True) -> Lane:
    """The road of a run.

    Args:
        request: what is asked for.
        code: whether a model's own code answers.
        has_plain_rows: whether the model gives one row of float32 for each record, which alone are joined as rows.
    """
    ends_lines = request.assemble_with == LINE
    payload_lane = Lane(False, ENCODER)
    if not has_plain_rows and request.prints_lines:
        return payload_lane
    if code or request.split_type not in (NONE, LINE):
        return payload_lane
    if request.prints_lines:
        return Lane(True, ENCODER._replace(form=LINES))
    if not _is_csv_to_json(request):
        encoder = choose_encoder(request)
        return payload_lane if encoder is None else Lane(True, encoder)
    if request.strategy == SINGLE:
        return Lane(True, _SINGLE_LINES if ends_lines else _SINGLE)
    return Lane(True, ENCODER.with_line_end() if ends_lines else ENCODER)


def _is_csv_to_json(request: TransformRequest) -> bool:
    return content_type_of(request) == CSV and accepted_of(request) == JSON


def _encode_single(predictions: Any, row_shape: tuple[int, ...], between: bytes) -> bytes:
    """Rows as answers of their own, without the first bracket and the last."""
    several = rows_of_record(predictions, row_shape)
    is_other = is_structured(predictions) or getattr(predictions, "format", "f") != "f"
    if len(row_shape) > 1 or several > 1 or is_other:
        rows = as_lists(predictions, row_shape)
        records = (rows[first : first + several] for first in range(0, len(rows), several))
        return between.join(json.dumps(record)[1:-1].encode() for record in records)
    together = encode_json(predictions, row_shape)
    return together.replace(b"], [", b"]" + between + b"[") if row_shape else together.replace(b", ", between)


_SINGLE = Encoder.of_rows(Form(b"[", b"][", b"]", b"null"), partial(_encode_single, between=b"]["))
_SINGLE_LINES = Encoder.of_rows(Form(b"[", b"]\n[", b"]\n", b"null"), partial(_encode_single, between=b"]\n["))
