"""The results of a run, in the natural order of their names; its record and its rejects."""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from ..engine.request import TransformRequest
from ..errors import ConfigError, InputError
from ..options import Options
from ..outputs.layout import OUTPUT_SUFFIX, REJECTS, RUN_RECORD
from ..storage.atomic import unreadable
from ..storage.listing import list_files

# So many rejects are shown.
MOST_REJECTS = 1000
# Values of a record or a prediction: MXNet counts no further.
MOST_VALUES = 2**31 - 1


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
    if not isinstance(record, dict) or not _has_sizes(record):
        raise InputError("the record of the run is damaged", code="bad_output", path=path)
    return record


def _has_sizes(record: dict[str, Any]) -> bool:
    """Whether the sizes of records and predictions, where the record of a run names them, can be such."""
    shape, values = record.get("row_shape"), record.get("prediction_values")
    if shape is not None and not isinstance(shape, list):
        return False
    sizes = [*(shape or []), *([] if values is None else [values])]
    return all(type(size) is int and 0 < size <= MOST_VALUES for size in sizes)


def asked_of(record: dict[str, Any]) -> tuple[TransformRequest, Options] | None:
    """What a run was asked to do, and how; None where its record is of another version. An empty record says: as by default."""
    try:
        return TransformRequest(**record.get("request", {})), Options(**record.get("options", {}))
    except (TypeError, ValueError, ConfigError):
        return None


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
