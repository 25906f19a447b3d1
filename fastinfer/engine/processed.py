"""Filters and joins of payloads: what the model is given of each, and what the result has of its answer."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple, Protocol

from ..codecs.base import empty_input
from ..errors import InputError
from ..options import Options
from ..records.jsonpath import Path
from ..records.processing import Columns, CsvProcessing, join
from .filtered import blank_cell, blank_text, processing_of
from .formats import content_type_of, lines_before, skips_header
from .request import CSV, JSON_LINES, LINE, NONE, TransformRequest


class Prepared(NamedTuple):
    """A payload whose records were filtered.

    Attributes:
        body: what the model is given.
        record: what is joined to the answer.
        rows: how many records there are.
        mark: bytes of a byte order mark in the first record's line.
    """

    body: bytes
    record: Any
    rows: int
    mark: int = 0


class Processing(Protocol):
    """What is done with the payloads of one object.

    Attributes:
        lines_before: how many lines of the object are before its payloads; :meth:`take_line` takes them.
        waits_for_head: whether the result begins with a line that is not known yet.
    """

    lines_before: int

    @property
    def waits_for_head(self) -> bool: ...

    def take_line(self, line: bytes) -> None:
        """Takes a line before the payloads."""
        ...

    def prepare(self, content: bytes) -> Prepared | None:
        """Filters a payload; None where nothing of it is a record (comments). Raises InputError."""
        ...

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        """What the result has of an answer. Raises InputError."""
        ...

    def take_head(self) -> bytes:
        """The line with which the result begins; empty while it is not known, where there is none, and after it was taken."""
        ...

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        """An error in what the model was given, at its place in the payload."""
        ...


def make_processing(request: TransformRequest, options: Options, *, code: bool = False) -> Processing | None:
    """What a run does with the payloads of an object; None: they are as they are.

    Args:
        request, options: of the run.
        code: whether a model's own code answers, which is given blank cells as they are.
    """
    is_csv = content_type_of(request) == CSV
    if not request.processes:
        return WithoutHeader(is_whole=request.split_type == NONE) if is_csv and skips_header(request, options) else None
    return CsvPayloads(request, options, code=code) if is_csv else JsonPayloads(request)


class WithoutHeader:
    """The payloads of one object of CSV lines, without their header."""

    lines_before = 1
    waits_for_head = False

    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole  # the payload is all of the object

    def take_line(self, line: bytes) -> None:
        del line

    def prepare(self, content: bytes) -> Prepared:
        if not content.strip():
            raise empty_input(None)
        return Prepared(content, None, 0)

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        del prepared, content_type
        return answer

    def take_head(self) -> bytes:
        return b""

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        del prepared
        # In a payload of lines each has its number in the object.
        return error.at(line=error.line + 1) if self._is_whole and error.line is not None else error


class CsvPayloads:
    """The payloads of one object of CSV lines that are filtered or joined."""

    def __init__(self, request: TransformRequest, options: Options, *, code: bool) -> None:
        self.lines_before = lines_before(request, options)
        self._processing: CsvProcessing = processing_of(request, options.comment)
        self._prints = request.prints_lines
        self._blank = b"" if code else blank_text(options.missing)
        self._line = b""  # with the names
        self._columns: Columns | None = None
        self._head: bytes | None = None  # as it was printed, or is to be
        self._is_head_taken = False
        self._head_columns = 0
        self._out = bytearray()

    @property
    def waits_for_head(self) -> bool:
        return self._processing.header and self._prints and self._head is None

    def take_line(self, line: bytes) -> None:
        if self._processing.header:  # the last one has the names
            self._line = line if line.endswith((b"\r", b"\n")) else line + b"\n"

    def prepare(self, content: bytes) -> Prepared | None:
        start = 0
        if self._columns is None:
            lines = self._line + content
            try:
                self._columns, start = self._processing.columns(lines, 0, len(lines), None)
            except InputError as error:
                if error.code != "empty_input":
                    raise
                return None  # the next payload may have a record
            start -= len(self._line)
        columns = self._columns
        cut = columns.cut(content, start, len(content), self._out, blank=self._blank)
        if cut.unequal:
            index, found = min(cut.unequal.items())
            message = f"expected {columns.cells:,} cells as in the first line, found {found:,}"
            raise InputError(message, code="unequal_line", line=index + 1)
        if cut.blanks and self._blank == blank_text(None):
            index = min(cut.blanks)
            raise blank_cell(columns, content[cut.starts[index] :].splitlines()[0], index + 1)
        return Prepared(bytes(self._out[: cut.end]), content[start:], cut.rows, start) if cut.rows else None

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        if not self._prints:
            return answer
        assert self._columns is not None
        lines = _as_lines(answer, content_type).splitlines(keepends=True)
        if self._processing.joins and len(lines) != prepared.rows:
            message = f"the answer cannot be joined: it has {len(lines):,} rows for {prepared.rows:,} records"
            raise InputError(message, code="bad_answer")
        pieces: dict[int, list[bytes]] = {}  # of all rows, by the cells of predictions
        texts: list[bytes] = []
        row = 0
        # The answers of a user's code may have as many cells as they like.
        for count, group in itertools.groupby(lines, lambda line: line.count(b",") + 1):
            predictions = list(group)
            columns = self._processing.columns_of(self._columns.cells, self._columns.names, count)
            self._name(columns, count)
            if count not in pieces:
                pieces[count] = columns.cut(prepared.record, 0, len(prepared.record), self._out).pieces
            first, each = row * len(columns.pieces), len(predictions) * len(columns.pieces)
            plan = self._processing.plan(columns, count)
            texts.append(join(pieces[count][first : first + each], b"".join(predictions), plan, count))
            row += len(predictions)
        return b"".join(texts)

    def _name(self, columns: Columns, count: int) -> None:
        """Makes the line of names for predictions of so many cells. Raises InputError where it has been made for others."""
        if self._head is None:
            self._head, self._head_columns = self._processing.head(columns, count), count
        elif self._head and count != self._head_columns:
            message = f"the answer has {count:,} cells; the first one, which the header names, {self._head_columns:,}"
            raise InputError(message, code="bad_answer")

    def take_head(self) -> bytes:
        if self._is_head_taken or self._head is None:
            return b""
        self._is_head_taken = True
        return self._head

    def locate(self, prepared: Prepared, error: InputError) -> InputError:
        lines, kept = prepared.record.splitlines(), prepared.body.splitlines()
        if error.line is None or not 0 < error.line <= min(len(lines), len(kept)):
            return error
        index, column = error.line - 1, None
        if error.column is not None and self._columns is not None:
            column = self._columns.find_column(lines[index], kept[index], error.column)
            column = column and column + (0 if index else prepared.mark)
        return error.at(line=error.line, column=column)


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

    lines_before = 0
    waits_for_head = False

    def __init__(self, request: TransformRequest) -> None:
        self._input = Path(request.input_filter, inclusive=request.inclusive_slices, spelled="the input filter")
        self._output = Path(request.output_filter, inclusive=request.inclusive_slices, spelled="the output filter")
        self._joins = request.joins
        # Without line ends, which are white space in JSON, where a document stands on a line.
        self._ends_lines = request.assemble_with == LINE or request.essence == JSON_LINES

    def take_line(self, line: bytes) -> None:
        del line

    def take_head(self) -> bytes:
        return b""

    def prepare(self, content: bytes) -> Prepared | None:
        if self._input.is_all:
            return Prepared(content, content, 1)
        return Prepared(json.dumps(self._input.select(_loads(content))).encode(), content, 1)

    def finish(self, prepared: Prepared, answer: bytes, content_type: str) -> bytes:
        if self._joins:
            answer = join_json(prepared.record, answer, content_type)
        if not self._output.is_all:
            return json.dumps(self._output.select(_loads(answer))).encode()
        if self._ends_lines and (self._joins or _is_document(answer)):
            return answer.strip().replace(b"\n", b" ").replace(b"\r", b" ")
        return answer

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


def _is_document(answer: bytes) -> bool:
    try:
        _loads(answer)
    except InputError:
        return False
    return True


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"invalid JSON: {error}", code="bad_json") from error
