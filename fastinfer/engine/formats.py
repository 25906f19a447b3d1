"""The codecs of a run: what reads its objects as rows, and what prints rows, by the content types of its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codecs.base import Encoder, InputCodec
from ..codecs.csv import CsvCodec, CsvOptions
from ..codecs.json_rows import ENCODER
from ..errors import InputError
from ..options import Options
from .request import CSV, JSON, JSON_LINES, KEEP, LINE, MULTI, NONE, SKIP, TransformRequest

if TYPE_CHECKING:
    from ..models.load import AnyModel

NPY = "application/x-npy"


def content_type_of(request: TransformRequest) -> str | None:
    """The content type of objects, as it is in the table; None where it is none that is read here."""
    if request.content_type in (CSV, JSON, JSON_LINES, NPY):
        return request.content_type
    from ..codecs.content_types import find_content_type  # NumPy is not needed for the types as they are

    try:
        return find_content_type(request.content_type)
    except InputError:
        return None


def accepted_of(request: TransformRequest) -> str | None:
    """The content type of results, as it is in the table; None where it is none that can be printed."""
    if request.accept in (None, JSON):
        return JSON
    from ..codecs.content_types import choose_accepted

    try:
        return choose_accepted(request.accept)
    except InputError:
        return None


def skips_header(request: TransformRequest, options: Options) -> bool:
    """Whether the first line of each object is left out: also where it is to be kept, but nothing is joined or filtered."""
    return options.skip_header or request.header == SKIP or (request.header == KEEP and not request.processes)


def lines_before(request: TransformRequest, options: Options) -> int:
    """How many lines of each object are before its records."""
    return skips_header(request, options) + (request.header == KEEP and request.processes)


def choose_codec(request: TransformRequest, model: AnyModel | None, options: Options) -> InputCodec:
    """What reads objects as rows for a model. CSV where there is no model, or objects are none of rows: then it is not used."""
    content_type = content_type_of(request)
    if model is not None and content_type == JSON:
        from ..codecs.json_input import JsonCodec

        return JsonCodec(model.flattens)
    if model is not None and content_type == NPY:
        from ..codecs.npy_input import NpyCodec

        return NpyCodec(model.flattens)
    if content_type == JSON_LINES:
        from ..codecs.json_input import JsonLinesCodec

        return JsonLinesCodec()
    return CsvCodec(
        CsvOptions(
            options.comment,
            options.missing,
            skip_header=skips_header(request, options),
            cut_lines=options.records == "total",
        )
    )


def choose_encoder(request: TransformRequest) -> Encoder | None:
    """What prints the rows of an object that is one payload; None where its answer is not made of printed rows."""
    content_type, accepted = content_type_of(request), accepted_of(request)
    if content_type not in (CSV, JSON, JSON_LINES, NPY):
        return None
    splits = (NONE, LINE) if content_type in (CSV, JSON_LINES) else (NONE,)
    if request.split_type not in splits or request.strategy != MULTI or request.processes:
        return None
    encoder = ENCODER
    if accepted == CSV:
        from ..codecs.csv_body import ENCODER as encoder
    elif accepted == JSON_LINES:
        from ..codecs.jsonlines import ENCODER as encoder
    elif accepted != JSON:
        return None
    return encoder.with_line_end() if request.assemble_with == LINE else encoder
