"""Which files of a folder or an archive are the model: found by their names, before any of them is read.

    model-symbol.json, model-0000.params, model-shapes.json   SageMaker's MXNet training
    PREFIX-symbol.json, PREFIX-NNNN.params                    a checkpoint, an export of Gluon, SageMaker's built-in algorithms

They are at the top or in one folder below it. The newest epoch counts, but that of SageMaker's training is always 0, as in
its container.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import ModelError

# SageMaker's MXNet training writes these names, and its container reads no others.
PREFIX = "model"
SYMBOL_NAME = f"{PREFIX}-symbol.json"
PARAMS_NAME = f"{PREFIX}-0000.params"
SHAPES_NAME = f"{PREFIX}-shapes.json"
MODEL_FILES = (SYMBOL_NAME, PARAMS_NAME, SHAPES_NAME)

# The folder of a model's own code, beside its files.
CODE = "code"

# A model in ONNX is one file; what a folder holds that is the model of a container or a job.
ONNX_SUFFIX = ".onnx"
ONNX_NAME = f"{PREFIX}{ONNX_SUFFIX}"

EXPECTED = f"PREFIX-symbol.json and PREFIX-NNNN.params, such as {SYMBOL_NAME} and {PARAMS_NAME}"
# How many names a message lists.
LISTED = 8

_FILE = re.compile(
    r"(?P<folder>[^/]+/)?(?P<prefix>[^/]+)-(?P<rest>symbol\.json|shapes\.json|(?P<epoch>[0-9]{4,9})\.params)"
)


class ModelFiles(NamedTuple):
    """The names of a model's files.

    Attributes:
        folder: that they are in, with a slash behind it; empty at the top.
        prefix: with which their names begin.
        epoch: of the parameters.
        symbol, params: the files of graph and parameters.
        shapes: the file with the shapes of the inputs; None if there is none.
    """

    folder: str
    prefix: str
    epoch: int
    symbol: str
    params: str
    shapes: str | None


class Part(NamedTuple):
    """A file that may belong to a model. `rest`: what follows the prefix; `epoch`: of parameters, else None."""

    folder: str
    prefix: str
    rest: str
    epoch: int | None


def part_of(name: str) -> Part | None:
    """What a file may be to a model, by its name (with slashes); None if it is nothing."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    epoch = None if match["epoch"] is None else int(match["epoch"])
    return Part(match["folder"] or "", match["prefix"], match["rest"], epoch)


def choose_epoch(epochs: Iterable[int], prefix: str, epoch: int | None) -> int | None:
    """Which of a prefix's epochs counts: the one asked for, else SageMaker's own, else the newest; None if it is not there."""
    found = sorted(epochs)
    wanted = 0 if epoch is None and prefix == PREFIX and 0 in found else epoch
    if wanted is not None:
        return wanted if wanted in found else None
    return found[-1] if found else None


def choose_files(names: Iterable[str], path: str, *, prefix: str | None = None, epoch: int | None = None) -> ModelFiles:
    """The model's files among all names of a folder or an archive.

    Args:
        names: of files, with slashes; those more than one folder down do not count.
        path: what messages call the folder or archive.
        prefix: of the model; None: ``model`` if there is such a model, else the only one there is.
        epoch: of the parameters; None: see :func:`choose_epoch`.

    Raises:
        ModelError: ``model_incomplete`` where there is no whole model, ``several_models``.
    """
    names = sorted(names)
    parts = {name: part for name in names if (part := part_of(name)) is not None}
    models: dict[tuple[str, str], list[int]] = {}  # the epochs of each
    for part in parts.values():
        if part.rest == "symbol.json" and prefix in (None, part.prefix):
            models[part.folder, part.prefix] = [
                other.epoch for other in parts.values() if other[:2] == part[:2] and other.epoch is not None
            ]
    # One without parameters, or not of the epoch asked for, is named only if there is no other.
    whole = {key: found for key, found in models.items() if choose_epoch(found, key[1], epoch) is not None}
    # Those at the top hide those below.
    candidates = sorted(key for key in whole if not key[0]) or sorted(whole)
    if len(candidates) > 1:
        candidates = [key for key in candidates if key[1] == PREFIX] or candidates
    if not candidates:
        raise _incomplete(names, parts, models, path, epoch)
    if len(candidates) > 1:
        listed = ", ".join(folder + prefix for folder, prefix in candidates[:LISTED])
        folder, name = candidates[0]
        raise ModelError(
            f"there are {len(candidates)} models: {listed}",
            code="several_models",
            path=path,
            hint=f"name one, such as {path}/{folder}{name}",
        )
    folder, prefix = candidates[0]
    chosen = choose_epoch(whole[folder, prefix], prefix, epoch)
    assert chosen is not None  # or it were not whole
    params = next(name for name, part in parts.items() if part[:2] == (folder, prefix) and part.epoch == chosen)
    shapes = (f"{folder}{prefix}-shapes.json", f"{folder}{SHAPES_NAME}")
    return ModelFiles(
        folder,
        prefix,
        chosen,
        f"{folder}{prefix}-symbol.json",
        params,
        next((name for name in shapes if name in parts), None),
    )


def _incomplete(
    names: list[str],
    parts: dict[str, Part],
    models: dict[tuple[str, str], list[int]],
    path: str,
    epoch: int | None,
) -> ModelError:
    """What is there instead of a model."""
    hint = f"expected {EXPECTED}"
    for (folder, prefix), epochs in sorted(models.items()):
        symbol = f"{folder}{prefix}-symbol.json"
        if epochs and epoch is not None:
            listed = ", ".join(str(found) for found in sorted(epochs)[-LISTED:])
            return _no_model(f"there are no parameters of epoch {epoch} with {symbol}, but of {listed}", path, None)
        what = [name for name in names if name.endswith(".params")] or [name for name in names if name != symbol]
        found = f"found {_listed(what)}" if what else "there is no file of parameters"
        return _no_model(f"{symbol} has no parameters: {found}", path, f"expected {folder}{prefix}-NNNN.params")
    if not names:
        return _no_model("there is no file in it", path, hint)
    if any(name.endswith((".params", ".json")) for name in names):
        # Those that belong to a model, or look like it, first.
        near = [name for name in names if name in parts or name.endswith((".params", "symbol.json"))]
        params = [name for name in names if name.endswith(".params")]
        if params and not any(name.endswith("-symbol.json") for name in names):
            hint = f"{hint}; Gluon's HybridBlock.export writes both, save_parameters only the second"
        deep = [name for name in near if name.count("/") > 1]
        where = ", more than one folder down" if deep and len(deep) == len(near) else ""
        return _no_model(f"there is no model in it: found {_listed(near or names)}{where}", path, hint)
    return _no_model(f"there is no model in it: found {_listed(names)}", path, hint)


def _no_model(why: str, path: str, hint: str | None) -> ModelError:
    return ModelError(why, code="model_incomplete", path=path, hint=hint)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
