"""The rows of results as numbers, some thousand at a time, whatever the results are written in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.formats import NPY
from ..engine.request import CSV, JSON, JSON_LINES
from ..errors import InputError, OutputError, quote
from ..outputs.reading import json_rows, text_lines
from ..python_text import parse_again
from ..storage.atomic import unreadable
from .forms import ANSWER, Form
from .results import Result

CHUNK_CHARACTERS = 1 << 20
# Rows that are made an array at a time.
BATCH_ROWS = 4096
PLAIN = Form()


class Rows(NamedTuple):
    """Some rows of a result, one after another.

    Attributes:
        values: float64 (rows, values of each); rows without a prediction are NaN.
        rejected: bool (rows,): the record was rejected, there is no prediction.
        labels: float64 (rows,) where the results have labels, NaN where one is no number; else None.
    """

    values: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    labels: NDArray[np.float64] | None = None


def read_rows(path: str, form: Form = PLAIN) -> Iterator[Rows]:
    """The rows of a result.

    Raises:
        InputError: it cannot be read, or has something else than rows of numbers (``bad_output``).
    """
    try:
        if form.content_type == NPY:
            yield from _read_npy(path, form)
        elif form.content_type == CSV:
            yield from _as_arrays(path, _csv_batches(path, form))
        else:
            yield from _as_arrays(path, _json_batches(path, form))
    except OSError as error:
        raise unreadable(path, error) from error


def choose_field(form: Form, results: Sequence[Result]) -> Form:
    """Which of the values of rows with names are read, as a form says it that has no field: the first that are numbers.

    Raises:
        InputError: a result cannot be read: the first with a row, or one before it.
    """
    if form.field is not None or form.content_type not in (JSON, JSON_LINES):
        return form
    rows = ((result.path, row) for result in results for batch in _json_values(result.path, form) for row in batch)
    path, first = next((each for each in rows if each[1] is not None), ("", None))
    if not isinstance(first, dict):
        return form
    field = next((name for name, value in first.items() if _is_numbers(value)), None)
    if field is None:
        raise _bad(path, "a row without numbers", json.dumps(first))
    others = [name for name in first if name != field]
    notes = (f"of each row {quote(field)} is shown; it also has {', '.join(map(quote, others))}",) if others else ()
    return replace(form, field=field, notes=(*form.notes, *notes))


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_numbers(each) for each in value)
    return isinstance(value, (int, float))


class _Batch(NamedTuple):
    """Rows as Python has them; None: a record that was rejected."""

    rows: list[Any]
    labels: list[float] | None = None


def _as_arrays(path: str, batches: Iterable[_Batch]) -> Iterator[Rows]:
    width: int | None = None
    waiting: list[_Batch] = []  # rejected rows before the first prediction, whose width is not known yet
    for batch in batches:
        known = [row for row in batch.rows if row is not None]
        if not known and width is None:
            waiting.append(batch)
            continue
        rejected = np.array([row is None for row in batch.rows], dtype=bool)
        try:
            found = np.asarray(known, dtype=np.float64).reshape(len(known), -1) if known else None
        except (ValueError, TypeError, OverflowError):
            raise _bad(path, "rows of unequal lengths, or something else than numbers", known[0]) from None
        if found is not None:
            width = found.shape[1] if width is None else width
            if not width:
                raise _bad(path, "rows without values", None)
            if found.shape[1] != width:
                raise _bad(path, f"rows of {width} and of {found.shape[1]} values", None)
        for early in waiting:
            yield _rejects(early, width or 1)
        waiting = []
        values = np.full((len(batch.rows), width or 1), np.nan)
        if found is not None:
            values[~rejected] = found
        yield Rows(values, rejected, None if batch.labels is None else np.array(batch.labels, np.float64))
    for early in waiting:
        yield _rejects(early, 1)


def _rejects(batch: _Batch, width: int) -> Rows:
    count = len(batch.rows)
    labels = None if batch.labels is None else np.array(batch.labels, np.float64)
    return Rows(np.full((count, width), np.nan), np.ones(count, dtype=bool), labels)


def _pieces(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="") as file:
        while True:
            try:
                text = file.read(CHUNK_CHARACTERS)
            except UnicodeDecodeError:
                raise _bad(path, "no text", None) from None
            if not text:
                return
            yield text


def _json_batches(path: str, form: Form) -> Iterator[_Batch]:
    for rows in _json_values(path, form):
        yield _Batch([_field(path, row, form) for row in rows])


def _json_values(path: str, form: Form) -> Iterator[list[Any]]:
    """The rows of a result as they are written, some thousand at a time."""
    is_lines = form.content_type == JSON_LINES
    if os.path.getsize(path) == 0 and not is_lines:
        raise _bad(path, "no list of predictions: it is empty", None)
    try:
        values = _json_lines(path) if is_lines else json_rows(_pieces(path), path)
        rows = (row for value in values for row in _answers(value, is_lines))
        while True:
            batch = list(islice(rows, BATCH_ROWS))
            if not batch:
                return
            yield batch
    except OutputError as error:
        with open(path, encoding="utf-8", errors="replace") as file:
            raise _bad(path, "no list of predictions", file.read(100)) from error


def _json_lines(path: str) -> Iterator[Any]:
    for number, line in enumerate(text_lines(_pieces(path)), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                raise _bad(path, "no JSON", line, number) from None


def _answers(value: Any, is_lines: bool) -> Iterator[Any]:
    """The rows in a value; that of a joined document is an answer, with one or more rows."""
    if not isinstance(value, dict) or ANSWER not in value:
        yield value
    elif isinstance(value[ANSWER], list) and not is_lines:
        yield from value[ANSWER]
    else:
        yield value[ANSWER]


def _field(path: str, row: Any, form: Form) -> Any:
    """Of a row with names the values of one."""
    if row is None or (form.field is None and not isinstance(row, dict)):
        return row
    if form.field is None or not isinstance(row, dict):
        raise _bad(path, "rows with and without names", row)
    if form.field not in row:
        names = ", ".join(map(quote, row)) or "nothing"
        raise _bad(path, f"a row that has no {quote(form.field)}, but {names}", None)
    return row[form.field]


def _csv_batches(path: str, form: Form) -> Iterator[_Batch]:
    lines = enumerate(text_lines(_pieces(path)), 1)
    if form.has_head:
        next(lines, None)
    while True:
        part = list(islice(lines, BATCH_ROWS))
        if not part:
            return
        rows: list[Any] = []
        labels: list[float] = []
        for number, line in part:
            cells = line.rstrip("\r").split(",")
            if cells == ["null"]:
                rows.append(None)
                labels.append(np.nan)
                continue
            try:
                rows.append([float(cell) for cell in (cells if form.columns is None else _of(cells, form.columns))])
            except (ValueError, IndexError):
                raise _bad(path, "a cell of a prediction that is no number", line, number) from None
            labels.append(_label(cells, form))
        yield _Batch(rows, None if form.label is None else labels)


def _of(cells: list[str], columns: tuple[int, ...]) -> list[str]:
    return [cells[column] for column in columns]


def _label(cells: list[str], form: Form) -> float:
    try:
        return float(cells[form.label]) if form.label is not None else np.nan
    except (ValueError, IndexError):
        return np.nan


def _read_npy(path: str, form: Form) -> Iterator[Rows]:
    """The arrays of a result, one behind another."""
    with open(path, "rb") as file:
        size = os.path.getsize(path)
        while file.tell() < size:
            try:
                array = _load(file, size)
                if array.dtype.names:
                    array = array[form.field or array.dtype.names[0]]
                values = array.astype(np.float64).reshape(len(array), math.prod(array.shape[1:]))
            except (OSError, MemoryError):
                raise
            except Exception:  # NumPy evaluates the header as Python's text, which can fail in any way
                raise _bad(path, "no array of numbers", None) from None
            _skip_line_end(file)
            yield Rows(values, np.zeros(len(values), dtype=bool))


def _load(file: BinaryIO, size: int) -> NDArray[Any]:
    """The next array of a file of so many bytes. Raises what NumPy raises."""
    shape, fortran, kind = parse_again(partial(_npy_header, file, file.tell()))
    length = math.prod(shape) * kind.itemsize
    if not 0 <= length <= size - file.tell():
        raise ValueError("cut")  # before memory is made for it
    return np.frombuffer(file.read(length), kind).reshape(shape, order="F" if fortran else "C")


def _npy_header(file: BinaryIO, start: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array at a place of a file, which then stands at its values. Raises what NumPy raises."""
    npy: Any = np.lib.format  # without types
    file.seek(start)
    is_short = npy.read_magic(file) == (1, 0)
    try:
        # Version 3.0 differs from 2.0 in how names are written.
        shape, fortran, kind = npy.read_array_header_1_0(file) if is_short else npy.read_array_header_2_0(file)
    except MemoryError:  # Python's parser raises it for brackets that are too deep
        raise ValueError("too deep") from None
    return shape, fortran, kind


def _skip_line_end(file: BinaryIO) -> None:
    if file.read(1) not in (b"\n", b""):
        file.seek(-1, os.SEEK_CUR)


def _bad(path: str, what: str, found: object, line: int | None = None) -> InputError:
    shown = f": {quote(str(found))}" if found is not None else ""
    return InputError(f"expected rows of numbers, found {what}{shown}", code="bad_output", path=path, line=line)
