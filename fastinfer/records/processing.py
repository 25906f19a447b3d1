"""Filters and joins of CSV rows: which columns the model is given, and what a line of the result is made of.

Cells are cut at commas and copied as they are: never parsed, never printed again. Quotes have no meaning, as in Batch
Transform.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, Optional, Union

from .._native.rows import count_cells, cut_rows, join_rows
from .._native.text import find_line_start
from ..errors import InputError
from .jsonpath import Path, Ranges

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What a line of the result is made of: a piece of the record (None), or columns of its prediction.
Plan = list[Optional[tuple[int, int]]]
Column = Optional[Union[int, str]]


class Cut(NamedTuple):
    """Lines that were cut.

    Attributes:
        end: where the kept cells end.
        pieces: what of each row is joined to its prediction; as many for each row as the columns have.
        starts: where each line begins in the buffer that was cut.
        unequal: by the index of a line that has another number of cells, that number.
        blanks: the indices of lines whose only kept cell is blank.
        rows: how many lines are rows.
    """

    end: int
    pieces: list[bytes]
    starts: list[int]
    unequal: dict[int, int]
    blanks: Collection[int] = ()
    rows: int = 0


class Columns(NamedTuple):
    """The columns of one object's rows.

    Attributes:
        cells: how many a row has.
        names: by the header; None without one.
        kept: those that the model is given.
        pieces: those that are joined, in the order of the result's line.
        comment: the character with which a comment begins; -1: none.
    """

    cells: int
    names: list[str] | None
    kept: Ranges
    pieces: list[Ranges]
    comment: int = -1

    def cut(
        self, buffer: bytes | bytearray, start: int, stop: int, out: bytearray, at: int = 0, *, blank: bytes = b"!"
    ) -> Cut:
        """Cuts lines; the kept cells are written to `out`, from byte `at` on, and `blank` for a row whose only one is blank."""
        return Cut(*cut_rows(buffer, start, stop, self.cells, self.kept, self.pieces, out, at, self.comment, blank))

    def find_column(self, line: bytes, kept: bytes, column: int) -> int | None:
        """Where a cell begins in a line, whose kept cells are `kept` and have it at `column`; both from 1."""
        cell = kept[: column - 1].count(b",")
        order = [index for start, stop in self.kept for index in range(start, stop)]
        if cell >= len(order):
            return None
        return sum(len(each) + 1 for each in line.split(b",")[: order[cell]]) + 1


class CsvProcessing:
    """What is done with the rows of CSV objects.

    Args:
        input_filter, output_filter: see :class:`fastinfer.engine.request.TransformRequest`.
        joins: whether the record is joined with its prediction.
        id_column, label_column: columns that are left out of the model's input and joined in front of the prediction.
        header: whether the first line of an object has names, which are kept in a joined result.
        inclusive: whether ``[a:b]`` includes b.
        comment: the character from which on a line is left out, before it is cut; None: none.

    Attributes:
        joins: whether a line of the result has a part of the record.
        prints: whether the result is CSV lines; else only the input is filtered.

    Raises:
        ConfigError: ``bad_path``.
    """

    def __init__(
        self,
        input_filter: str = "$",
        output_filter: str = "$",
        *,
        joins: bool = False,
        id_column: Column = None,
        label_column: Column = None,
        header: bool = False,
        inclusive: bool = False,
        comment: str | None = None,
    ) -> None:
        self._comment = -1 if comment is None else ord(comment)
        self._input = Path(input_filter, inclusive=inclusive, spelled="the input filter")
        self._output = Path(output_filter, inclusive=inclusive, spelled="the output filter")
        self._front = [_column_path(column) for column in (id_column, label_column) if column is not None]
        self.joins = joins or bool(self._front)
        self.prints = self.joins or not self._output.is_all
        self.header = header
        self._plans: dict[tuple[int, tuple[str, ...] | None, int], Plan] = {}

    def columns(
        self, buffer: bytes | bytearray, start: int, stop: int, prediction: int | None, *, cells: int = 0
    ) -> tuple[Columns, int]:
        """The columns of an object, by its first lines, and where its rows begin.

        Args:
            buffer, start, stop: the object from its start, as far as it was read.
            prediction: how many columns a prediction has; None: not known yet.
            cells: how many a row has; 0: as many as the first row.

        Raises:
            InputError: ``bad_filter``, ``empty_input``.
        """
        if buffer.startswith(BYTE_ORDER_MARK, start, stop):
            start += len(BYTE_ORDER_MARK)
        names = None
        if self.header:
            with memoryview(buffer)[start:stop] as lines:
                begin = start + find_line_start(lines, min(1, len(lines)))
            text = bytes(buffer[start:begin]).decode("utf-8", "surrogateescape").strip("\r\n")
            names = [name.strip().strip('"') for name in text.split(",")]
            start = begin
        count = cells or count_cells(buffer, start, stop, self._comment) or (len(names) if names else 0)
        if not count:
            raise InputError("empty input: no values found", code="empty_input")
        if names is not None and len(names) != count:
            raise InputError(f"the header has {len(names):,} names, the rows have {count:,} cells", code="unequal_line")
        if prediction is not None and not self.joins:
            # As with a join: an error of the object, before anything of it is computed.
            self._output.columns(prediction)
        return self.columns_of(count, names, prediction), start

    def columns_of(self, count: int, names: list[str] | None, prediction: int | None) -> Columns:
        """The columns of rows of `count` cells, to which the header gives these names; see :meth:`columns`."""
        if self._front:
            left_out = [path.columns(count, names)[0][0] for path in self._front]
            kept: Ranges = []
            for column in range(count):
                if column in left_out:
                    continue
                if kept and kept[-1][1] == column:
                    kept[-1] = (kept[-1][0], column + 1)
                else:
                    kept.append((column, column + 1))
            if not kept:
                raise InputError(f"no column is left for the model of {count:,}", code="bad_filter")
            return self._columns(count, names, kept, [[(column, column + 1) for column in left_out]])
        kept = self._input.columns(count, names)
        if not self.joins:
            return self._columns(count, names, kept, [])
        if self._output.is_all:
            return self._columns(count, names, kept, [[(0, count)]])
        # Which of its parts are the record's depends on how many columns there are in all.
        return self._columns(count, names, kept, self._split(count, names, prediction or 0)[0])

    def _columns(self, count: int, names: list[str] | None, kept: Ranges, pieces: list[Ranges]) -> Columns:
        return Columns(count, names, kept, pieces, self._comment)

    def plan(self, columns: Columns, prediction: int) -> Plan:
        """What a line of the result is made of.

        Args:
            columns: of the object.
            prediction: how many columns a prediction has.

        Raises:
            InputError: ``bad_filter``.
        """
        if not self.joins:
            return list(self._output.columns(prediction))
        if self._output.is_all:
            return [None, (0, prediction)]
        key = (columns.cells, tuple(columns.names) if columns.names else None, prediction)
        if key not in self._plans:
            self._plans[key] = self._split(columns.cells, columns.names, prediction)[1]
        return self._plans[key]

    def head(self, columns: Columns, prediction: int) -> bytes:
        """The line of names that a joined result begins with; empty without a header."""
        if not (self.header and self.prints) or columns.names is None:
            return b""
        of_prediction = ["prediction"] if prediction == 1 else [f"prediction_{index}" for index in range(prediction)]
        found: list[str] = []
        pieces = iter(columns.pieces)
        for part in self.plan(columns, prediction):
            if part is None:
                found += [name for start, stop in next(pieces) for name in columns.names[start:stop]]
            else:
                found += of_prediction[part[0] : part[1]]
        return (",".join(found) + "\n").encode("utf-8", "surrogateescape")

    def _split(self, count: int, names: list[str] | None, prediction: int) -> tuple[list[Ranges], Plan]:
        """The output filter's columns, of the record and of the prediction behind it."""
        pieces: list[Ranges] = []
        plan: Plan = []
        for start, stop in self._output.columns(count + prediction, names):
            if start < count:
                if plan and plan[-1] is None:
                    pieces[-1].append((start, min(stop, count)))
                else:
                    pieces.append([(start, min(stop, count))])
                    plan.append(None)
            if stop > count:
                plan.append((max(start, count) - count, stop - count))
        return pieces, plan


def count_first_cells(blocks: Iterable[bytes], *, skips: bool, comment: str | None = None) -> int:
    """The cells of an object's first row, by blocks from its start, each of which ends where a line ends; 0 if there is none.

    Args:
        blocks: of the object.
        skips: whether its first line is no row.
        comment: the character from which on a line is left out; None: none.
    """
    for block in blocks:
        start = find_line_start(block, min(1, len(block))) if skips else 0
        if not skips and block.startswith(BYTE_ORDER_MARK):
            start = len(BYTE_ORDER_MARK)
        skips = False
        if count := count_cells(block, start, comment=-1 if comment is None else ord(comment)):
            return count
    return 0


def join(pieces: list[bytes], predictions: bytes, plan: Plan, columns: int) -> bytes:
    """Lines of the result, by predictions of so many columns.

    Raises InputError (``bad_answer``) where predictions and rows do not correspond.
    """
    try:
        return join_rows(pieces, predictions, plan, columns)
    except ValueError as error:
        raise InputError(f"the answer cannot be joined: {error}", code="bad_answer") from error


def _column_path(column: int | str) -> Path:
    name = str(column) if isinstance(column, int) else "'" + column.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return Path(f"$[{name}]", spelled="the column")
