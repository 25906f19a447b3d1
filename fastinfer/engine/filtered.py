"""Rows of CSV whose columns are filtered and joined: the decoder in front of the CSV decoder, and what prints the results."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, Callable

from .._native.text import find_line_start, format_csv_rows
from ..codecs.base import DONE, BadRecord, Decoder, Outcome
from ..codecs.csv import CsvDecoder, CsvOptions
from ..codecs.csv_errors import EMPTY_CELL, csv_error
from ..errors import InputError
from ..records.processing import Columns, CsvProcessing, Cut, Plan, count_first_cells, join
from .formats import skips_header
from .job import Job
from .request import KEEP, TransformRequest


def processing_of(request: TransformRequest, comment: str | None = None) -> CsvProcessing:
    """What a request does with rows of CSV, in which comments begin with that character."""
    return CsvProcessing(
        request.input_filter,
        request.output_filter,
        joins=request.joins,
        id_column=request.id_column,
        label_column=request.label_column,
        header=request.header == KEEP,
        inclusive=request.inclusive_slices,
        comment=comment,
    )


def blank_text(missing: float | None) -> bytes:
    """What stands for the only kept cell of a row where that is blank: its line would be none; ``!`` is no number."""
    return b"!" if missing is None else repr(float(missing)).encode()


def blank_cell(columns: Columns, line: bytes, number: int, mark: int = 0) -> InputError:
    """The error for a row, the line of that number, whose only kept cell is blank; it begins with a mark of so many bytes."""
    place = columns.find_column(line[mark:], b"", 1) or 1
    return csv_error(line, EMPTY_CELL, mark + place - 1, first_line=number)


def cells_counter(job: Job) -> Callable[[Iterable[bytes]], int]:
    """What counts the cells of an object's first row; see :func:`fastinfer.records.spans.cut`."""
    return partial(count_first_cells, skips=skips_header(job.request, job.options), comment=job.options.comment)


class FilteredDecoder:
    """A :class:`fastinfer.codecs.base.Decoder` of the columns that the model is given; keeps what is joined to its rows.

    So many attributes: where it is in the chunk, and what of it is in the batch.

    The rows of the batch and what is kept correspond one to one: :meth:`keep` follows when rows are dropped from the batch.

    Args:
        job: of the run.
        prediction: how many columns a prediction has.

    Attributes:
        written: see the contract.
        head: the line of names that the result of the object begins with; empty for none.
    """

    def __init__(self, job: Job, prediction: int) -> None:
        self.written = 0
        self.head = b""
        self._processing = processing_of(job.request, job.options.comment)
        self._missing = job.options.missing
        self._blank = blank_text(self._missing)
        self._prediction = prediction
        self._skips = skips_header(job.request, job.options)
        self._row_values = job.model.row_values
        options = CsvOptions(missing=job.options.missing)  # comments are cut off before
        self._inner: Decoder = CsvDecoder(options, self._row_values, line_is_record=True)
        self._text = bytearray()
        self._buffer: bytes | bytearray = b""
        self._stop = 0
        self._columns: Columns | None = None
        self._cells = 0  # of a row, where the object was cut
        self._skipped = 0  # lines before the first row of the chunk
        self._mark = 0  # bytes of a byte order mark in the first row's line
        self._cut = Cut(0, [], [], {})
        self._next = 0  # piece of the cut that belongs to the next row
        self._held = FilteredRows()  # of the rows in the batch

    @property
    def _each(self) -> int:
        """How many pieces a row has."""
        return 0 if self._columns is None else len(self._columns.pieces)

    def begin(self, columns: int) -> None:
        self._columns, self._cells = None, columns
        self._inner.begin(self._row_values)

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:
        self._buffer, self._stop, self._skipped, self._mark, self.head = buffer, stop, 0, 0, b""
        begin = start
        if first and self._skips:
            with memoryview(buffer)[start:stop] as lines:
                begin = start + find_line_start(lines, min(1, len(lines)))
            self._skipped = 1
        if self._columns is None and not first and self._cells:
            self._columns = self._processing.columns_of(self._cells, None, self._prediction)
        elif self._columns is None:
            try:
                columns, records = self._processing.columns(buffer, begin, stop, self._prediction, cells=self._cells)
            except InputError as error:
                if error.code != "empty_input":
                    raise
                # Blank lines; the next chunk may have others. If none has, the decoder says it at the end.
                self._cut, self._next = Cut(0, [], [], {}), 0
                self._inner.start(self._text, 0, 0, first=False)
                return
            self._mark = 0 if self._processing.header else records - begin
            self._columns, begin = columns, records
            self.head = self._processing.head(columns, self._prediction) if first else b""
            self._skipped += self._processing.header
        self._cut = self._columns.cut(buffer, begin, stop, self._text, blank=self._blank)
        self._next = 0
        self._inner.start(self._text, 0, self._cut.end, first=False)

    def fill(self, rows: Any, filled: int) -> Outcome:
        outcome = self._inner.fill(rows, filled)
        self.written = self._inner.written
        bad = outcome if isinstance(outcome, BadRecord) else None
        self._add((self.written - (bad.values if bad else 0)) // self._row_values)
        if outcome is DONE and self._next != len(self._cut.pieces):
            raise AssertionError("rows and what is joined to them do not correspond")
        return self._place(bad) if bad else outcome

    def fill_bodies(
        self, buffer: bytearray, bounds: list[tuple[int, int]], first: int, rows: Any, filled: int
    ) -> list[int]:
        """See the contract: all bodies of one call have the same columns."""
        if self._skips or self._processing.header:
            return []
        ends: list[tuple[int, int]] = []
        pieces: list[bytes] = []
        chosen: Columns | None = None
        begin = bounds[first - 1][0] if first else 0
        for stop, code in bounds[first:]:
            if code:
                break
            try:
                columns, start = self._processing.columns(buffer, begin, stop, self._prediction)
            except InputError:
                break
            if chosen is not None and columns != chosen:
                break
            chosen = columns
            cut = columns.cut(buffer, start, stop, self._text, ends[-1][0] if ends else 0, blank=self._blank)
            if cut.unequal or (cut.blanks and self._missing is None):
                break
            ends.append((cut.end, 0))
            pieces += cut.pieces
            begin = stop
        if not ends:
            return []
        counts = self._inner.fill_bodies(self._text, ends, 0, rows, filled)
        self._columns, self._cut, self._next = chosen, Cut(0, pieces, [], {}), 0
        self._add(sum(counts))
        return counts

    def end(self, *, may_be_empty: bool) -> None:
        self._inner.end(may_be_empty=may_be_empty)

    def release(self) -> None:
        self._inner.release()
        self._buffer = b""

    def keep(self, rows: int) -> None:
        """Only so many rows are left in the batch."""
        self._held.keep(rows)

    def take(self) -> FilteredRows:
        """What belongs to the rows of the batch, which is empty then."""
        taken, self._held = self._held, FilteredRows()
        return taken

    def _add(self, rows: int) -> None:
        """Takes over the pieces of the next rows of the chunk."""
        if not rows:
            return
        assert self._columns is not None
        plan = self._processing.plan(self._columns, self._prediction) if self._processing.prints else []
        stop = self._next + rows * self._each
        self._held.add(rows, self._cut.pieces[self._next : stop], plan)
        self._next = stop

    def _place(self, bad: BadRecord) -> BadRecord:
        """A bad record, at its place in the object's own lines."""
        assert self._columns is not None
        index = (bad.error.line or 1) - 1
        starts = self._cut.starts
        mark = 0 if index else self._mark
        start = starts[index] - mark
        stop = starts[index + 1] if index + 1 < len(starts) else self._stop
        while stop > start and self._buffer[stop - 1] in b"\r\n":
            stop -= 1
        line = index + 1 + self._skipped
        if index in self._cut.unequal:
            message = f"expected {self._columns.cells:,} cells as in the first line, found {self._cut.unequal[index]:,}"
            error = InputError(message, code="unequal_line", line=line)
        elif index in self._cut.blanks:
            self._next += self._each
            error = blank_cell(self._columns, bytes(self._buffer[start:stop]), line, mark)
        else:
            self._next += self._each
            column = self._find_column(bad, start + mark, stop, mark)
            error = bad.error.at(line=line, column=column)
        return BadRecord(error, bad.values, start, stop)

    def _find_column(self, bad: BadRecord, start: int, stop: int, mark: int) -> int | None:
        """Where the cell of an error begins in its line, behind a mark; the kept cells have other places than the object's."""
        if bad.error.column is None or self._columns is None:
            return None
        line, kept = bytes(self._buffer[start:stop]), bytes(self._text[bad.start : bad.stop])
        column = self._columns.find_column(line, kept, bad.error.column)
        return column and column + mark


class FilteredRows:
    """What is joined to the rows of a batch."""

    def __init__(self) -> None:
        self._rows = 0
        self._pieces: list[bytes] = []  # of all rows
        # Where rows of another plan begin: the row, its first piece, the plan, how many pieces a row has.
        self._firsts: list[int] = []
        self._runs: list[tuple[int, Plan, int]] = []

    def add(self, rows: int, pieces: list[bytes], plan: Plan) -> None:
        """Adds rows with all their pieces, one after another, and how their lines are printed."""
        if not self._runs or self._runs[-1][1] != plan:
            self._firsts.append(self._rows)
            self._runs.append((len(self._pieces), plan, len(pieces) // rows))
        self._pieces += pieces
        self._rows += rows

    def keep(self, rows: int) -> None:
        """Only so many rows are left."""
        if rows >= self._rows:
            return
        if self._runs:
            del self._pieces[self._find(rows)[0] :]
        while self._firsts and self._firsts[-1] >= rows:
            self._firsts.pop()
            self._runs.pop()
        self._rows = rows

    def print(self, predictions: Any, first: int) -> bytes:
        """The lines of rows of the batch, from number `first` on."""
        rows = len(predictions)
        text = format_csv_rows(predictions)
        start, plan, each = self._find(first)
        columns = math.prod(predictions.shape[1:])
        return join(self._pieces[start : start + rows * each], text, plan, columns)

    def _find(self, row: int) -> tuple[int, Plan, int]:
        """The first piece of a row, its plan, and how many pieces it has."""
        number = bisect.bisect_right(self._firsts, row) - 1
        start, plan, each = self._runs[number]
        return start + (row - self._firsts[number]) * each, plan, each

    def print_bodies(self, predictions: Any, first: int, counts: list[int]) -> list[bytes]:
        """The lines of whole objects, one after another from row `first` on: `counts` of each."""
        bodies, done = [], 0
        for count in counts:
            bodies.append(self.print(predictions[done : done + count], first + done))
            done += count
        return bodies


def columns_of(row_shape: tuple[int, ...]) -> int:
    """How many columns a prediction of that shape has in a line."""
    return math.prod(row_shape)
