"""A model as SageMaker's training saved it: read from a folder or a model.tar.gz, and checked whole.

The container serves a Module with one data input and one output (``model-symbol.json``, ``model-0000.params``,
``model-shapes.json``); so does fastinfer. Loading needs no mxnet: :mod:`fastinfer.runtimes.mxnet.graph` builds the graph.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError, quote
from ..options import path_of
from ..storage.archive import read_members
from ..storage.regular import read_regular
from .graph import Graph, read_graph, show_value
from .params import DIMENSIONS, VALUES_LIMIT, read_params

SYMBOL_NAME = "model-symbol.json"
PARAMS_NAME = "model-0000.params"
SHAPES_NAME = "model-shapes.json"
MODEL_FILES = (SYMBOL_NAME, PARAMS_NAME, SHAPES_NAME)

# The folder of a model's own code, the variable that names its serving module, and the module that is used by default.
CODE = "code"
PROGRAM_VARIABLE = "SAGEMAKER_PROGRAM"
DEFAULT_PROGRAM = "inference.py"

# The model that the package ships: the notebook's network, trained on MNIST.
SHIPPED_MODEL = Path(__file__).parent / "shipped" / "mnist"

# How many bytes of each file are read; no more than its size says are held.
FILE_LIMITS = {SYMBOL_NAME: 64 << 20, PARAMS_NAME: 2 << 30, SHAPES_NAME: 1 << 20}


@dataclass(frozen=True)
class Model:
    """A loaded, checked model.

    Attributes:
        path: where it came from, for messages.
        symbol: the graph, as it was saved.
        params: the parameters, as MXNet's binary file; its headers are checked.
        data_name: name of the one data input.
        row_shape: shape of one record, without the batch dimension.
        graph: the graph, checked, as it is given to MXNet.
        has_code: whether serving code of its own, ``code/``, is saved with it.
    """

    path: str
    symbol: str
    params: bytes
    data_name: str
    row_shape: tuple[int, ...]
    graph: Graph
    has_code: bool = False

    @property
    def label_names(self) -> tuple[str, ...]:
        """Arguments of the graph that are only used in training."""
        return self.graph.labels

    @property
    def row_values(self) -> int:
        """Values in one record."""
        return math.prod(self.row_shape)

    @property
    def digest(self) -> str:
        """SHA-256 over graph, parameters and shape: the same digest means the same predictions."""
        content = hashlib.sha256()
        for part in (self.symbol.encode(), self.params, repr((self.data_name, self.row_shape)).encode()):
            content.update(len(part).to_bytes(8, "little"))
            content.update(part)
        return content.hexdigest()


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads a model from a folder or a tar archive (plain, gzip, bzip2 or xz).

    Raises:
        ModelError: ``model_missing`` (no such path); ``model_incomplete`` (a file of it is missing); ``unsafe_archive`` (a
            member that leaves the folder, a link, a device, too large); ``bad_model`` (unreadable or damaged, or not a
            model with one data input whose graph can be served).
    """
    source = Path(path)
    if source.is_dir():
        files = _read_folder(source)
    elif source.exists():
        files = _read_archive(source)
    else:
        raise ModelError("no such model", code="model_missing", path=str(path), hint="name a folder or a model.tar.gz")
    missing = [name for name in MODEL_FILES if name not in files]
    if missing:
        raise ModelError(
            f"the model lacks {', '.join(missing)}",
            code="model_incomplete",
            path=str(path),
            hint=f"SageMaker's MXNet training saves {', '.join(MODEL_FILES)}",
        )
    data_name, row_shape = _read_shapes(files[SHAPES_NAME], f"{path}/{SHAPES_NAME}")
    symbol = _decode(files[SYMBOL_NAME], f"{path}/{SYMBOL_NAME}")
    graph = read_graph(symbol, f"{path}/{SYMBOL_NAME}")
    if data_name not in graph.arguments:
        raise ModelError(
            f"{SHAPES_NAME} names the input {quote(data_name)}, which the graph does not have",
            path=str(path),
            hint=f"the graph's arguments are {', '.join(sorted(graph.arguments)[:8])}",
        )
    read_params(files[PARAMS_NAME], f"{path}/{PARAMS_NAME}")
    return Model(str(path), symbol, files[PARAMS_NAME], data_name, row_shape, graph, has_code=CODE in files)


def find_model(model: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """The model to use, and what named it: the argument, $FASTINFER_MODEL, $SM_MODEL_DIR, else the shipped one.

    Raises:
        ConfigError: the argument is not a path.
    """
    if model is not None:
        return Path(path_of(model, "model")), "as named"
    for variable in ("FASTINFER_MODEL", "SM_MODEL_DIR"):
        value = os.environ.get(variable)
        if value:
            return Path(value), f"${variable}"
    return SHIPPED_MODEL, "the MNIST model that fastinfer ships"


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {CODE: b""} if (folder / CODE).is_dir() else {}
    for name in MODEL_FILES:
        try:
            files[name] = read_regular(folder / name, FILE_LIMITS[name])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", path=str(folder / name)) from error
    return files


def _read_archive(archive: Path) -> dict[str, bytes]:
    """Takes the model's three files out of an archive, in memory; as a fourth, whether it has code."""
    files = {}
    for member in read_members(archive):
        if member.name in MODEL_FILES:
            if member.size > FILE_LIMITS[member.name]:
                raise ModelError(
                    f"the member {member.name} has {member.size:,} bytes; at most {FILE_LIMITS[member.name]:,} are read",
                    code="unsafe_archive",
                    path=str(archive),
                )
            files[member.name] = member.content.read()
        elif member.name.startswith(f"{CODE}/"):
            files[CODE] = b""
    return files


def _decode(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError("is not UTF-8 text", path=path) from error


def _read_json(content: str | bytes, path: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is not JSON: {error}", path=path) from error


def _read_shapes(content: bytes, path: str) -> tuple[str, tuple[int, ...]]:
    """The one data input's name and the shape of one record, out of ``[{"name": "data", "shape": [100, 1, 28, 28]}]``."""
    signature = _read_json(content, path)
    expected = 'expected [{"name": "data", "shape": [batch, ...]}]'
    if not isinstance(signature, list) or not all(isinstance(item, dict) for item in signature):
        raise ModelError(f"{expected}, found {show_value(signature)}", path=path)
    if len(signature) != 1:
        names = ", ".join(item["name"][:60] for item in signature[:8] if isinstance(item.get("name"), str))
        raise ModelError(f"the model has {len(signature)} data inputs ({names}); one is served", path=path)
    name, shape = signature[0].get("name"), signature[0].get("shape")
    sizes_fit = isinstance(shape, list) and 1 <= len(shape) <= DIMENSIONS[-1]
    if not isinstance(name, str) or not sizes_fit or not all(type(size) is int and size > 0 for size in shape):
        raise ModelError(f"{expected}, found {show_value(signature[0])}", path=path)
    if math.prod(shape[1:]) > VALUES_LIMIT:
        raise ModelError(f"a record of shape {show_value(shape[1:])} has more values than MXNet can count", path=path)
    return name, tuple(shape[1:])
