"""Filters and joins of payloads: what the model is given of each, and what the result has of its answer."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

from ..errors import InputError
from ..options import Options
from ..records.jsonpath import Path
from ..records.processing import Columns, CsvProcessing, join
from .filtered import processing_of, skips_header
from .formats import content_type_of
from .request import CSV, TransformRequest


class Prepared(NamedTuple):
    """A payload whose records were filtered.

    Attributes:
        body: what the model is given.
        record: what is joined to the answer.
        rows: how many records there are.
        skipped: lines of the payload before them, which the model is not given.
        mark: bytes of a byte order mark in the first record's line.
    """

    body: bytes
    record: Any
    rows: int
    skipped: int = 0
    mark: int = 0


class Processing(Protocol):
    """What is done with the payloads of one object."""

    def prepare(self, content: bytes) -> Prepared | None:
        """Filters a payload; None where nothing of it is a record (the line of names). Raises InputError."""
        ...

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        """What the result has of an answer. Raises InputError."""
        ...

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        """An error in what the model was given, at its place in the payload."""
        ...


def make_processing(request: TransformRequest, options: Options) -> Processing | None:
    """What a run does with the payloads of an object; None: they are as they are."""
    is_csv = content_type_of(request) == CSV
    if not request.processes and not (is_csv and skips_header(request, options)):
        return None
    return CsvPayloads(request, options) if is_csv else JsonPayloads(request)


class CsvPayloads:
    """The payloads of one object of CSV lines."""

    def __init__(self, request: TransformRequest, options: Options) -> None:
        self._processing: CsvProcessing = processing_of(request)
        self._prints = request.prints_lines
        self._skips = skips_header(request, options)
        self._columns: Columns | None = None
        self._head: bytes | None = None
        self._out = bytearray()

    def prepare(self, content: bytes) -> Prepared | None:
        start = skipped = mark = 0
        if self._columns is None:
            if self._skips:
                start, skipped = len(content.splitlines(keepends=True)[0]), 1
                self._skips = False
            if not content[start:].strip():
                return None
            begin = start
            self._columns, start = self._processing.columns(content, begin, len(content), None)
            mark = 0 if self._processing.header else start - begin
            skipped += self._processing.header
        cut = self._columns.cut(content, start, len(content), self._out)
        if cut.unequal:
            index, found = min(cut.unequal.items())
            message = f"expected {self._columns.cells:,} cells as in the first line, found {found:,}"
            raise InputError(message, code="unequal_line", line=index + 1 + skipped)
        body = bytes(self._out[: cut.end])
        return Prepared(body, content[start:], len(cut.starts), skipped, mark) if body.strip() else None

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        if not self._prints:
            return answer
        lines = _as_lines(answer, content_type)
        count = lines.partition(b"\n")[0].count(b",") + 1
        columns = self._columns
        assert columns is not None
        # Now it is known how many columns an answer has.
        columns = self._processing.columns_of(columns.cells, columns.names, count)
        pieces = columns.cut(prepared.record, 0, len(prepared.record), self._out).pieces
        text = join(pieces, lines, self._processing.plan(columns, count))
        if self._head is None:
            self._head = self._processing.head(columns, count)
            return self._head + text
        return text

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        lines, kept = prepared.record.splitlines(), prepared.body.splitlines()
        if error.line is None or not 0 < error.line <= min(len(lines), len(kept)):
            return error
        index, column = error.line - 1, None
        if error.column is not None and self._columns is not None:
            column = self._columns.find_column(lines[index], kept[index], error.column)
            column = column and column + (0 if index else prepared.mark)
        return error.at(line=error.line + prepared.skipped, column=column)


def _as_lines(answer: bytes, content_type: str) -> bytes:
    """An answer as lines of CSV: of JSON, the elements of its list, each flattened, with numbers as they are written."""
    if content_type.partition(";")[0].strip().lower() == CSV:
        return answer if answer.endswith(b"\n") else answer + b"\n"
    try:
        value = json.loads(answer, parse_float=_Raw, parse_int=_Raw, parse_constant=_Raw)
    except (ValueError, RecursionError) as error:
        message = f"the answer cannot be joined to a row of CSV: it is {content_type}"
        raise InputError(message, code="bad_answer", hint="accept text/csv or application/json") from error
    rows = value if isinstance(value, list) else [value]
    return b"".join(",".join(map(_cell, _flatten(row))).encode() + b"\n" for row in rows)


class _Raw(str):
    """A number as it is written."""

    __slots__ = ()


def _cell(value: Any) -> str:
    if isinstance(value, _Raw):
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(value, str(value))
    text = value if isinstance(value, str) else json.dumps(value)
    if any(each in text for each in ',"\n\r'):
        raise InputError(f"the answer cannot be joined to a row of CSV: {text[:60]!r} is no cell", code="bad_answer")
    return text


def _flatten(value: Any) -> list[Any]:
    """The values in nested lists, and of objects, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return [each for part in value for each in _flatten(part)] if isinstance(value, list) else [value]


class JsonPayloads:
    """Payloads that are one JSON document each, or lines of such."""

    def __init__(self, request: TransformRequest) -> None:
        self._input = Path(request.input_filter, inclusive=request.inclusive_slices, spelled="the input filter")
        self._output = Path(request.output_filter, inclusive=request.inclusive_slices, spelled="the output filter")
        self._joins = request.joins

    def prepare(self, content: bytes) -> Prepared | None:
        if self._input.is_all:
            return Prepared(content, content, 1)
        return Prepared(json.dumps(self._input.select(_loads(content))).encode(), content, 1)

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        if self._joins:
            answer = join_json(prepared.record, answer, content_type)
        return answer if self._output.is_all else json.dumps(self._output.select(_loads(answer))).encode()

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        del prepared
        return error


def join_json(record: bytes, answer: bytes, content_type: str) -> bytes:
    """A record with its answer: an object gets the key ``SageMakerOutput``, all else becomes ``SageMakerInput`` beside it.

    Both keep their text. Raises InputError where one of them is not JSON.
    """
    value = _loads(record)
    try:
        _loads(answer)
    except InputError as error:
        message = f"the answer cannot be joined to a document: it is {content_type}"
        raise InputError(message, code="bad_answer", hint="accept application/json") from error
    record, answer = (_as_utf8(text).strip() for text in (record, answer))
    if not isinstance(value, dict):
        return b'{"SageMakerInput": ' + record + b', "SageMakerOutput": ' + answer + b"}"
    if "SageMakerOutput" in value:
        raise InputError("the record has a key SageMakerOutput already", code="bad_answer")
    return record[:-1].rstrip() + (b", " if value else b"") + b'"SageMakerOutput": ' + answer + b"}"


def _as_utf8(text: bytes) -> bytes:
    """JSON, which may be UTF-16 or UTF-32, as UTF-8 without a byte order mark."""
    encoding = json.detect_encoding(text)
    try:
        content = text.decode(encoding).encode()
    except UnicodeError as error:  # json reads halves of pairs, which no text has
        raise InputError(f"invalid JSON: {error}", code="bad_json") from error
    return text if encoding == "utf-8" else content


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"invalid JSON: {error}", code="bad_json") from error
