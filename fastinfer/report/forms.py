"""How the results of a run are written: JSON, JSON Lines, CSV with or without the record in front, or NPY.

The run's record says it. Of a folder without one, as it is downloaded from S3, the first result with a row does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.formats import NPY, accepted_of
from ..engine.request import CSV, JSON, JSON_LINES, KEEP, TransformRequest
from ..errors import ConfigError, InputError
from ..records.jsonpath import Path
from ..storage.atomic import unreadable
from .results import Result, asked_of

# The key of the answer in a document that was joined with its record.
ANSWER = "SageMakerOutput"
NPY_MAGIC = b"\x93NUMPY"
# The line of a rejected record.
REJECTED = "null\n"
# So much of a result says how it is written.
HEAD_BYTES = 64 << 10
# Columns of a record beyond those that the model is given.
MOST_EXTRA_COLUMNS = 1000
# For so many columns it is tried which of them a filter gives to the model: some seconds.
MOST_COLUMNS = 1 << 20


@dataclass(frozen=True)
class Form:
    """How results are read.

    Attributes:
        content_type: ``application/json``, ``application/jsonlines``, ``text/csv`` or ``application/x-npy``.
        columns: of a line of CSV: the cells that are the prediction; None: all.
        label: of a line of CSV: the cell that is the label; None: none is.
        has_head: whether each result begins with a line of names.
        field: of rows with names, as those of several outputs: the one that is read; None: the first one.
        is_whole: whether a row is the whole prediction; of a part it cannot be said which class is the likeliest.
        notes: what the reader should know of it.
    """

    content_type: str = JSON
    columns: tuple[int, ...] | None = None
    label: int | None = None
    has_head: bool = False
    field: str | None = None
    is_whole: bool = True
    notes: tuple[str, ...] = ()


def first_to_tell(results: Sequence[Result]) -> Result:
    """The first result that has more than rejected records, so that it tells how it is written; the first one if none has.

    Args:
        results: at least one.

    Raises:
        InputError: a result cannot be read.
    """
    # The only line of a result in JSON may be all of it.
    return next((each for each in results if _first_line(each.path, len(REJECTED))), results[0])


def form_of(
    record: dict[str, Any],
    first: Result,
    *,
    cells: int | None = None,
    last_columns: int | None = None,
    field: str | None = None,
) -> Form:
    """How the results of a run are written.

    Args:
        record: of the run; empty where there is none.
        first: the one of its results that tells; see :func:`first_to_tell`.
        cells: of a line of the inputs, where they are known.
        last_columns: how many columns at the end of a line of CSV are the prediction; None: as the record says.
        field: see :class:`Form`.

    Raises:
        ConfigError: ``last_columns`` of results that are no CSV.
        InputError: it cannot be read; ``bad_output`` where it cannot be told which of its columns are the prediction.
    """
    asked = asked_of(record) if "request" in record else None  # of a downloaded folder the first result says it
    request = asked[0] if asked is not None else None
    path = first.path
    has_code = "row_shape" in record and record["row_shape"] is None
    if request is not None and request.prints_lines:
        form = _joined(record, request, path, cells, last_columns)
    elif request is not None and not has_code:
        form = Form(accepted_of(request) or JSON)
    else:
        form = _sniffed(path)
    if last_columns is not None:
        if form.content_type != CSV:
            raise ConfigError(f"only results in CSV have columns, found {form.content_type}")
        columns = range(_width(path) - last_columns, _width(path))
        if columns.start < 0:
            raise ConfigError(f"a line of {path} has {columns.stop} columns")
        form = Form(CSV, tuple(columns), form.label, form.has_head, notes=form.notes)
    if field is not None:
        return replace(form, field=field)
    if request is not None and form.content_type != CSV and not _keeps_answers(request):
        note = (
            f"results are what the output filter {request.output_filter} keeps: each list of numbers, or number, is read as "
            "a row, which may be no record; inputs are not shown"
        )
        return replace(form, is_whole=False, notes=(*form.notes, note))
    return form


def _keeps_answers(request: TransformRequest) -> bool:
    """Whether the output filter keeps whole answers."""
    segments = Path(request.output_filter).segments
    return not segments or (request.joins and [list(each.selectors) for each in segments] == [[ANSWER]])


def _joined(
    record: dict[str, Any], request: TransformRequest, path: str, cells: int | None, last_columns: int | None
) -> Form:
    """Lines of CSV that filters and joins made."""
    width = _width(path)
    has_head = request.header == KEEP
    label = None if request.label_column is None else int(request.id_column is not None)
    if last_columns is not None:
        return Form(CSV, (), label, has_head)
    names = _first_line(path).split(",") if has_head else []
    values = record.get("prediction_values")
    is_whole = True
    if request.id_column is not None or request.label_column is not None:
        columns = tuple(range(int(request.id_column is not None) + (label is not None), width))
    elif names:
        columns = tuple(number for number, name in enumerate(names) if _is_prediction(name))
        is_whole = values is None or len(columns) == values
    elif not request.joins:
        columns = tuple(range(width))
        of_answer = _picked(request, width, values, [0]) or []
        is_whole = _are_all(of_answer, values or 0)
    else:
        picked = _picked(request, width, values, [cells] if cells is not None else _counts(record, request))
        if picked is None:
            raise InputError(
                "it cannot be told which columns are the prediction",
                code="bad_output",
                path=path,
                hint="give the inputs, or the number of columns at the end that are the prediction",
            )
        columns = tuple(place for place, _ in picked)
        is_whole = values is None or _are_all(picked, values)
    if not columns:
        raise InputError("the lines have no column of the prediction", code="bad_output", path=path)
    notes = (
        ()
        if is_whole
        else (
            f"the output filter {request.output_filter} keeps a part of each prediction: columns are not read as classes",
        )
    )
    return Form(CSV, columns, label, has_head, is_whole=is_whole, notes=notes)


def _are_all(picked: list[tuple[int, int]], values: int) -> bool:
    """Whether these cells are all values of a prediction, in their order."""
    return len(picked) == values and all(index == number for number, (_, index) in enumerate(picked))


def _is_prediction(name: str) -> bool:
    return name == "prediction" or (name.startswith("prediction_") and name[11:].isdecimal())


def _counts(record: dict[str, Any], request: TransformRequest) -> list[int]:
    """How many columns a record may have, by how many of them the model is given."""
    shape = record.get("row_shape")
    if not isinstance(shape, list):
        return []
    size = math.prod(shape)
    path = Path(request.input_filter, inclusive=request.inclusive_slices)
    if path.is_all:
        return [size]
    if size > MOST_COLUMNS:
        return []
    found = []
    for count in range(1, size + MOST_EXTRA_COLUMNS):
        try:
            if sum(stop - start for start, stop in path.columns(count)) == size:
                found.append(count)
        except InputError:
            continue
    return found


def _picked(
    request: TransformRequest, width: int, values: int | None, counts: Sequence[int]
) -> list[tuple[int, int]] | None:
    """The cells of a line that are of the prediction, each with its place there; None where it cannot be told.

    Args:
        request: of the run.
        width: cells of a line.
        values: of a prediction, where that is known.
        counts: how many columns a record may have.
    """
    path = Path(request.output_filter, inclusive=request.inclusive_slices)
    found: set[tuple[tuple[int, int], ...]] = set()
    for count in counts:
        of_prediction = width - count if values is None and path.is_all else values
        if of_prediction is None or of_prediction < 1:
            continue
        try:
            ranges = path.columns(count + of_prediction)
        except InputError:
            continue
        if sum(stop - start for start, stop in ranges) == width:
            order = [column for start, stop in ranges for column in range(start, stop)]
            found.add(tuple((place, column - count) for place, column in enumerate(order) if column >= count))
    return list(found.pop()) if len(found) == 1 else None


def _head_of(path: str) -> bytes:
    """The beginning of a result, behind lines of rejected records."""
    try:
        with open(path, "rb") as file:
            start = 0
            while file.readline(len(REJECTED)) == REJECTED.encode():
                start += len(REJECTED)
            file.seek(start)
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error


def _first_line(path: str, most: int = -1) -> str:
    """The first line that is no rejected record's: it has no cells. Of a long one its first `most` characters, 5 or more."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            line = file.readline(most)
            while line == REJECTED:
                line = file.readline(most)
    except OSError as error:
        raise unreadable(path, error) from error
    return line.rstrip("\n")


def _width(path: str) -> int:
    return _first_line(path).count(",") + 1


def _sniffed(path: str) -> Form:
    """By the beginning of a result."""
    head = _head_of(path)
    if head.startswith(NPY_MAGIC):
        return Form(NPY)
    text = head.decode("utf-8", "replace").lstrip()
    if text[:1] not in ("[", "{", ""):
        return Form(CSV)
    line, end, rest = text.partition("\n")
    if line.startswith("[") and end and rest.strip():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return Form(JSON)
        if row and not any(isinstance(each, (list, dict)) or each is None for each in row):
            note = "no record of a run says how the results are written: each line is read as a row"
            return Form(JSON_LINES, notes=(note,))
    return Form(JSON)
