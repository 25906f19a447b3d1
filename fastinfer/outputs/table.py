"""The rows of all results as one table: Parquet, by row groups, or CSV.

It is made of finished results, after the run: a run that was killed and continued gives the same table.
"""

from __future__ import annotations

import codecs
import csv
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, OutputError, quote
from ..extras import install_command
from ..storage.atomic import replacing, unwritable
from ..storage.base import RunStore
from ..storage.places import store_of
from ..storage.uri import is_url
from .reading import json_rows, text_lines

# So many rows are held, and are a row group.
GROUP_ROWS = 64 << 10
KINDS = (".parquet", ".csv")
COLUMNS = ("source", "record", "id", "prediction", "probabilities")
# So much of a finished table is read at a time where it goes to another store.
PIECE_BYTES = 1 << 20


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
    """Raises ConfigError where a table of that name cannot be written: its ending or place, or a package that is missing."""
    store_of(path)
    if not path.endswith(KINDS):
        raise ConfigError(f"a table's name ends with {' or '.join(KINDS)}, found {path!r}")
    if path.endswith(KINDS[0]):
        try:
            import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"Parquet requires the package pyarrow: {error}",
                code="pyarrow_missing",
                hint=install_command("table"),
            ) from error


def write_table(path: str, results: Iterable[tuple[str, str]], store: RunStore, *, fronts: int | None) -> int:
    """Writes the table, whole or not at all; returns how many rows it has.

    Args:
        path: a path or a URL, which ends with ``.parquet`` or ``.csv``.
        results: the key of each object, and where its result would be; one that does not exist has no rows.
        store: where the results are.
        fronts: how many cells stand in front of a prediction in results that are lines of CSV, the first of which is the id;
            None: the results are JSON.

    Raises:
        OutputError: it cannot be written, or a result not read.
        ServiceError: S3 refused, or was not reached.
    """
    rows = (row for key, uri in results for row in _rows(key, uri, store, fronts))
    write = _write_parquet if path.endswith(KINDS[0]) else _write_csv
    try:
        if not is_url(path):
            with replacing(Path(path)) as temporary:
                return write(temporary, rows)
        with tempfile.TemporaryDirectory(prefix="fastinfer-") as folder:
            finished = Path(folder, "table")
            count = write(finished, rows)
            with open(finished, "rb") as file:
                store_of(path).replace(path, iter(lambda: file.read(PIECE_BYTES), b""))
            return count
    except OutputError:
        raise
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


def _rows(key: str, uri: str, store: RunStore, fronts: int | None) -> Iterator[Row]:
    texts = codecs.iterdecode(_pieces(uri, store), "utf-8", "replace")
    if fronts is None:
        for number, value in enumerate(json_rows(texts, uri), 1):
            values = None if value is None else _values(value, uri)
            yield Row(key, number, None, _prediction(values), values)
        return
    for number, line in enumerate(text_lines(texts), 1):
        if line == "null":
            yield Row(key, number, None, None, None)
            continue
        cells = line.split(",")  # ids are cells as they were in the input, and have no comma
        values = [float(cell) for cell in cells[fronts:]]
        yield Row(key, number, cells[0], _prediction(values), values)


def _pieces(uri: str, store: RunStore) -> Iterator[bytes]:
    try:
        yield from store.read_pieces(uri)
    except OutputError as error:
        # Of an object that was rejected there is no result.
        if not isinstance(error.__cause__, FileNotFoundError):
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
    return values[0] if len(values) == 1 else float(max(range(len(values)), key=values.__getitem__))
