"""What the probe has found, kept in the user's cache folder under what it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from typing import Any, Callable, NamedTuple, TypeVar

from ..errors import OutputError
from .base import DenseLayers

# A file has less than a kilobyte; that of a large graph in ONNX, a number for each of its values.
MOST_BYTES = 1 << 20
# Another number where the probe does other things, so that what it found before is not used.
PROBE = 7


class Found(NamedTuple):
    """Batch sizes at all of which a row has the same bits, wherever it is.

    Attributes:
        sizes: in ascending order.
        seconds: of a pass at each.
        dense: how fully connected layers are computed at sizes below its rows.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    dense: DenseLayers


T = TypeVar("T")


def cached(depends_on: dict[str, Any], find: Callable[[], Found | None]) -> Found | None:
    """What ``find`` returns; it is called if it is not known yet."""

    def write(found: Found | None) -> Any:
        return found and {**found._asdict(), "dense": found.dense._asdict()}

    kept: Found | None = _cached(depends_on, find, _read, write)
    return kept


def cached_answer(depends_on: dict[str, Any], find: Callable[[], bool]) -> bool:
    """What ``find`` returns; it is called if it is not known yet."""
    return _cached(depends_on, find, {"yes": True, "no": False}.__getitem__, lambda found: "yes" if found else "no")


def cached_numbers(depends_on: dict[str, Any], find: Callable[[], list[int]]) -> list[int]:
    """What ``find`` returns; it is called if it is not known yet."""
    return _cached(depends_on, find, lambda kept: [int(number) for number in kept], list)


def _cached(
    depends_on: dict[str, Any], find: Callable[[], T], read: Callable[[Any], T], write: Callable[[T], Any]
) -> T:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    depends_on = {**depends_on, "probe": PROBE}
    text = json.dumps(depends_on, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    path = os.path.join(base, "fastinfer", "batch-size", f"{name}.json")
    # A file that is damaged may hold anything; numbers too large for a float, documents too deep.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        with open(path, "rb") as file:
            kept = json.loads(file.read(MOST_BYTES))
        if kept["depends_on"] == json.loads(text):
            return read(kept["found"])
    found = find()
    _keep(path, {"depends_on": depends_on, "found": write(found)})
    return found


def _read(kept: Any) -> Found | None:
    """Raises ValueError, KeyError or TypeError for what was not written here."""
    if kept is None:
        return None
    sizes, seconds = tuple(map(_count, kept["sizes"])), tuple(map(float, kept["seconds"]))
    dense = DenseLayers(_count(kept["dense"]["rows"]), bool(kept["dense"]["chained"]), bool(kept["dense"]["products"]))
    if not sizes or sorted(set(sizes)) != list(sizes) or len(sizes) != len(seconds):
        raise ValueError("sizes do not ascend")
    if not all(0 < each < math.inf for each in seconds):
        raise ValueError("a pass takes some time")
    return Found(sizes, seconds, dense)


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("a number of rows is at least 1")
    return value


def _keep(path: str, content: dict[str, Any]) -> None:
    from pathlib import Path

    from ..storage.atomic import make_folder, replacing

    # If it cannot be kept, it is found again next time.
    with contextlib.suppress(OSError, OutputError):
        make_folder(Path(path).parent)
        with replacing(Path(path)) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
