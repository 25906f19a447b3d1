"""Reads chosen records of a run's inputs again, as the model was given them, to show them and to take labels from them."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codecs.csv import read_body
from ..engine.filtered import processing_of
from ..engine.formats import content_type_of, skips_header
from ..engine.request import ALL, CSV, KEEP, NONE, RECORDIO, TransformRequest
from ..errors import InputError, quote
from ..options import Options
from ..records.compression import AUTO, expand
from ..records.split import split
from ..storage.atomic import unreadable
from ..storage.listing import list_files
from ..storage.regular import open_regular
from .payload_inputs import read_payloads
from .results import Result, asked_of

Values = NDArray[np.float64]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Inputs:
    """The inputs of a folder of results.

    Args:
        folder: of the inputs; or one input.
        record: of the run, which says how they were read; without one they are CSV.

    Attributes:
        unread: why they are not shown, in words; None: they are.
    """

    def __init__(self, folder: str, record: dict[str, Any]) -> None:
        self._folder = folder
        asked = asked_of(record)
        self._request, self._options = asked or (TransformRequest(), Options())
        comment = self._options.comment
        self._comment = None if comment is None else comment.encode()
        shape = record.get("row_shape")
        self._row_shape = tuple(shape) if isinstance(shape, list) else None
        self._is_csv = self._request.essence == CSV and self._request.split_type != RECORDIO
        self.unread = self._why_unread(is_known=asked is not None)

    def _why_unread(self, *, is_known: bool) -> str | None:
        if not is_known:
            return "inputs are not shown: another version wrote the run's record"
        if self._is_csv:
            return None
        request = self._request
        what = f"inputs of {request.content_type}{' in RecordIO' * (request.split_type == RECORDIO)} are not shown"
        if content_type_of(request) is None:
            return f"{what}: fastinfer does not read this type"
        if self._row_shape is None:
            return f"{what}: only the model's own code knows what they say"
        return None

    def path_of(self, result: Result) -> str:
        """The input that a result belongs to. Raises InputError (``input_missing``)."""
        path = os.path.join(self._folder, result.key) if os.path.isdir(self._folder) else self._folder
        if not os.path.isfile(path):
            raise InputError(f"no such input, but a result: {result.path}", code="input_missing", path=path)
        return path

    def cells(self, result: Result) -> int | None:
        """The cells of an input's first line; None where it has none, or is no CSV."""
        if not self._is_csv:
            return None
        return next((line.count(b",") + 1 for _, line in self._lines(self.path_of(result))), None)

    def records(self, result: Result, count: int, wanted: Collection[int]) -> Iterator[tuple[int, Values]]:
        """The values of the records of one input, by rows of its result: some models give several rows for each record.

        Args:
            result: of the input.
            count: rows of the result.
            wanted: the numbers of the rows.

        Yields:
            A row, in order, and the values of its record, float64 (values,); a record that has something else than numbers is
            left out, since it was rejected.

        Raises:
            InputError: ``count_mismatch`` where the input has other records than the result; the input cannot be read.
        """
        path, chosen = self.path_of(result), set(wanted)
        if not count:
            return
        if self._is_csv:
            yield from self._csv_records(path, result, count, chosen)
            return
        (item,) = list_files(path)
        payloads = read_payloads(item, self._request, self._options, self._row_shape or ())
        each = _rows_of_record(payloads, count)
        if each is None:  # records of another shape may have been rejected, all of a payload together
            size = math.prod(self._row_shape or ())
            payloads = [rows if rows is not None and rows.shape[1] == size else None for rows in payloads]
            each = _rows_of_record(payloads, count)
        if each is None:
            raise self._mismatch(
                path, sum(1 if rows is None else len(rows) for rows in payloads), "records", count, result
            )
        row = 0
        for rows in payloads:
            for values in (None,) if rows is None else rows:
                of_record = range(row, row + (1 if values is None else each))
                if values is not None:
                    yield from ((number, values.astype(np.float64)) for number in of_record if number in chosen)
                row = of_record.stop

    def _csv_records(self, path: str, result: Result, count: int, chosen: set[int]) -> Iterator[tuple[int, Values]]:
        lines, values, even = 0, 0, True
        kept = self._kept(path)
        size = math.prod(self._row_shape) if self._row_shape is not None else None
        for _, line in self._lines(path):
            cells = line.count(b",") + 1 if kept is None else len(kept)
            lines, values, even = lines + 1, values + cells, even and cells == size
        if lines and count % lines == 0 and (count == lines or even or kept is not None):
            each = count // lines  # a line is a record
            return self._by_lines(path, chosen, kept, rows_of_line=each)
        if size and values % size == 0 and values and count % (values // size) == 0:
            return self._by_values(path, chosen, size, rows_of_record=count // (values // size))
        if size is None and lines and lines % count == 0:  # a record is some lines
            return self._by_values(path, chosen, values // count, rows_of_record=1)
        if size is None and lines and count % lines == 0 and values % count == 0:  # a line has some records
            return self._by_values(path, chosen, values // count, rows_of_record=1)
        raise self._mismatch(path, lines, "lines", count, result)

    def _mismatch(self, path: str, found: int, what: str, count: int, result: Result) -> InputError:
        message = f"{found:,} {what} for {count:,} predictions of {result.path}"
        return InputError(message, code="count_mismatch", path=path)

    def _by_lines(
        self, path: str, chosen: set[int], kept: list[int] | None, rows_of_line: int
    ) -> Iterator[tuple[int, Values]]:
        for number, (_, line) in enumerate(self._lines(path)):
            rows = [row for row in range(number * rows_of_line, (number + 1) * rows_of_line) if row in chosen]
            if rows and (cells := self._cells(line, kept)) is not None:
                yield from ((row, cells) for row in rows)

    def _by_values(self, path: str, chosen: set[int], size: int, rows_of_record: int) -> Iterator[tuple[int, Values]]:
        """Where lines and records do not agree: records are so many values, one behind another."""
        held = np.empty(0)
        record = 0
        for _, line in self._lines(path):
            cells = self._cells(line, None)
            held = np.append(held, np.full(line.count(b",") + 1, np.nan) if cells is None else cells)
            for start in range(0, len(held) // size * size, size):
                rows = range(record * rows_of_record, (record + 1) * rows_of_record)
                yield from ((row, held[start : start + size]) for row in rows if row in chosen)
                record += 1
            held = held[len(held) // size * size :]

    def _kept(self, path: str) -> list[int] | None:
        """The columns that the model is given; None: all. Raises InputError (``bad_filter``)."""
        request = self._request
        if (request.input_filter, request.id_column, request.label_column) == (ALL, None, None):
            return None
        first = next((line for _, line in self._lines(path)), None)
        if first is None:
            return []
        head = self._header(path) + b"\n" + first if request.header == KEEP else first
        request = replace(request, output_filter=ALL, join_source=NONE)  # what the result has does not matter
        columns, _ = processing_of(request).columns(head, 0, len(head), None)
        return [column for start, stop in columns.kept for column in range(start, stop)]

    def _header(self, path: str) -> bytes:
        """The first line, which has the names of the columns."""
        try:
            with open_regular(path) as file:
                (item,) = list_files(path)
                return next(split(expand(file.read, AUTO, item), "line", path=path)).content.rstrip(b"\r\n")
        except OSError as error:
            raise unreadable(path, error) from error

    def column(self, result: Result, count: int, column: int) -> NDArray[np.float64]:
        """The numbers in one column of an input whose lines are its records; the first column is 0, the last one -1.

        Where a filtered record has several rows of the result, each has the record's number.

        Raises:
            InputError: ``count_mismatch``; ``bad_number`` with its line; the inputs are no CSV.
        """
        path = self.path_of(result)
        if not self._is_csv:
            found = self._request.content_type + " in RecordIO" * (self._request.split_type == RECORDIO)
            raise InputError(f"only lines of CSV have columns, found {found}", code="bad_number", path=path)
        labels = []
        for number, line in self._lines(path):
            cells = line.split(b",")
            try:
                labels.append(float(cells[column]))
            except IndexError:
                message = f"no column {column}: {len(cells)} columns"
                raise InputError(message, code="bad_number", path=path, line=number) from None
            except ValueError:
                message = f"expected a label, found {quote(cells[column].decode(errors='replace'))}"
                raise InputError(message, code="bad_number", path=path, line=number) from None
        each = count // len(labels) if labels else 0
        # Unless columns were cut, a line may be several records.
        if each * len(labels) != count or (each > 1 and self._kept(path) is None):
            raise self._mismatch(path, len(labels), "lines", count, result)
        return np.repeat(np.array(labels, np.float64), each)

    def _lines(self, path: str) -> Iterator[tuple[int, bytes]]:
        """The lines that have values, without their ends, and their numbers in the file."""
        (item,) = list_files(path)
        skips = self._request.header == KEEP or skips_header(self._request, self._options)
        try:
            with open_regular(path) as file:
                for record in split(expand(file.read, AUTO, item), "line", path=path):
                    text, number = record.content, record.place.number
                    if number == 1:
                        text = text.removeprefix(BYTE_ORDER_MARK)
                        if skips:
                            continue
                    if self._comment is not None:
                        text = text.partition(self._comment)[0]
                    text = text.strip()
                    if text:
                        yield number, text
        except OSError as error:
            raise unreadable(path, error) from error

    def _cells(self, line: bytes, kept: list[int] | None) -> Values | None:
        """The values of a line, as the run's kernel reads them; None where one of them is no number."""
        try:
            if kept is not None:
                cells = line.split(b",")
                line = b",".join([cells[column] for column in kept])
            values = np.empty(line.count(b",") + 1, np.float32)
            read_body(line, values, missing=self._options.missing)
        except (InputError, IndexError):
            return None
        return values.astype(np.float64)


def _rows_of_record(payloads: list[NDArray[np.float32] | None], count: int) -> int | None:
    """How many rows of a result each record has, a payload that was rejected one; None where they cannot be `count` in all."""
    rejected = sum(rows is None for rows in payloads)
    records = sum(len(rows) for rows in payloads if rows is not None)
    each = (count - rejected) // records if records else 1
    return each if each > 0 and each * records + rejected == count else None


def image_shape(record: dict[str, Any], values: int) -> tuple[tuple[int, int, int] | None, str]:
    """The shape (channels, rows, columns) in which records are drawn, and where it comes from; None: they are no images.

    Args:
        record: of the run, with the shape of the model's input.
        values: of a record.
    """
    shape = record.get("row_shape")
    if isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape):
        if len(shape) == 2:
            shape = [1, *shape]
        if len(shape) == 3 and shape[0] in (1, 3) and math.prod(shape) == values and min(shape[1:]) > 1:
            return (shape[0], shape[1], shape[2]), "the shape of the model's input"
        if len(shape) != 1:
            return None, ""
    side = math.isqrt(values)
    if side >= 8 and side * side == values:
        return (1, side, side), f"a guess: {values:,} values fill a square"
    return None, ""
