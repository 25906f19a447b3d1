"""Checkpoints of a training: sets of files, of which a resume uses only a complete one.

The names are those of `mx.callback.module_checkpoint`: `mnist-symbol.json`, and after epoch 1 `mnist-0001.params` and
`mnist-0001.states`. Beside them `mnist-0001.json` records what the training was (seed, batch size, rows, hosts) and the
digests of the three files. Every file is written under a temporary name and renamed, the record last, so a set whose
digests agree with its record is complete, even if the training was killed. A folder without any record was written by
other software (the notebook's script); its sets are used if they load.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..storage.atomic import make_folder, replacing

# What the notebook's script passes to `mx.callback.module_checkpoint`.
PREFIX = "mnist"
_SET = re.compile(rf"{PREFIX}-(\d{{4,}})\.(?:params|states|json)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete set of files.

    Args:
        folder: the folder of the set.
        epoch: the number of finished epochs; the number in the names of the files.
        settings: what :func:`save_checkpoint` was given; empty for a set of other software.
    """

    folder: Path
    epoch: int
    settings: dict[str, Any]

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
    digests = {}
    for path, save in zip(_files(folder, epoch), (save_symbol, save_states, save_params)):
        with replacing(path) as temporary:
            save(str(temporary))
            digests[path.name] = _digest(temporary)
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
    with_records = any(_record_path(folder, epoch).exists() for epoch in epochs)
    for epoch in epochs:
        try:
            settings = _read_record(folder, epoch) if with_records else {}
            _check_states(_files(folder, epoch)[1])
            if not with_records:
                mx.sym.load(str(_files(folder, epoch)[0]))
                mx.nd.load(str(_files(folder, epoch)[2]))
            return Checkpoint(folder, epoch, settings), skipped
        except (OSError, ValueError, mx.MXNetError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            skipped.append(f"the checkpoint of epoch {epoch} is not complete: {reason}")
    return None, skipped


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
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_record(folder: Path, epoch: int) -> dict[str, Any]:
    record = json.loads(_record_path(folder, epoch).read_text())
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise ValueError(f"{_record_path(folder, epoch).name} is not the record of a checkpoint")
    for path in _files(folder, epoch):
        if record.get("sha256", {}).get(path.name) != _digest(path):
            raise ValueError(f"{path.name} is not the file that was saved")
    return dict(record["settings"])


def _check_states(path: Path) -> None:
    """Refuses states other than those of plain sgd, which are all None.

    mxnet unpickles the file, and a pickle that names functions can run any code.
    """

    class NothingNamed(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            raise ValueError(f"{path.name} names {module}.{name}, which the states of plain sgd never do")

    try:
        states = NothingNamed(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(states, dict) or any(state is not None for state in states.values()):
        raise ValueError(f"{path.name} does not hold the states of plain sgd")
