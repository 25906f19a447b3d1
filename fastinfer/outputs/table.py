"""The rows of all results as one table: Parquet, by row groups, or CSV.

It is made of finished results, after the run: a run that was killed and continued gives the same table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, OutputError
from ..storage.atomic import replacing, unwritable
from ..storage.local import LocalStore

# So many rows are held, and are a row group.
GROUP_ROWS = 64 << 10
KINDS = (".parquet", ".csv")
COLUMNS = ("source", "record", "id", "prediction", "probabilities")


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        source: the key of the object.
        record: its number in the result, from 1; rejected records count.
        id: the first cell, where ids were joined; else None.
        prediction: of several values the index of the largest; else the value. None for a rejected record.
        probabilities: the values.
    """

    source: str
    record: int
    id: str | None
    prediction: float | None
    probabilities: list[float] | None


def check_table(path: str) -> None:
    """Raises ConfigError where a table of that name cannot be written: its ending, or a package that is missing."""
    if not path.endswith(KINDS):
        raise ConfigError(f"a table's name ends with {' or '.join(KINDS)}, found {path!r}")
    if path.endswith(KINDS[0]):
        try:
            import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"Parquet requires the package pyarrow: {error}",
                code="pyarrow_missing",
                hint="pip install 'fastinfer[table]'",
            ) from error


def write_table(path: str, results: Iterable[tuple[str, str]], *, fronts: int | None) -> int:
    """Writes the table, whole or not at all; returns how many rows it has.

    Args:
        path: its name, which ends with ``.parquet`` or ``.csv``.
        results: the key of each object, and where its result is.
        fronts: how many cells stand in front of a prediction in results that are lines of CSV, the first of which is the id;
            None: the results are JSON.

    Raises:
        OutputError: it cannot be written, or a result not read.
    """
    rows = (row for key, uri in results for row in _rows(key, uri, fronts))
    try:
        with replacing(Path(path)) as temporary:
            return (_write_parquet if path.endswith(KINDS[0]) else _write_csv)(temporary, rows)
    except OSError as error:
        raise unwritable(path, error) from error


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
    import pyarrow.parquet as pq

    kinds = (pa.string(), pa.int64(), pa.string(), pa.float64(), pa.list_(pa.float64()))
    schema = pa.schema(list(zip(COLUMNS, kinds)))
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
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


def _rows(key: str, uri: str, fronts: int | None) -> Iterator[Row]:
    pieces = LocalStore().read_pieces(uri)
    if fronts is None:
        for number, value in enumerate(_json_rows(pieces, uri), 1):
            values = None if value is None else _flatten(value)
            yield Row(key, number, None, _prediction(values), values)
        return
    for number, line in enumerate(_lines(pieces), 1):
        cells = line.split(",")
        if line == "null":
            yield Row(key, number, None, None, None)
            continue
        values = [float(cell) for cell in cells[fronts:]]
        yield Row(key, number, cells[0], _prediction(values), values)


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    held = b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if held:
        yield held.decode("utf-8", "replace")


def _json_rows(pieces: Iterator[bytes], uri: str) -> Iterator[Any]:
    """The elements of the lists that a result holds, one list behind another, without holding all of it."""
    decoder = json.JSONDecoder()
    held, is_open, ended = "", False, False
    while True:
        held = held.lstrip("\n ")
        if not is_open and held.startswith("["):
            held, is_open = held[1:], True
            continue
        if is_open and held[:1] in (",", "]") and held:
            is_open = held[0] == ","
            held = held[1:]
            continue
        try:
            value, stop = decoder.raw_decode(held) if held and is_open else (None, 0)
        except ValueError:
            value, stop = None, 0
        # A number at the end of a piece may go on.
        if stop and held[stop:].lstrip()[:1] in tuple(",]"):
            yield value
            held = held[stop:]
            continue
        piece = next(pieces, None)
        if piece is None:
            if ended:
                break
            ended = True
            continue
        held += piece.decode("utf-8", "replace")
    if held or is_open:
        raise OutputError("is not a list of rows in JSON", code="cannot_write", path=uri)


def _flatten(value: Any) -> list[float]:
    return [each for part in value for each in _flatten(part)] if isinstance(value, list) else [float(value)]


def _prediction(values: list[float] | None) -> float | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else float(max(range(len(values)), key=values.__getitem__))
