"""Makes the outputs of a finished run again, and compares them byte for byte."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, InputError, ModelError, quote
from ..models.choice import Choice
from ..models.load import load_any_model
from ..options import Options
from ..outputs.folder import OutputFolder
from ..outputs.layout import OUTPUT_SUFFIX, RUN_RECORD, OutputLayout
from ..outputs.run_record import differences
from ..storage.base import Object
from ..storage.claim import MOST_BYTES
from ..storage.local import LocalStore
from ..storage.places import folder_place, read_small, store_of
from ..storage.uri import from_here
from .code_model import CodeModel, find_code_model
from .request import TransformRequest
from .run import transform
from .source import Listing

if TYPE_CHECKING:
    from ..models.load import AnyModel

UNEXPLAINED = "nothing that bytes depend on has changed: the output was changed, or this is a defect"
# Options that say how a run is done, and are not those of the run that makes outputs again.
OTHERS = ("overwrite", "workers", "backend", "address", "memory_limit", "durable", "max_errors", "on_error", "table")


# What is read of the record of a run.
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("options", "request", "depends_on", "model_choice"), dict),
    "model_path": str,
    "row_shape": (list, type(None)),
    "varies": list,
    "invariant": bool,
}


class RecordedRun(NamedTuple):
    """What the record of a run says, which may be damaged, or written by anybody.

    Attributes:
        options: of the run that makes its outputs again.
        request: what was asked.
        source: where the inputs were.
        model: where the model was.
        choice: what was said of the model.
        has_code: whether the model's own code answered.
        depends_on: what the bytes depend on.
        varies: operators that draw random numbers.
        is_invariant: whether a row's bits depend on nothing but the row.
    """

    options: Options
    request: TransformRequest
    source: str
    model: str
    choice: Choice
    has_code: bool
    depends_on: dict[str, Any]
    varies: tuple[str, ...]
    is_invariant: bool


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
        without_input: how many outputs of the folder were not made again, because their inputs are not there any more.
    """

    compared: int
    differing: list[Difference]
    changes: list[str]
    without_input: int


def verify_run(output: str, model: str | None = None, *, sample: int | None = None) -> Verdict:
    """Makes outputs of a run again, in a folder of its own, and compares them.

    Args:
        output: the folder of the run; a path or a URL.
        model: the model; None: where it was then, unless it has code of its own. What its files leave open is as it was
            said then.
        sample: how many outputs, chosen at random but always the same; None: all.

    Raises:
        ConfigError: ``other_run`` where the folder has no record of a run; ``bad_environment`` where variables that the run
            was given are not set as they were then.
        InputError, ModelError: as of a run; ``has_code`` where the model has code, and only the record names it.
    """
    output = folder_place(output)
    run = read_run(output)
    _check_environment(run.request)
    served = _load(run, model)
    if run.has_code:
        output = from_here(output)  # its code may change the working folder
    source, request = run.source, run.request
    layout = OutputLayout(output)
    store = store_of(output)
    results = {f"{at}/{name}" for at, names in store.walk(output) for name in names if name.endswith(OUTPUT_SUFFIX)}
    is_there = results.__contains__ if store.lists_trees else store.exists
    objects = [item for item in Listing(source, request, output=output) if is_there(layout.result(item))]
    if not objects:
        raise ConfigError("the folder has no output whose input is still there", code="other_run", path=output)
    without_input = len(results) - len(objects)
    if sample is not None and sample < len(objects):
        chosen = set(random.Random(0).sample(range(len(objects)), sample))
        objects = [item for index, item in enumerate(objects) if index in chosen]
    with tempfile.TemporaryDirectory(prefix="fastinfer-verify-") as folder:
        transform(served, objects, folder, run.options, source=source, request=request)
        now = read_run(folder).depends_on
        # How errors are dealt with was chosen above.
        changes = differences({**run.depends_on, "on_error": now["on_error"]}, now)
        found = list(_compare(objects, output, folder, run, changes))
    return Verdict(len(objects), found, changes, without_input)


def _load(run: RecordedRun, model: str | None) -> AnyModel | CodeModel:
    """The model. Its own code runs only where the caller names it: whoever can write to the folder can write the record."""
    if not run.has_code:
        return load_any_model(model or run.model, **run.choice.keywords)
    if model is None:
        raise ModelError(
            "the model of the run has code of its own, which is not run because a record names it",
            code="has_code",
            path=run.model,
            hint="name it, by --model, if its code is to be run",
        )
    return find_code_model(model)


def _check_environment(request: TransformRequest) -> None:
    """Raises ConfigError unless the run's variables are set. The record sets none: LD_PRELOAD, say, would run code."""
    for name, value in request.env.items():
        if os.environ.get(name) != value:
            raise ConfigError(
                f"the run had {quote(f'{name}={value}')} in its environment, here it is not set so",
                code="bad_environment",
                hint="set it before this command, if it is what you expect",
            )


def read_run(output: str) -> RecordedRun:
    """What the record in a folder says. Raises ConfigError (``other_run``), ServiceError."""
    path = os.path.join(output, RUN_RECORD)
    try:
        return _run_of(json.loads(read_small(path, MOST_BYTES)))
    except InputError as error:
        raise ConfigError(f"is not the record of a run: {error.message}", code="other_run", path=path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"is not the record of a run: {error}", code="other_run", path=path) from error


def _run_of(record: Any) -> RecordedRun:
    """Raises ValueError (a ConfigError is one), KeyError or TypeError for what no run wrote."""
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in _KINDS.items()):
        raise ValueError("it was written by another version")
    asked, depends_on = record["options"], record["depends_on"]
    if not isinstance(depends_on["source"], str):
        raise ValueError("it does not name the inputs")
    kept = {name: value for name, value in asked.items() if name not in OTHERS}
    # What the run stopped at has no output; only with quarantine do outputs have the places of rejects.
    on_error = "quarantine" if asked.get("on_error") == "quarantine" else "continue"
    return RecordedRun(
        Options(**kept, on_error=on_error),
        TransformRequest(**record["request"]),
        depends_on["source"],
        record["model_path"],
        Choice(**record["model_choice"]),
        record["row_shape"] is None,
        depends_on,
        tuple(map(str, record["varies"])),
        record["invariant"],
    )


def _compare(objects: list[Object], old: str, new: str, run: RecordedRun, changes: list[str]) -> Iterator[Difference]:
    """The outputs of the folder `old` that differ from those of `new`."""
    folder, again = OutputFolder(old), OutputLayout(new)
    folder.inspect(lambda: run.depends_on, overwrite=False)
    for item in objects:
        result = folder.layout.result(item)
        if not os.path.lexists(again.result(item)):
            yield Difference(item.key, None, _reason(folder.is_current(item), run, changes, "cannot be used any more"))
            continue
        place = _first_difference(folder.store.read_pieces(result), LocalStore().read_pieces(again.result(item)))
        if place is not None:
            yield Difference(item.key, place, _reason(folder.is_current(item), run, changes))


def _reason(current: bool | None, run: RecordedRun, changes: list[str], problem: str | None = None) -> str:
    """Why an output differs, as far as it is known.

    Args:
        current: whether the input is as it was when the output was made; None: it cannot be said.
        run: what its record says.
        changes: what the bytes depend on, that is not as it was.
        problem: what is wrong with the input now.
    """
    causes = [f"the input {problem}"] if problem else []
    if current is False:
        causes.append("the input has changed since")
    causes += changes
    if run.varies:
        causes.append(f"{', '.join(run.varies)} draw random numbers")
    if not run.is_invariant:
        causes.append("a row's last bits depend on its place in the batch, at the batch size of that run")
    if current is None and not causes:
        causes.append("the input has changed since, or the output; the output has lost the label that would tell")
    return "; ".join(causes) or UNEXPLAINED


def _first_difference(one: Iterator[bytes], other: Iterator[bytes]) -> int | None:
    """The first byte at which two outputs differ, one of which may be the start of the other; None if they are the same.

    Args:
        one, other: their bytes in pieces of any sizes, none of which is empty.
    """
    done, left, right = 0, b"", b""
    while True:
        left, right = left or next(one, b""), right or next(other, b"")
        both = min(len(left), len(right))
        if left[:both] != right[:both]:
            return done + next(index for index, pair in enumerate(zip(left, right)) if pair[0] != pair[1])
        if not both:
            return done if left or right else None
        done, left, right = done + both, left[both:], right[both:]
