"""Checkpoints of a training: sets of files, of which a resume uses only a complete one.

The names are those of `mx.callback.module_checkpoint`: `mnist-symbol.json`, and after epoch 1 `mnist-0001.params` and
`mnist-0001.states`. Beside them `mnist-0001.json` records what the training was (seed, batch size, rows, hosts). It is
written first; then the three files; then it is written again with their digests. Every file is written under a temporary name
and renamed, so a set whose digests agree with its record is complete, and a training that was killed at any moment has left
a set that is known to be its own, with its settings. A folder without any record was written by other software (the
notebook's script); its sets are used if they load. Nothing of a set reaches MXNet or pickle unread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.graph import read_graph
from ..models.params import read_params
from ..storage.atomic import make_folder, replacing
from ..storage.regular import open_regular, read_regular

# What the notebook's script passes to `mx.callback.module_checkpoint`.
PREFIX = "mnist"
# How many bytes of each file are read.
FILE_LIMIT, RECORD_LIMIT, STATES_LIMIT = 1 << 30, 1 << 20, 1 << 20
# Settings that are numbers.
COUNTS = ("seed", "batch_size", "rows", "hosts")
# What Python of any version writes for {0: None, 1: None}; with several devices the keys are names.
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK EMPTY_DICT DICT SETITEM SETITEMS NONE INT BININT BININT1 BININT2 UNICODE BINUNICODE SHORT_BINUNICODE
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET
"""
STATES_INSTRUCTIONS = frozenset(_INSTRUCTIONS.split())
_SET = re.compile(rf"{PREFIX}-(\d{{4,}})\.(?:params|states|json)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete set of files.

    Args:
        folder: the folder of the set.
        epoch: the number of finished epochs; the number in the names of the files.
        settings: what :func:`save_checkpoint` was given; empty for a set of other software.
        symbol: the graph, checked, as it is given to MXNet.
        shapes: the names of all parameters, and their shapes.
    """

    folder: Path
    epoch: int
    settings: dict[str, Any]
    symbol: str
    shapes: dict[str, tuple[int, ...]]

    @property
    def prefix(self) -> str:
        """The prefix that mxnet's loaders expect."""
        return str(self.folder / PREFIX)


def save_checkpoint(
    folder: Path,
    epoch: int,
    save_symbol: Callable[[str], object],
    save_params: Callable[[str], object],
    save_states: Callable[[str], object],
    settings: dict[str, Any],
) -> None:
    """Writes the set of `epoch`; the three functions each write one file to the given path.

    Raises:
        OutputError: ``cannot_write``.
    """
    make_folder(folder)
    _write_record(folder, epoch, settings, None)
    digests = {}
    for path, save in zip(_files(folder, epoch), (save_symbol, save_states, save_params)):
        with replacing(path) as temporary:
            save(str(temporary))
            digests[path.name] = _digest(temporary)
    _write_record(folder, epoch, settings, digests)


def _write_record(folder: Path, epoch: int, settings: dict[str, Any], digests: dict[str, str] | None) -> None:
    record = {"epoch": epoch, "settings": settings, "sha256": digests}
    with replacing(_record_path(folder, epoch)) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def checkpoint_epochs(folder: Path) -> list[int]:
    """The epochs for which `folder` has any file of a set, newest first, complete or not."""
    if not folder.is_dir():
        return []
    matches = (_SET.fullmatch(path.name) for path in folder.iterdir())
    return sorted({int(match[1]) for match in matches if match}, reverse=True)


def newest_checkpoint(mx: Any, folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest complete checkpoint in `folder`, and a sentence for each newer set that was skipped.

    Args:
        mx: mxnet, for sets without a record.
        folder: may be missing.
    """
    skipped: list[str] = []
    epochs = checkpoint_epochs(folder)
    for epoch in epochs:
        try:
            settings = _read_complete(folder, epoch) if _has_records(folder) else {}
            symbol_path, states_path, params_path = _files(folder, epoch)
            graph = read_graph(read_regular(symbol_path, FILE_LIMIT).decode("utf-8"), symbol_path.name)
            _check_states(states_path)
            params = read_regular(params_path, FILE_LIMIT)
            shapes = {name: array.shape for name, array in read_params(params, params_path.name).items()}
            mx.sym.load_json(graph.text)
            mx.nd.load_frombuffer(params)
            return Checkpoint(folder, epoch, settings, graph.text, shapes), skipped
        except Exception as error:  # whatever is wrong with it, it is not used
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            skipped.append(f"the checkpoint of epoch {epoch} is not complete: {reason}")
    return None, skipped


def begun_settings(folder: Path) -> dict[str, Any]:
    """The settings of the newest set with a readable record, complete or not; empty where there is none."""
    for epoch in checkpoint_epochs(folder):
        with contextlib.suppress(OSError, ValueError):
            return dict(_read_record(folder, epoch)["settings"])
    return {}


def _has_records(folder: Path) -> bool:
    """Whether sets in the folder are this program's: a record, or one that a killed training of an older version left."""
    return any(folder.glob(f".{PREFIX}-*.json.tmp")) or any(
        _record_path(folder, epoch).exists() for epoch in checkpoint_epochs(folder)
    )


def network_signature(symbol_json: str) -> list[tuple[object, ...]]:
    """What a network computes, from its symbol's JSON: operators, attributes and wiring; names only of its inputs."""
    nodes = json.loads(symbol_json)["nodes"]
    return [
        (
            node["op"],
            node["name"] if node["op"] == "null" else None,
            sorted((key, value) for key, value in node.get("attrs", {}).items() if not key.startswith("__")),
            node["inputs"],
        )
        for node in nodes
    ]


def _files(folder: Path, epoch: int) -> tuple[Path, Path, Path]:
    """Symbol, states and parameters of a set, in the order of writing."""
    stem = f"{PREFIX}-{epoch:04d}"
    return folder / f"{PREFIX}-symbol.json", folder / f"{stem}.states", folder / f"{stem}.params"


def _record_path(folder: Path, epoch: int) -> Path:
    return folder / f"{PREFIX}-{epoch:04d}.json"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _read_record(folder: Path, epoch: int) -> dict[str, Any]:
    """A record, with or without digests. Raises OSError or ValueError."""
    path = _record_path(folder, epoch)
    try:
        record = json.loads(read_regular(path, RECORD_LIMIT))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    settings = record.get("settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict) or any(type(settings.get(name)) not in (int, type(None)) for name in COUNTS):
        raise ValueError(f"{path.name} is not the record of a checkpoint")
    return dict(record)


def _read_complete(folder: Path, epoch: int) -> dict[str, Any]:
    """The settings of a set whose files are those that were recorded. Raises OSError or ValueError."""
    record = _read_record(folder, epoch)
    digests = record.get("sha256")
    if not isinstance(digests, dict):
        raise ValueError("the training ended while it was written")
    for path in _files(folder, epoch):
        if digests.get(path.name) != _digest(path):
            raise ValueError(f"{path.name} is not the file that was saved")
    return dict(record["settings"])


def _check_states(path: Path) -> None:
    """Refuses states other than those of plain sgd, which are all None.

    mxnet unpickles the file, and a pickle can run any code and take any memory. So its instructions are looked at first: those
    of a dictionary of numbers with None are few.
    """
    content = read_regular(path, STATES_LIMIT)
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.name not in STATES_INSTRUCTIONS:
            named = f": {str(argument).replace(' ', '.')}" if argument is not None else ""
            raise ValueError(
                f"{path.name} has {instruction.name}{named[:60]}, which the states of plain sgd never have"
            )
        if "PUT" in instruction.name and not 0 <= int(argument or 0) <= STATES_LIMIT:
            raise ValueError(f"{path.name} cannot be read: it would take memory without a bound")
    states = pickle.loads(content)
    if not isinstance(states, dict) or any(state is not None for state in states.values()):
        raise ValueError(f"{path.name} does not hold the states of plain sgd")
