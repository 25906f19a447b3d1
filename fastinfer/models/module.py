"""A saved model: found in a folder or an archive, read, and checked whole.

SageMaker's training saves a Module with one data input and one output; the container serves such. Here a model may also be
a checkpoint, an export or a built-in algorithm's (models/files.py), and have several inputs (models/inputs.py) and outputs.
Loading needs no mxnet: runtimes/ bind the graph.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..errors import ConfigError, InputError, ModelError
from ..options import path_of
from ..storage.places import fetch_for_good, fetched, plain_place
from ..storage.regular import read_regular
from ..storage.uri import is_url
from .choice import ALL_OUTPUTS, Choice, check_names, decided, said_outputs, several_outputs
from .files import CODE, ModelFiles, choose_epoch, choose_files, part_of
from .graph import Graph, choose_output, flattens, read_graph
from .inputs import Input, find_inputs, read_shapes
from .params import Array, Shape, read_params

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .choice import ChoiceKeywords


# The model that the package ships: the notebook's network, trained on MNIST.
SHIPPED_MODEL = Path(__file__).parent / "shipped" / "mnist"

# How many bytes of each file are read, by what follows the prefix; no more than its size says are held.
FILE_LIMITS = {"symbol.json": 64 << 20, "params": 2 << 30, "shapes.json": 1 << 20}


@dataclass(frozen=True)
class Model:
    """A loaded, checked model.

    Attributes:
        path: where it came from, for messages.
        files: the names of its files there.
        symbol: the graph, as it was saved.
        params: the parameters, as MXNet's binary file; its headers are checked.
        arrays: what the parameters are, by the names in the graph.
        inputs: the inputs, in the order in which a record has their values.
        graph: the graph, checked, as it is given to MXNet; its outputs are those that are given.
        all_outputs: whether each output is given, by its name; else there is one.
        allow_missing: whether parameters that are not saved are zero.
        has_code: whether serving code of its own, ``code/``, is saved with it.
        choice: what was said when it was loaded.
        undecided: what must be said before it can be used (``open_model``); it may have no inputs then.
    """

    path: str
    files: ModelFiles
    symbol: str = field(repr=False)
    params: bytes = field(repr=False)
    arrays: dict[str, Array] = field(repr=False)
    inputs: tuple[Input, ...]
    graph: Graph
    all_outputs: bool = False
    allow_missing: bool = False
    has_code: bool = False
    choice: Choice = field(default_factory=Choice)
    undecided: tuple[ModelError, ...] = ()

    @property
    def data_name(self) -> str:
        """Name of the first input."""
        return self.inputs[0].name

    @property
    def row_shape(self) -> Shape:
        """Shape of one record, without the batch dimension; with several inputs a record is flat."""
        return self.inputs[0].shape if len(self.inputs) == 1 else (self.row_values,)

    @property
    def row_values(self) -> int:
        """Values in one record."""
        return sum(each.values for each in self.inputs)

    @property
    def flattens(self) -> bool:
        """Whether the graph first flattens a row, so that its shape does not matter."""
        return flattens(self.symbol, self.data_name)

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 over graph and parameters."""
        import hashlib  # late: a dry run does without

        symbol = self.symbol.encode()
        content = hashlib.sha256(b"%d " % len(symbol) + symbol)
        content.update(self.params)
        return content.hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, by its parts: SHA-256 over its content, the inputs, the output that is given."""
        return {
            "model": self.content_digest,
            "inputs": [[each.name, list(each.shape)] for each in self.inputs],
            "output": said_outputs(self.graph.outputs, all_outputs=self.all_outputs),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over graph, parameters, inputs and outputs: the same digest means the same predictions."""
        import hashlib  # late: a dry run does without

        content = hashlib.sha256()
        shape = (self.inputs, self.graph.outputs, self.all_outputs)
        for part in (self.symbol.encode(), self.params, repr(shape).encode()):
            content.update(len(part).to_bytes(8, "little"))
            content.update(part)
        return content.hexdigest()

    def reshaped(self, row_shape: Shape) -> Model:
        """The same model for records of another shape; it has one input."""
        return replace(self, inputs=(Input(self.data_name, row_shape),))


Loaded = TypeVar("Loaded", bound=Any)


def load_model(path: str | os.PathLike[str], **choice: Unpack[ChoiceKeywords]) -> Model:
    """Reads a model.

    Args:
        path: a folder; a tar archive (plain, gzip, bzip2 or xz); either with the prefix of its files behind it
            (``checkpoints/mnist``); or a file of the model. Or a URL of such.
        choice: what its files leave open: the attributes of :class:`Choice`.

    Raises:
        ModelError: ``model_missing`` (no such path); ``model_incomplete`` (a file of it is missing); ``several_models``;
            ``unsafe_archive`` (a member that leaves the folder, a link, a device, too large); ``unknown_inputs``,
            ``unknown_shape`` and ``no_such_output`` where it must be said; ``bad_model`` (unreadable or damaged, or its
            graph cannot be served).
        ConfigError: what is said does not fit the model.
    """
    return decided(open_model(path, **choice))


def open_model(path: str | os.PathLike[str], **choice: Unpack[ChoiceKeywords]) -> Model:
    """As :func:`load_model`, but what its files leave open is no error: it is in ``undecided``, and is only to be shown."""
    chosen = Choice(**choice)
    place = plain_place(path_of(path, "model"))
    if is_url(place):
        return load_url(place, lambda local: open_model(local, **choice))
    files, contents, has_code = _read(Path(place), chosen.epoch)
    symbol = _decode(contents[files.symbol], f"{path}/{files.symbol}")
    graph = read_graph(symbol, f"{path}/{files.symbol}")
    arrays = read_params(contents[files.params], f"{path}/{files.params}")
    saved = None
    if files.shapes is not None:
        shapes_path = f"{path}/{files.shapes}"
        saved = read_shapes(_read_json(contents[files.shapes], shapes_path), shapes_path)
    if chosen.output not in (None, ALL_OUTPUTS):
        graph = choose_output(graph, chosen.output, f"{path}/{files.symbol}")
    if chosen.output == ALL_OUTPUTS:
        check_names(graph.outputs, f"{path}/{files.symbol}")
    undecided = [several_outputs(graph.outputs)] if chosen.output is None and len(graph.outputs) > 1 else []
    inputs: tuple[Input, ...] = ()
    try:
        inputs = find_inputs(graph, arrays, saved, str(path), columns=chosen.inputs, shapes=chosen.shapes)
    except ModelError as error:
        if error.code not in ("unknown_inputs", "unknown_shape"):
            raise
        undecided.append(error)
    return Model(
        str(path),
        files,
        symbol,
        contents[files.params],
        arrays,
        inputs,
        graph,
        all_outputs=chosen.output == ALL_OUTPUTS,
        allow_missing=chosen.allow_missing,
        has_code=has_code,
        choice=chosen,
        undecided=tuple(undecided),
    )


def find_model(model: str | os.PathLike[str] | None = None) -> tuple[Path | str, str]:
    """The model to use, and what named it: the argument, $FASTINFER_MODEL, $SM_MODEL_DIR, else the shipped one.

    A URL stays a text; a path is a Path.

    Raises:
        ConfigError: the argument is not a path.
    """
    if model is not None:
        return _place(path_of(model, "model")), "as named"
    for variable in ("FASTINFER_MODEL", "SM_MODEL_DIR"):
        value = os.environ.get(variable)
        if value:
            return _place(value), f"${variable}"
    return SHIPPED_MODEL, "the MNIST model that fastinfer ships"


def _place(place: str) -> Path | str:
    place = plain_place(place)
    return place if is_url(place) else Path(place)


@contextlib.contextmanager
def as_model_error() -> Iterator[None]:
    """Where an object cannot be read, and is a model's, the model cannot be used: raises ModelError for InputError."""
    try:
        yield
    except InputError as error:
        code = "model_missing" if error.code == "input_missing" else "bad_model"
        raise ModelError(error.message, code=code, path=error.path, hint=error.hint) from error


@as_model_error()
def load_url(url: str, load: Callable[[Path], Loaded], *, keep: bool = False) -> Loaded:
    """Reads a model from a URL by a function that reads it on this machine; the model, and errors, name the URL.

    Args:
        url: of the model.
        load: reads its copy.
        keep: whether the copy stays until this process ends.
    """
    local = ""
    try:
        with contextlib.nullcontext(fetch_for_good(url)) if keep else fetched(url) as path:
            local = str(path)
            model = load(path)
            # A model with code stays where its copy is: the code is run there.
            return replace(model, path=url) if is_dataclass(model) else model  # type: ignore[type-var]
    except ModelError as error:
        raise error.at(path=error.path and error.path.replace(local, url.rstrip("/"))) from error


def _read(path: Path, epoch: int | None) -> tuple[ModelFiles, dict[str, bytes], bool]:
    """The names and contents of a model's files, and whether it has code of its own."""
    prefix = None
    # Its files' prefix as the last part, as MXNet's own functions have it.
    if not path.exists() and (path.parent.is_file() or path.with_name(f"{path.name}-symbol.json").exists()):
        path, prefix = path.parent, path.name
    elif path.is_file() and (part := part_of(path.name)) is not None:
        if epoch is not None and part.epoch not in (None, epoch):
            raise ConfigError(f"the epoch is {epoch}, but {path.name} is named")
        path, prefix, epoch = path.parent, part.prefix, part.epoch if epoch is None else epoch
    if path.is_dir():
        return _read_folder(path, prefix, epoch)
    if path.exists():
        return _read_archive(path, prefix, epoch)
    raise ModelError("no such model", code="model_missing", path=str(path), hint="name a folder or a model.tar.gz")


def _read_folder(folder: Path, prefix: str | None, epoch: int | None) -> tuple[ModelFiles, dict[str, bytes], bool]:
    files = choose_files(_list(folder), str(folder), prefix=prefix, epoch=epoch)
    contents = {}
    for name in files[3:]:
        if name is None:
            continue
        try:
            contents[name] = read_regular(folder / name, _limit(name))
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", path=str(folder / name)) from error
    return files, contents, (folder / files.folder / CODE).is_dir()


def _list(folder: Path) -> list[str]:
    """The names of what lies in a folder and in the folders in it; hidden ones, and code, are no model."""
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir():
                    names.append(entry.name)
                elif entry.name != CODE and not entry.name.startswith("."):
                    with os.scandir(entry.path) as below:
                        names += [f"{entry.name}/{each.name}" for each in below if not each.is_dir()]
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", path=error.filename or str(folder)) from error
    return names


def _read_archive(archive: Path, prefix: str | None, epoch: int | None) -> tuple[ModelFiles, dict[str, bytes], bool]:
    """Takes the model's files out of an archive, in memory, in one pass."""
    # Imported late: a folder needs it not.
    from ..storage.archive import read_members

    names: list[str] = []
    held: dict[str, bytes] = {}
    for member in read_members(archive):
        names.append(member.name)
        part = part_of(member.name)
        wanted = part is not None and (prefix in (None, part.prefix) or part.rest == "shapes.json")
        if part is None or not wanted or part.folder == f"{CODE}/":
            continue
        if member.size > _limit(member.name):
            raise ModelError(
                f"the member {member.name} has {member.size:,} bytes; at most {_limit(member.name):,} are read",
                code="unsafe_archive",
                path=str(archive),
            )
        held[member.name] = member.content.read()
        if part.epoch is not None:
            # Of several epochs only one can be chosen in the end.
            others = {name: other for name in held if (other := part_of(name)) and other[:2] == part[:2]}
            epochs = {other.epoch: name for name, other in others.items() if other.epoch is not None}
            chosen = choose_epoch(epochs, part.prefix, epoch)
            for number, name in epochs.items():
                if number != chosen:
                    del held[name]
    files = choose_files(
        [name for name in names if not name.startswith(f"{CODE}/")], str(archive), prefix=prefix, epoch=epoch
    )
    contents = {name: held[name] for name in files[3:] if name is not None}
    return files, contents, any(name.startswith(f"{files.folder}{CODE}/") for name in names)


def _limit(name: str) -> int:
    part = part_of(name)
    assert part is not None  # or nothing would be read
    return FILE_LIMITS["params" if part.epoch is not None else part.rest]


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
