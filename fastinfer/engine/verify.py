"""Makes the outputs of a finished run again, and compares them byte for byte."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..models.load import AnyModel, load_any_model
from ..options import Options
from ..outputs.layout import RUN_RECORD, OutputLayout
from ..outputs.run_record import MOST_BYTES, differences
from ..storage.base import Object
from ..storage.regular import open_regular, read_regular
from .code_model import CodeModel, find_code_model
from .request import TransformRequest
from .run import transform
from .source import Listing

PIECE_BYTES = 1 << 20
# Options that say how a run is done, and are not those of the run that makes outputs again.
OTHERS = ("overwrite", "workers", "backend", "address", "memory_limit", "durable", "max_errors", "on_error")


class Difference(NamedTuple):
    """An output that was not made again as it is.

    Attributes:
        key: of its object.
        place: the first byte that differs; None where one of the two outputs does not exist.
        reason: what is known of why.
    """

    key: str
    place: int | None
    reason: str


class Verdict(NamedTuple):
    """What was found.

    Attributes:
        compared: how many outputs were made again.
        differing: those that are others.
        changes: what the bytes depend on, that is not as it was.
    """

    compared: int
    differing: list[Difference]
    changes: list[str]


def verify_run(output: str, model: str | None = None, *, sample: int | None = None) -> Verdict:
    """Makes outputs of a run again, in a folder of its own, and compares them.

    Args:
        output: the folder of the run.
        model: the model; None: where it was then.
        sample: how many outputs, chosen at random but always the same; None: all.

    Raises:
        ConfigError: ``other_run`` where the folder has no record of a run.
        InputError, ModelError: as of a run.
    """
    record = _read_record(output)
    kept = {name: value for name, value in record["options"].items() if name not in OTHERS}
    # What the run stopped at has no output; only with quarantine do outputs have the places of rejects.
    was_quarantine = record["options"].get("on_error") == "quarantine"
    options = Options(**kept, on_error="quarantine" if was_quarantine else "continue")
    request = TransformRequest(**record["request"])
    source = record["depends_on"]["source"]
    layout = OutputLayout(output)
    objects = [item for item in Listing(source, request, output=output) if os.path.lexists(layout.result(item))]
    if sample is not None and sample < len(objects):
        chosen = set(random.Random(0).sample(range(len(objects)), sample))
        objects = [item for index, item in enumerate(objects) if index in chosen]
    if not objects:
        raise ConfigError("the folder has no output whose input is still there", code="other_run", path=output)
    with tempfile.TemporaryDirectory(prefix="fastinfer-verify-") as folder:
        transform(_load(record, model), objects, folder, options, source=source, request=request)
        now = _read_record(folder)["depends_on"]
        # How errors are dealt with was chosen above.
        changes = differences({**record["depends_on"], "on_error": now["on_error"]}, now)
        found = list(_compare(objects, layout, OutputLayout(folder), changes))
    return Verdict(len(objects), found, changes)


def _load(record: dict[str, Any], model: str | None) -> AnyModel | CodeModel:
    path = model or record["model_path"]
    return find_code_model(path) if record["row_shape"] is None else load_any_model(path)


def _read_record(output: str) -> dict[str, Any]:
    path = os.path.join(output, RUN_RECORD)
    try:
        record = json.loads(read_regular(path, MOST_BYTES))
        if not all(isinstance(record[name], dict) for name in ("options", "request", "depends_on")):
            raise ValueError("it was written by another version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"is not the record of a run: {error}", code="other_run", path=path) from error
    return dict(record)


def _compare(objects: list[Object], old: OutputLayout, new: OutputLayout, changes: list[str]) -> Iterator[Difference]:
    why = "; ".join(changes) or "nothing that bytes depend on has changed: the output was changed, or this is a defect"
    for item in objects:
        if not os.path.lexists(new.result(item)):
            yield Difference(item.key, None, "the input cannot be used any more")
            continue
        place = _first_difference(Path(old.result(item)), Path(new.result(item)))
        if place is not None:
            yield Difference(item.key, place, why)


def _first_difference(one: Path, other: Path) -> int | None:
    """The first byte at which two files differ, one of which may be the start of the other; None if they are the same."""
    done = 0
    with open_regular(one) as first, open_regular(other) as second:
        while True:
            left, right = first.read(PIECE_BYTES), second.read(PIECE_BYTES)
            if left != right:
                pairs = enumerate(zip(left, right))
                return done + next((index for index, pair in pairs if pair[0] != pair[1]), min(len(left), len(right)))
            if not left:
                return None
            done += len(left)
