"""CSV text to float32 rows: chunk by chunk, a whole body, or many small bodies in one call.

A cell means what Python's ``float()`` makes of it (without underscores, of ASCII text only, and with no blanks but spaces and
tabs), rounded to double and then to float32. Only the total of values counts, as in SageMaker's container: lines of equal
length whose values fill a whole number of rows (a 28 x 28 grid is one row of 784). What is accepted and what is refused is in
docs/kernels.md.
"""

from __future__ import annotations

import math
import warnings
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._native.text import CsvParser, count_lines, find_line_start
from .base import DONE, FULL, BadRecord, Decoder, Framing, Outcome, empty_input
from .csv_errors import OK, OUTPUT_FULL, UNEQUAL_LINE, csv_error, partial_row, wrong_width

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Some programs write this before UTF-8 text; it has no meaning.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What gzip's and zstd's data begin with: as a comment it would hide that a small object is compressed.
COMPRESSED_STARTS = ("\x1f", "(")
# How many values are read at a time to count those of the first record.
COUNTED_VALUES = 1024
# What a line begins with that may be names of columns, which are numbers where nobody has named them; of so many or more.
COUNTED_HEADER = b"0,1,2"
HEADER_LEAST = 3


class CsvOptions(NamedTuple):
    """What is accepted besides numbers: comments, empty cells (with a value for them), a header line to skip, and records that
    are cut across lines where only the total of values counts, as in SageMaker's container."""

    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False
    cut_lines: bool = False


class CsvCodec(NamedTuple):
    """CSV objects; see :class:`fastinfer.codecs.base.InputCodec`."""

    options: CsvOptions = CsvOptions()

    @property
    def framing(self) -> Framing:
        return Framing.LINES

    @property
    def lines_are_rows(self) -> bool:
        return False

    def decoder(self, row_shape: tuple[int, ...], *, line_is_record: bool) -> Decoder:
        return CsvDecoder(self.options, math.prod(row_shape), line_is_record=line_is_record)

    def count_columns(self, blocks: Iterable[bytes]) -> int:
        return count_columns(blocks, self.options)


class CsvDecoder:
    """Reads CSV payloads; see :class:`fastinfer.codecs.base.Decoder`. For one thread at a time.

    Args:
        options: what is accepted.
        row_values: values of one record.
        line_is_record: whether each line is one record, so that a bad one can be skipped; else only the total counts.
    """

    def __init__(self, options: CsvOptions, row_values: int, *, line_is_record: bool) -> None:
        self.written = 0
        self._parser = CsvParser(comment=options.comment, missing=options.missing)
        self._options = options
        self._row_values = row_values
        self._line_is_record = line_is_record
        self._columns = 0  # values of a line, 0 before the first one was read
        self._values = self._rejected = 0  # of the payload so far
        self._is_width_known = False
        self._chunk: tuple[bytes | bytearray, int] = b"", 0  # and where it ends
        # Where in the chunk a line begins that no bad record is before, and the lines before it: each byte is looked at once
        # for the places of bad records, however many there are.
        self._counted = 0, 0

    def begin(self, columns: int) -> None:
        # The length of a line: the model's if a line is a record, else that of the first line.
        self._columns = self._row_values if self._line_is_record else columns
        self._values = self._rejected = 0
        self._is_width_known = False

    def start(self, buffer: bytes | bytearray, start: int, stop: int, *, first: bool) -> None:
        self._chunk = buffer, stop
        self._counted = start, 0
        if first and not self._options.skip_header:
            warn_of_header(buffer, start, stop, self._row_values)
        begin = _first_record(buffer, start, stop, self._options) if first else start
        self._parser.reset(buffer, begin, stop, self._columns)

    def fill(self, rows: Any, filled: int) -> Outcome:
        parser = self._parser
        self.written = parser.parse(rows, filled)
        self._values += self.written
        if not self._is_width_known and parser.columns:
            self._is_width_known = True
            if not (self._line_is_record or self._options.cut_lines or self._fits(parser.columns)):
                return self._refuse_width(parser.columns)
        if parser.done:
            self._columns = parser.columns
            # The buffer may have to grow for the next chunk.
            parser.release()
            return DONE
        if parser.code != OUTPUT_FULL:
            return self._pass_over(parser.code)
        if self._line_is_record and parser.cells == parser.columns:
            # The line has more values than columns: reported now, while its values are still in the batch.
            return self._pass_over(UNEQUAL_LINE)
        return FULL

    def end(self, *, may_be_empty: bool) -> None:
        """Ends a payload that was read completely.

        Raises:
            InputError: ``empty_input`` unless it may be empty; ``partial_row``.

        Warns:
            RuntimeWarning: where neither a line is made of whole records nor a record of whole lines.
        """
        if self._values == self._rejected == 0 and not may_be_empty:
            raise empty_input(None)
        columns, row_values = self._columns or self._parser.cells, self._row_values
        if self._values % row_values:
            raise partial_row(self._values, row_values, line=1, in_a_line=columns)
        if columns and not self._fits(columns):
            # As in the container; but hardly what was meant. Python shows a warning of the same text once.
            warnings.warn(
                f"lines of {columns:,} values are cut across records of {row_values:,} values: only the total of values counts",
                RuntimeWarning,
                stacklevel=1,
            )

    def release(self) -> None:
        """Releases the chunk's buffer, also in the middle of a payload."""
        self._parser.release()

    def fill_bodies(
        self, buffer: bytearray, bounds: list[tuple[int, int]], first: int, rows: Any, filled: int
    ) -> list[int]:
        """Reads whole small payloads that follow each other in the buffer, from number ``first``, in one call.

        Returns:
            the number of rows of each, up to the first one that has an error or does not fit into the rows.
        """
        if self._options.skip_header or self._options.comment in COMPRESSED_STARTS:
            return []
        # Of many small objects, those of one writer, the first stands for all.
        warn_of_header(buffer, bounds[first - 1][0] if first else 0, bounds[first][0], self._row_values)
        columns = self._row_values if self._line_is_record else 0
        return self._parser.parse_bodies(buffer, bounds, first, rows, filled, self._row_values, columns)

    def _fits(self, columns: int) -> bool:
        """Whether a line of so many values is made of whole records, or a record of whole lines."""
        return not (columns % self._row_values and self._row_values % columns)

    def _refuse_width(self, columns: int) -> BadRecord:
        """The error for lines that are cut across records; the payload is given up."""
        buffer, stop = self._chunk
        start = self._counted[0]
        with memoryview(buffer)[start:stop] as view:
            error = wrong_width(view, columns, self._row_values, self._options.comment, self._options.skip_header)
        return BadRecord(error, 0, start, start)

    def _pass_over(self, code: int) -> BadRecord:
        """The bad record; the next fill() continues with the line after it."""
        parser = self._parser
        buffer, stop = self._chunk
        position, values = parser.position, parser.cells
        known, lines_before = self._counted
        found = buffer.rfind(b"\n", known, position)
        # Not further back: a chunk may have only one kind of line end.
        found = max(found, buffer.rfind(b"\r", max(known, found), position))
        line_start = max(found + 1, known)
        lines_before += count_lines(buffer, known, line_start)
        with memoryview(buffer)[line_start:stop] as lines:
            line_stop = find_line_start(lines, min(position - line_start + 1, len(lines)))
            # With the next line, which may say what is wrong with this one.
            with lines[: find_line_start(lines, min(line_stop + 1, len(lines)))] as both:
                error = csv_error(
                    both,
                    code,
                    position - line_start,
                    columns=parser.columns,
                    source="the model takes" if self._line_is_record else "in the first line",
                    first_line=1 + lines_before,
                    comment=self._options.comment,
                )
        next_line = line_start + line_stop
        self._counted = next_line, lines_before + 1
        self._values -= values
        self._rejected += 1
        if self._line_is_record:
            parser.reset(buffer, next_line, stop, self._row_values)
        record_stop = next_line
        while record_stop > line_start and buffer[record_stop - 1] in b"\r\n":
            record_stop -= 1
        return BadRecord(error, values, line_start, record_stop)


def count_columns(blocks: Iterable[bytes], options: CsvOptions) -> int:
    """Values of the first record among an object's first blocks, each of which ends where a line ends; 0 if there is none or it
    has an error."""
    parser = CsvParser(comment=options.comment, missing=options.missing)
    values = array("f", bytes(4 * COUNTED_VALUES))
    for number, block in enumerate(blocks):
        parser.reset(block, 0 if number else _first_record(block, 0, len(block), options))
        # Blank lines and comments are passed over by the parser, a block at a time.
        while not parser.done:
            parser.parse(values)
            if parser.columns or parser.code not in (OK, OUTPUT_FULL):
                return parser.columns
    return 0


def warn_of_header(buffer: bytes | bytearray, start: int, stop: int, row_values: int) -> None:
    """Warns where the first line counts 0,1,2,…: numbers that pandas writes as the names of columns read as a record."""
    if row_values < HEADER_LEAST or not buffer.startswith(COUNTED_HEADER, start, stop):
        return
    header = b",".join(b"%d" % number for number in range(row_values))
    line = bytes(buffer[start : min(stop, start + len(header) + 1)])
    if line.rstrip(b"\r\n") == header:
        warnings.warn(
            f"a first line counts 0,1,2,… to {row_values - 1:,}, as names of columns do; it is read as a record",
            RuntimeWarning,
            stacklevel=1,
        )


def _first_record(buffer: bytes | bytearray, start: int, stop: int, options: CsvOptions) -> int:
    """Where an object's records begin: after a byte order mark and a header that is skipped."""
    if buffer.startswith(BYTE_ORDER_MARK, start, stop):
        start += len(BYTE_ORDER_MARK)
    if options.skip_header and start < stop:
        with memoryview(buffer)[start:stop] as body:
            start += find_line_start(body, 1)
    return start


def read_body(
    body: Buffer, rows: Any, *, comment: str | None = None, missing: float | None = None, path: str | None = None
) -> int:
    """Reads a whole body into the float32 buffer ``rows`` and returns how many values it holds.

    Raises:
        InputError: ``expected_number``, ``empty_cell``, ``unequal_line``, ``output_full`` (more values than there is room for),
            with line and column; ``empty_input`` (no value at all).
    """
    parser = CsvParser(comment=comment, missing=missing)
    with memoryview(body).cast("B") as view:
        parser.reset(body, len(BYTE_ORDER_MARK) if view[:3] == BYTE_ORDER_MARK else 0)
    try:
        written = parser.parse(rows)
        if parser.code != 0:
            raise csv_error(body, parser.code, parser.position, columns=parser.columns, path=path, comment=comment)
    finally:
        parser.release()
    if written == 0:
        raise empty_input(path)
    return written
