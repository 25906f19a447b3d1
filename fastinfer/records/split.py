"""Objects to records, records to payloads: as CreateTransformJob's SplitType, BatchStrategy and MaxPayloadInMB have it.

A record keeps its bytes: lines keep their line ends, so that the payloads of an object, joined, are the object without its
blank lines. RecordIO is read by its framing (dmlc's recordio.h): each part is a magic word, a word with three bits for which
part of its record it is and 29 bits for its length, and the part itself, padded to four bytes. A record that holds the magic
word at a multiple of four bytes is cut there, and the word left out.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .._native.text import find_line_start
from ..errors import InputError
from .spans import last_line_end

SPLIT_TYPES = ("none", "line", "recordio")
# Lines that end with LF alone: in JSON a CR is a blank.
LF_LINE = "lf_line"

MAGIC = b"\x0a\x23\xd7\xce"
HEADER = struct.Struct("<II")
LENGTH_BITS = 29
# Which part of its record a part is.
WHOLE, FIRST, MIDDLE, LAST = range(4)


class Place(NamedTuple):
    """Where a record is in its object.

    Attributes:
        start: the byte at which it begins, with its framing.
        number: its number among the object's lines or records, from 1; blank lines count.
    """

    start: int
    number: int


class Record(NamedTuple):
    """A record of an object: its bytes (of RecordIO without the framing) and its place."""

    content: bytes
    place: Place


class Payload(NamedTuple):
    """The records of one request: their bytes, one behind another, and the place of each."""

    content: bytes
    places: list[Place]

    def locate(self, error: InputError) -> InputError:
        """An error in the payload of lines, at its line of the object."""
        if error.line is None or not 0 < error.line <= len(self.places):
            return error
        return error.at(line=self.places[error.line - 1].number)


def split(
    chunks: Iterable[bytes], kind: str, *, most_bytes: int | None = None, path: str | None = None
) -> Iterator[Record]:
    """The records of an object.

    Args:
        chunks: its bytes, in order, cut anywhere.
        kind: one of :data:`SPLIT_TYPES`; ``none``: the object is one record. Or :data:`LF_LINE`.
        most_bytes: how long a record may be, which bounds what is held of it; None: any length.
        path: the name of the object in errors.

    Raises:
        InputError: ``payload_too_large``; for RecordIO ``bad_recordio`` and ``truncated``; what reading the chunks raises.
    """
    if kind in ("line", LF_LINE):
        return _lines(iter(chunks), most_bytes, path, lf_only=kind == LF_LINE)
    return {"none": _whole, "recordio": _recordio}[kind](iter(chunks), most_bytes, path)


def payloads(
    records: Iterable[Record], most_bytes: int | None = None, *, single: bool = False, path: str | None = None
) -> Iterator[Payload]:
    """The payloads of an object's requests.

    Args:
        records: of one object; payloads never hold records of two.
        most_bytes: how long a payload may be; None: any length, so that all records of an object are one payload.
        single: whether each record is a payload by itself; else as many as fit are one.
        path: the name of the object in errors.

    Raises:
        InputError: ``payload_too_large`` for a record that is longer by itself.
    """
    contents: list[bytes] = []
    places: list[Place] = []
    size = 0
    for content, place in records:
        check_record(len(content), most_bytes, place, path)
        if contents and (single or (most_bytes is not None and size + len(content) > most_bytes)):
            yield Payload(b"".join(contents), places)
            contents, places, size = [], [], 0
        contents.append(content)
        places.append(place)
        size += len(content)
    if contents:
        yield Payload(b"".join(contents), places)


def take_first_line(
    chunks: Iterable[bytes], *, most_bytes: int | None = None, path: str | None = None
) -> tuple[bytes, Iterator[bytes]]:
    """The first line of an object, with its end, and what is behind it.

    Args:
        chunks, most_bytes, path: see :func:`split`.

    Raises:
        InputError: ``payload_too_large``; what reading the chunks raises.
    """
    rest = iter(chunks)
    held = bytearray()
    stop = 0
    while stop == len(held) and (chunk := next(rest, None)) is not None:
        searched = len(held)
        held += chunk
        # A line that ends where this chunk does may end with the next one: in CRLF.
        stop = find_line_start(held, min(max(1, searched), len(held)))
        check_record(stop, most_bytes, Place(0, 1), path)
    return bytes(held[:stop]), itertools.chain([bytes(held[stop:])], rest)


def check_record(length: int, most_bytes: int | None, place: Place, path: str | None) -> None:
    """Raises InputError (``payload_too_large``) where a record, or what is read of it, is longer than that."""
    if most_bytes is not None and length > most_bytes:
        raise InputError(
            f"record {place.number:,}, which begins at byte {place.start:,}, has more than {most_bytes:,} bytes",
            code="payload_too_large",
            path=path,
        )


def _whole(chunks: Iterator[bytes], most_bytes: int | None, path: str | None) -> Iterator[Record]:
    held = bytearray()
    for chunk in chunks:
        held += chunk
        check_record(len(held), most_bytes, Place(0, 1), path)
    yield Record(bytes(held), Place(0, 1))


def _lines(
    chunks: Iterator[bytes], most_bytes: int | None, path: str | None, *, lf_only: bool = False
) -> Iterator[Record]:
    """Lines that are not blank, with their line ends: LF, CRLF, or (unless `lf_only`) a lone CR."""
    start, number = 0, 0
    for block in _line_blocks(chunks, most_bytes, path, lf_only=lf_only):
        position = 0
        while position < len(block):
            stop = block.find(b"\n", position) + 1 if lf_only else find_line_start(block, position + 1)
            stop = stop or len(block)
            number += 1
            line = block[position:stop]
            if line.strip(b" \t\r\n"):
                yield Record(line, Place(start + position, number))
            position = stop
        start += len(block)


def _line_blocks(
    chunks: Iterator[bytes], most_bytes: int | None, path: str | None, *, lf_only: bool
) -> Iterator[bytes]:
    """The same bytes, cut where lines end."""
    held = bytearray()
    start = 0
    for chunk in chunks:
        searched = len(held)
        held += chunk
        # What was held has no line end, but perhaps a CR at its end.
        if lf_only:
            cut = held.rfind(b"\n", searched) + 1
        else:
            has_end = b"\n" in chunk or b"\r" in held[max(0, searched - 1) :]
            cut = last_line_end(held, len(held)) if has_end else 0
        if cut:
            yield bytes(held[:cut])
            del held[:cut]
            start += cut
        if most_bytes is not None and len(held) > most_bytes:
            raise InputError(
                f"the line that begins at byte {start:,} has more than {most_bytes:,} bytes",
                code="payload_too_large",
                path=path,
            )
    if held:
        yield bytes(held)


class _Stream:
    """Bytes of chunks, as many at a time as are asked for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()
        self._place = 0  # in what is held
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""
        held = self._held
        while len(held) - self._place < size and (chunk := next(self._chunks, None)) is not None:
            del held[: self._place]
            self._place = 0
            held += chunk
        content = bytes(held[self._place : self._place + size])
        self._place += len(content)
        self.position += len(content)
        return content


def _recordio(chunks: Iterator[bytes], most_bytes: int | None, path: str | None) -> Iterator[Record]:
    stream = _Stream(chunks)
    number = 0
    while (record := _next_recordio(stream, number + 1, most_bytes, path)) is not None:
        number += 1
        yield record


def _next_recordio(stream: _Stream, number: int, most_bytes: int | None, path: str | None) -> Record | None:
    """The next record; None at the end."""
    record_start = stream.position
    parts: list[bytes] = []
    size = 0
    while True:
        start = stream.position
        header = stream.read(HEADER.size)
        if not header and not parts:
            return None
        if len(header) == HEADER.size and not header.startswith(MAGIC):
            raise InputError(
                f"expected RecordIO's magic word at byte {start:,}, found 0x{header[:4][::-1].hex()}",
                code="bad_recordio",
                path=path,
            )
        word = HEADER.unpack(header)[1] if len(header) == HEADER.size else 0
        kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
        size += length + (len(MAGIC) if parts else 0)
        check_record(size, most_bytes, Place(record_start, number), path)
        padded = length + -length % 4
        part = stream.read(padded)
        if len(header) < HEADER.size or len(part) < padded:
            raise InputError(
                f"ends in the middle of record {number:,}, which begins at byte {record_start:,}",
                code="truncated",
                path=path,
            )
        if kind not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            raise InputError(
                f"record {number:,} has a part of another record at byte {start:,}", code="bad_recordio", path=path
            )
        parts.append(part[:length])
        if kind in (WHOLE, LAST):
            return Record(MAGIC.join(parts), Place(record_start, number))
