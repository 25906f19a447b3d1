"""Reads the results of a run, in the natural order of their names, some thousand rows at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote
from ..outputs.layout import OUTPUT_SUFFIX, REJECTS, RUN_RECORD
from ..storage.atomic import unreadable
from ..storage.listing import list_files

CHUNK_CHARACTERS = 1 << 20
# Between two rows of numbers.
_BETWEEN = "], "
# So many rejects are shown.
MOST_REJECTS = 1000


class Result(NamedTuple):
    """A result.

    Attributes:
        key: of the input that it belongs to.
        path: of the result.
    """

    key: str
    path: str


def find_results(folder: str) -> list[Result]:
    """The results in a folder, `data-2` before `data-10`.

    Raises:
        InputError: ``folder_missing``; ``input_missing`` where it has no result.
    """
    if not os.path.isdir(folder):
        raise InputError("no such folder", code="folder_missing", path=folder)
    items = list_files(folder, lambda name: name.endswith(OUTPUT_SUFFIX) and not name.startswith("."))
    results = [Result(item.key[: -len(OUTPUT_SUFFIX)], item.uri) for item in items]
    if not results:
        raise InputError(f"no result (*{OUTPUT_SUFFIX}) in this folder or below", code="input_missing", path=folder)
    return sorted(results, key=lambda result: natural(result.key))


def natural(key: str) -> list[tuple[int, str]]:
    """What sorts names by the numbers in them."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"(\d+)", key)]


class Rows(NamedTuple):
    """Some rows of a result, one after another.

    Attributes:
        values: float64 (rows, values of each); rows without a prediction are NaN.
        rejected: bool (rows,): the record was rejected, there is no prediction.
        shape: of one row.
    """

    values: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    shape: tuple[int, ...]


def read_rows(path: str) -> Iterator[Rows]:
    """The rows of a result.

    Raises:
        InputError: it cannot be read, or is no list of predictions (``bad_output``).
    """
    width: int | None = None
    waiting = 0  # rejected rows before the first prediction, whose width is not known yet
    for rows in _read_lists(path):
        known = next((row for row in rows if row is not None), None)
        if known is None and width is None:
            waiting += len(rows)
            continue
        try:
            shape = np.shape(known) if known is not None else (width or 1,)
            width = int(np.prod(shape)) if width is None else width
            rejected = np.array([row is None for row in rows], dtype=bool)
            values = np.full((len(rows), width), np.nan)
            predicted = [row for row in rows if row is not None]
            if predicted:
                values[~rejected] = np.asarray(predicted, dtype=np.float64).reshape(len(predicted), -1)
        except (ValueError, TypeError, OverflowError):
            raise _bad(path, "rows of unequal lengths, or something else than numbers", known) from None
        if waiting:
            yield Rows(np.full((waiting, width), np.nan), np.ones(waiting, dtype=bool), tuple(shape))
            waiting = 0
        yield Rows(values, rejected, tuple(shape))
    if waiting:
        yield Rows(np.full((waiting, 1), np.nan), np.ones(waiting, dtype=bool), ())


def _read_lists(path: str) -> Iterator[list[Any]]:
    """The rows as Python's lists. Large results are read in pieces that end between two rows."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(CHUNK_CHARACTERS)
            first = text
            if not text.startswith("["):
                raise _bad(path, "no list of predictions", text)
            text = text[1:]
            while True:
                more = file.read(CHUNK_CHARACTERS)
                if not more:
                    break
                text += more
                # Not within a row that is itself made of rows.
                end = text.rfind(_BETWEEN)
                if end < 0 or text.startswith("[["):
                    continue
                yield _parse(path, f"[{text[: end + 1]}]")
                text = text[end + len(_BETWEEN) :]
            if not text.endswith("]"):
                raise _bad(path, "the list has no end", first)
            yield _parse(path, f"[{text}")
    except UnicodeDecodeError as error:
        raise _bad(path, "no ASCII text", None) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _parse(path: str, text: str) -> list[Any]:
    try:
        return list(json.loads(text))
    except (ValueError, RecursionError):
        raise _bad(path, "no JSON", text) from None


def _bad(path: str, what: str, found: object) -> InputError:
    shown = f": {quote(str(found))}" if found is not None else ""
    return InputError(f"expected [[p0, p1, …], …], found {what}{shown}", code="bad_output", path=path)


def read_record(folder: str) -> dict[str, Any]:
    """The record of the run that made the results; empty where there is none, as in a folder that was downloaded.

    Raises:
        InputError: ``bad_output``: it is damaged.
    """
    path = os.path.join(folder, RUN_RECORD)
    try:
        with open(path, "rb") as file:
            record = json.loads(file.read())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InputError("the record of the run is damaged", code="bad_output", path=path)
    return record


def read_rejects(folder: str) -> tuple[list[dict[str, Any]], int]:
    """The first rejects, and the number of all.

    Raises:
        InputError: they cannot be read, or are damaged (``bad_output``).
    """
    path = os.path.join(folder, REJECTS)
    rejects, count = [], 0
    try:
        with open(path, "rb") as file:
            for line in file:
                count += 1
                if count <= MOST_REJECTS:
                    reject = json.loads(line)
                    rejects.append({name: reject[name] for name in ("key", "line", "column", "code", "message")})
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("the rejects are damaged", code="bad_output", path=path, line=count) from None
    return rejects, count
