"""An object's payloads, as a request asks for them: it is expanded, lines before its records are taken off, and records are
gathered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from ..options import Limits
from ..records.compression import expand
from ..records.reading import OpenObjects
from ..records.spans import whole
from ..records.split import LF_LINE, Payload, Place, Record, check_record, payloads, split, take_first_line
from ..storage.base import Object
from .request import CSV, JSON_LINES, LINE, NONE, RECORDIO, SINGLE, TransformRequest

if TYPE_CHECKING:
    from .processed import Processing


def payloads_of(
    item: Object,
    request: TransformRequest,
    opened: OpenObjects,
    limits: Limits,
    processing: Processing | None = None,
    *,
    by_record: bool = False,
) -> Iterator[Payload]:
    """The payloads of an object, in order; at least one.

    Args:
        item: the object.
        request: what is asked for.
        opened: reads it.
        limits: how long a record may be where the request does not say it.
        processing: takes the lines before the payloads; None: there are none.
        by_record: whether each record is a payload, whatever the request says.

    Raises:
        InputError: ``empty_input``, ``payload_too_large``; the object cannot be read, expanded or split.
    """
    limit = request.payload_bytes or None
    split_type = split_type_of(request)
    single = by_record or has_documents(request) or request.strategy == SINGLE
    longest = limit or limits.line_bytes
    reader = opened.reader_of(whole(item))
    # Without a limit a payload may be the whole object, which is held.
    most = None if limit or request.strategy == SINGLE else longest
    chunks = expand(reader, request.compression_type, item, most_bytes=most)
    if limit and request.split_type == NONE:
        chunks = _bounded(chunks, limit, item.uri)
    kind = LF_LINE if split_type == LINE and request.essence == JSON_LINES else split_type
    records = _records_of(chunks, kind, longest, item.uri, processing)
    count = 0
    for payload in payloads(records, limit, single=single, path=item.uri):
        count += 1
        yield payload
    if not count and split_type != NONE:
        raise InputError("empty input: no records found", code="empty_input", path=item.uri)


def _records_of(
    chunks: Iterator[bytes], split_type: str, longest: int, path: str, processing: Processing | None
) -> Iterator[Record]:
    """The records of an object without the lines before them, which `processing` takes: they are records in RecordIO."""
    start = lines = 0
    while processing is not None and lines < processing.lines_before and split_type != RECORDIO:
        line, chunks = take_first_line(chunks, most_bytes=longest, path=path)
        processing.take_line(line)
        start, lines = start + len(line), lines + 1
    for content, place in split(chunks, split_type, most_bytes=longest, path=path):
        if processing is not None and split_type == RECORDIO and place.number <= processing.lines_before:
            processing.take_line(content)
        else:
            # A whole object is record 1, whatever was before it.
            number = place.number if split_type == NONE else lines + place.number
            yield Record(content, Place(start + place.start, number))


def _bounded(chunks: Iterable[bytes], most_bytes: int, path: str) -> Iterator[bytes]:
    """The same bytes of an object that is one record. Raises InputError (``payload_too_large``)."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        check_record(size, most_bytes, Place(0, 1), path)
        yield chunk


def split_type_of(request: TransformRequest) -> str:
    """What divides an object into records; what is filtered or joined are its lines, where it has lines."""
    return LINE if request.processes and request.essence in (CSV, JSON_LINES) else request.split_type


def has_documents(request: TransformRequest) -> bool:
    """Whether a record is a JSON document that is filtered or joined, and so has an answer of its own."""
    return request.processes and request.essence != CSV
