"""The rows of all results as one table: Parquet, by row groups, or CSV.

It is made of finished results, after the run: a run that was killed and continued gives the same table.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, FastinferError, InputError, OutputError, quote
from ..extras import install_command
from ..options import path_of
from ..storage.atomic import make_folder, replacing_long, unreadable, unwritable
from ..storage.base import RunStore
from ..storage.places import fetched, plain_place, store_of, uploaded
from ..storage.uri import is_url
from .reading import json_rows, text_lines

# So many rows are held, and are a row group.
GROUP_ROWS = 64 << 10
KINDS = (".parquet", ".csv")
COLUMNS = ("source", "record", "id", "prediction", "probabilities")
# A backslash of the text itself that would be read as the beginning of an escape.
_LIKE_ESCAPE = re.compile(r"\\(?=u(?:005c|d[89a-f][0-9a-f]{2}))")


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        source: the key of the object, escaped.
        record: its number in the object, from 1; rejected records count. Where a record has several rows, they follow each
            other and have the same number.
        id: the first cell, where ids were joined, escaped; None where it is empty, where no ids were joined, and for a
            rejected record.
        prediction: of several values the index of the largest, NaN where one of them is; else the value. None for a rejected
            record.
        probabilities: the values.

    A byte that is not UTF-8 is escaped as in ``_rejects.jsonl``, ``\\udc`` and its two digits; a backslash that would be read
    as such an escape is ``\\u005c``. So different texts stay different.
    """

    source: str
    record: int
    id: str | None
    prediction: float | None
    probabilities: list[float] | None


class Fronts(NamedTuple):
    """What stands in front of the predictions in results that are lines of CSV.

    Attributes:
        cells: how many cells, the first of which is the id.
        header: whether the first line of each result has the columns' names.
    """

    cells: int
    header: bool = False


def check_place(path: str) -> None:
    """Finds out, before the run, whether a table of that name can be written; its folder may be missing.

    Raises:
        ConfigError: ``bad_option`` for its ending or place; ``pyarrow_missing``.
        OutputError: ``cannot_write``.
    """
    store_of(path)
    if not path.endswith(KINDS):
        raise ConfigError(f"a table's name ends with {' or '.join(KINDS)}, found {path!r}")
    if not is_url(plain_place(path)):
        _check_name(plain_place(path))
    if path.endswith(KINDS[0]):
        _load_parquet()


def _check_name(path: str) -> None:
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)  # refuses a name that is too long
            return
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, error) from error


def _load_parquet() -> Any:
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            f"Parquet requires the package pyarrow: {error}",
            code="pyarrow_missing",
            hint=install_command("table"),
        ) from error
    return parquet


def write_table(
    path: str, results: Iterable[tuple[str, str]], store: RunStore, *, fronts: Fronts | None, rows_each: int = 1
) -> int:
    """Writes the table, whole or not at all; returns how many rows it has.

    Args:
        path: a path or a URL, which ends with ``.parquet`` or ``.csv``.
        results: the key of each object, and where its result would be; one that does not exist has no rows.
        store: where the results are.
        fronts: of results that are lines of CSV; None: the results are JSON.
        rows_each: how many rows results in JSON have for each record; one that was rejected has one.

    Raises:
        OutputError: it cannot be written, or a result not read.
        ServiceError: S3 refused, or was not reached.
    """
    rows = (row for key, uri in results for row in _rows(key, uri, store, fronts, rows_each))
    write = _write_parquet if path.endswith(KINDS[0]) else _write_csv
    try:
        with uploaded(path) as target:
            make_folder(target.parent)
            with replacing_long(target) as temporary:
                return write(temporary, rows)
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def read_table(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The rows of a table, as they are asked for.

    >>> [row.prediction for row in fastinfer.read_table("results.parquet")]  # doctest: +SKIP
    [7.0, 2.0, 1.0]

    Args:
        path: of a table, on this machine or at a URL, that a run has made; its name ends with ``.parquet`` or ``.csv``.

    Raises:
        ConfigError: ``bad_option`` for another ending; ``pyarrow_missing``.
        InputError: ``bad_table`` where it is no such table; ``cannot_read``, ``input_missing``.
    """
    place = plain_place(path_of(path, "path"))
    if not place.endswith(KINDS):
        raise ConfigError(f"a table's name ends with {' or '.join(KINDS)}, found {place!r}")
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(fetched(place)) if is_url(place) else Path(place)
        read = _read_parquet if place.endswith(KINDS[0]) else _read_csv
        try:
            yield from read(local)
        except (FastinferError, MemoryError):
            raise
        except FileNotFoundError as error:
            raise unreadable(place, error) from error
        except Exception as error:  # pyarrow raises errors of many classes for a file that is damaged
            raise InputError(f"is not a table of a run: {error}", code="bad_table", path=place) from error


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # else 128 KiB, some thousand values; the limit is the process's
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != COLUMNS:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        for line in lines:
            source, record, id_, prediction, values = line
            probabilities = [float(value) for value in values.split()] if prediction else None
            yield Row(source, int(record), id_ or None, float(prediction) if prediction else None, probabilities)


def _read_parquet(path: Path) -> Iterator[Row]:
    with _load_parquet().ParquetFile(path) as file:
        if tuple(file.schema_arrow.names) != COLUMNS:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        for group in range(file.num_row_groups):
            for values in zip(*(column.to_pylist() for column in file.read_row_group(group).columns)):
                yield Row(*values)


def _write_csv(path: Path, rows: Iterator[Row]) -> int:
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            values = None if row.probabilities is None else " ".join(map(repr, row.probabilities))
            writer.writerow(row._replace(probabilities=values))  # type: ignore[arg-type]
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[Row]) -> int:
    import pyarrow as pa

    kinds = (pa.string(), pa.int64(), pa.string(), pa.float64(), pa.list_(pa.float64()))
    schema = pa.schema(list(zip(COLUMNS, kinds)))
    count = 0
    with _load_parquet().ParquetWriter(path, schema) as writer:
        group: list[Row] = []
        for row in rows:
            group.append(row)
            if len(group) == GROUP_ROWS:
                count += _write_group(writer, pa, schema, group)
                group = []
        return count + (_write_group(writer, pa, schema, group) if group else 0)


def _write_group(writer: Any, pa: Any, schema: Any, group: list[Row]) -> int:
    columns = [pa.array(column, field.type) for column, field in zip(zip(*group), schema)]
    writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(group))
    return len(group)


def _escaped(text: str) -> str:
    """Text with lone surrogates, for bytes that are not UTF-8, as text that every table can hold; see :class:`Row`."""
    return _LIKE_ESCAPE.sub(r"\\u005c", text).encode("utf-8", "backslashreplace").decode("utf-8")


def _rows(key: str, uri: str, store: RunStore, fronts: Fronts | None, rows_each: int) -> Iterator[Row]:
    key = _escaped(key)
    texts = codecs.iterdecode(_pieces(uri, store), "utf-8", "surrogateescape")
    if fronts is None:
        for number, value in _numbered(json_rows(texts, uri), rows_each):
            values = None if value is None else _values(value, uri)
            yield Row(key, number, None, _prediction(values), values)
        return
    lines = text_lines(texts)
    if fronts.header:
        next(lines, None)
    for number, line in enumerate(lines, 1):
        if line == "null":
            yield Row(key, number, None, None, None)
            continue
        cells = line.split(",")  # ids are cells as they were in the input, and have no comma
        values = [float(cell) for cell in cells[fronts.cells :]]
        yield Row(key, number, _escaped(cells[0]) or None, _prediction(values), values)


def _numbered(values: Iterable[Any], rows_each: int) -> Iterator[tuple[int, Any]]:
    """The rows of a result, each behind the number of its record; a record that was rejected has one ``null``."""
    record = left = 0
    for value in values:
        if left == 0:
            record += 1
            left = 1 if value is None else rows_each
        left -= 1
        yield record, value


def _pieces(uri: str, store: RunStore) -> Iterator[bytes]:
    try:
        yield from store.read_pieces(uri)
    except OutputError as error:
        # Of an object that was rejected there is no result; its name may be what it was rejected for.
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENAMETOOLONG)):
            raise


def _values(value: Any, uri: str) -> list[float]:
    try:
        return _flatten(value)
    except (TypeError, ValueError, RecursionError):
        message = f"a table has rows of numbers, found {quote(json.dumps(value))}"
        raise OutputError(message, code="cannot_write", path=uri) from None


def _flatten(value: Any) -> list[float]:
    return [each for part in value for each in _flatten(part)] if isinstance(value, list) else [float(value)]


def _prediction(values: list[float] | None) -> float | None:
    if not values:
        return None
    if any(map(math.isnan, values)):
        return math.nan  # no class is the largest
    return values[0] if len(values) == 1 else float(max(range(len(values)), key=values.__getitem__))
