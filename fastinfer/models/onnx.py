"""A model in ONNX: one file, whose inputs and outputs are read without any framework.

onnxruntime builds the graph (runtimes/onnx.py). What is read here is what a run has to know before that: what a record is,
and that the file stands for itself. Values that are kept in other files are refused, because a stranger's model could name
any file.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from ..errors import ConfigError, FastinferError, ModelError, quote
from ..storage.regular import read_regular
from . import onnx_schema as schema
from .choice import ALL_OUTPUTS, Choice, check_names, decided, said_outputs, several_outputs
from .inputs import Input
from .params import VALUES_LIMIT, Shape
from .protobuf import Field, Message, text

FILE_LIMIT = 2 << 30  # of a protocol buffer
# Of an input; NumPy has 32 or 64.
DIMENSIONS_LIMIT = 32
# By these four bytes, behind four others, onnxruntime knows a FlatBuffer of its own.
ORT_FORMAT = b"ORTM"
# Graphs within graphs.
DEPTH_LIMIT = 32
# The fields of a graph that hold saved values.
DENSE, SPARSE = 5, 15
INITIALIZERS = (DENSE, SPARSE)

# The types that a record's numbers, which are float32, can be given to.
TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


class OnnxInput(NamedTuple):
    """An input of the graph.

    Attributes:
        name: its name.
        type: NumPy's name of the type of its values.
        batch: the number of records that it must have; None: any.
        shape: of what one record gives it; 0: open, where that must be said.
    """

    name: str
    type: str
    batch: int | None
    shape: Shape


@dataclass(frozen=True)
class OnnxModel:
    """A model in ONNX, read and checked as far as it can be without a framework.

    Attributes:
        path: where it came from, for messages.
        content: the file.
        graph_inputs: what its graph takes, in the order in which a record has their values.
        output_names: what its graph gives, in its order.
        opset: the version of its operators; 0 where none is ONNX's own, as where decision trees are all of it.
        all_outputs: whether each output is given, by its name; else there is one.
        metadata: what was written into it, by keys.
        choice: what was said when it was loaded.
        undecided: what must be said before it can be used (``open_onnx``).
    """

    path: str
    content: bytes = field(repr=False)
    graph_inputs: tuple[OnnxInput, ...]
    output_names: tuple[str, ...]
    opset: int
    all_outputs: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    choice: Choice = field(default_factory=Choice)
    undecided: tuple[ModelError, ...] = ()

    # What tells it from a model of MXNet; no code is saved with it.
    format = "onnx"
    has_code = False

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs, in the order in which a record has their values."""
        return tuple(Input(each.name, each.shape) for each in self.graph_inputs)

    @property
    def row_shape(self) -> Shape:
        """Shape of one record, without the batch dimension; with several inputs a record is flat."""
        return self.graph_inputs[0].shape if len(self.graph_inputs) == 1 else (self.row_values,)

    @property
    def row_values(self) -> int:
        """Values in one record."""
        return sum(math.prod(each.shape) for each in self.graph_inputs)

    @property
    def flattens(self) -> bool:
        """Whether the graph first flattens a record, so that the shape of a row does not matter; export writes it down."""
        return self.metadata.get("flattens") == "true"

    @property
    def batch(self) -> int | None:
        """The number of records that the graph takes at a time; None: any."""
        return next((each.batch for each in self.graph_inputs if each.batch is not None), None)

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, by its parts: SHA-256 over its content, the inputs, the output that is given."""
        return {
            "model": self.content_digest,
            "inputs": [[each.name, list(each.shape)] for each in self.graph_inputs],
            "output": said_outputs(self.output_names, all_outputs=self.all_outputs),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the file, inputs and outputs: the same digest means the same predictions."""
        given = (self.content_digest, self.graph_inputs, self.output_names, self.all_outputs)
        return hashlib.sha256(repr(given).encode()).hexdigest()


def load_onnx(
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    columns: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> OnnxModel:
    """Reads a model in ONNX.

    Args:
        path: of the file.
        output: the output to give; ``all``: each of them; None: the only one.
        columns: by the names of the inputs, in the order of a record, how many of its values each gets; None: the model's
            own, in its order.
        shapes: by the names of inputs, the shapes of one record; the key "" stands for the only input.

    Raises:
        ModelError: ``model_missing``; ``no_such_output``; ``unknown_shape``; ``bad_model`` for a file that is damaged, keeps
            values in other files, or has inputs that records cannot be given to.
        ConfigError: what is said does not fit the model.
    """
    return decided(open_onnx(path, output=output, columns=columns, shapes=shapes))


def open_onnx(
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    columns: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> OnnxModel:
    """As :func:`load_onnx`, but what the file leaves open is no error: it is in ``undecided``, and is only to be shown."""
    try:
        content = read_regular(os.fspath(path), FILE_LIMIT)
    except FileNotFoundError as error:
        raise ModelError("no such model", code="model_missing", path=str(path)) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", path=str(path)) from error
    model = _read_onnx(content, str(path), shapes)
    # Where the size of an input is not known yet, columns cannot be compared with it.
    return _choose_output(model if model.undecided else _order_inputs(model, columns), output)


def read_onnx(content: bytes, path: str, *, shapes: Mapping[str, Shape] | None = None) -> OnnxModel:
    """Reads a model in ONNX, with all its outputs, from its bytes; see :func:`load_onnx`."""
    return decided(_read_onnx(content, path, shapes))


def _read_onnx(content: bytes, path: str, shapes: Mapping[str, Shape] | None) -> OnnxModel:
    try:
        return Reader(content, path, shapes or {}).read()
    except FastinferError:  # some are ValueErrors as well
        raise
    except ValueError as error:
        hint = "copy it again, or save it again with onnx.save"
        raise ModelError(f"is not a readable ONNX model: {error}", path=path, hint=hint) from error


def _order_inputs(model: OnnxModel, columns: Mapping[str, int] | None) -> OnnxModel:
    if columns is None:
        return model
    found = {each.name: each for each in model.graph_inputs}
    if set(columns) != set(found):
        raise ConfigError(f"columns are given to {', '.join(columns)}; the model's inputs are {', '.join(found)}")
    for name, width in columns.items():
        values = math.prod(found[name].shape)
        if width != values:
            shape = found[name].shape
            raise ConfigError(
                f"the input {quote(name)} has the shape {shape}, {values:,} values; {width:,} columns are given to it"
            )
    return replace(model, graph_inputs=tuple(found[name] for name in columns))


def _choose_output(model: OnnxModel, output: str | None) -> OnnxModel:
    names = model.output_names
    check_names(names, model.path)
    if output == ALL_OUTPUTS:
        return replace(model, all_outputs=True)
    if output is None and len(names) == 1:
        return model
    if output is None:
        return replace(model, undecided=(several_outputs(names), *model.undecided))
    if output not in names:
        raise ModelError(
            f"the graph has no output {quote(output)}",
            code="no_such_output",
            path=model.path,
            hint=f"its outputs are {', '.join(names[:8])}",
        )
    return replace(model, output_names=(output,))


class Reader:
    """Walks over the file (onnx.proto); every method raises ValueError for what is not as the schema has it.

    Args:
        content: the file.
        path: of the model, for messages.
        shapes: by the names of inputs, the shapes of one record; see :func:`load_onnx`.
    """

    def __init__(self, content: bytes, path: str, shapes: Mapping[str, Shape]) -> None:
        self._content, self._view, self._path, self._shapes = content, memoryview(content), path, shapes
        self._undecided: list[ModelError] = []

    def read(self) -> OnnxModel:
        if self._content[4:8] == ORT_FORMAT:
            hint = "give the ONNX file that it was made of"
            raise ModelError("is in onnxruntime's own format", path=self._path, hint=hint)
        graph, metadata = None, {}
        versions: dict[str, int] = {}  # of each set of operators
        for each in schema.MODEL.fields(self._view, 0, len(self._view)):
            if each.number == 7:
                graph = each
            elif each.number == 8:
                domain, version = self._opset(each)
                versions[domain if domain != "ai.onnx" else ""] = version
            elif each.number == 14:
                entry = {part.number: text(self._view, part) for part in self._inside(each, schema.ENTRY)}
                metadata[entry.get(1, "")] = entry.get(2, "")
            elif each.number == 25:
                for part in self._inside(each, schema.FUNCTION):
                    if part.number == 7:
                        self.take_node(part, 0)
                    else:
                        self._check_attribute(part, 0)
        if graph is None or max(versions.values(), default=0) < 1:
            raise ValueError("it has no graph, or no version of its operators")
        saved, inputs, outputs = set(), [], []
        for each in self._inside(graph, schema.GRAPH):
            if each.number == 1:
                self.take_node(each, 0)
            elif each.number in INITIALIZERS:
                saved.add(self.take_initializer(each))
            elif each.number == 11:
                inputs.append(each)
            else:
                outputs.append(self._name(each))
        if not outputs:
            raise ValueError("it has no output")
        # Old files list the parameters as inputs too.
        given = [each for each in inputs if self._name(each) not in saved]
        shapes = dict(self._shapes)
        if "" in shapes and len(given) == 1:
            shapes = {self._name(given[0]): shapes[""]}
        unknown = sorted(shapes.keys() - {self._name(each) for each in given})
        if unknown:
            raise ConfigError(f"a shape is given to {quote(unknown[0])}, which is no input of the model")
        found = tuple(self._input(each, shapes.get(self._name(each))) for each in given)
        self._check_inputs(found, outputs)
        undecided = tuple(self._undecided)
        return OnnxModel(
            self._path,
            self._content,
            found,
            tuple(outputs),
            versions.get("", 0),
            metadata=metadata,
            undecided=undecided,
        )

    def _inside(self, field: Field, message: Message) -> Iterator[Field]:
        return message.fields(self._view, field.first, field.last)

    def _name(self, value: Field) -> str:
        names = [text(self._view, part) for part in self._inside(value, schema.VALUE) if part.number == 1]
        if any("\0" in name for name in names):  # where onnxruntime's names end
            raise ValueError(f"the name {quote(names[0])} has NUL in it")
        return names[0] if names else ""

    def _opset(self, field: Field) -> tuple[str, int]:
        parts = {part.number: part for part in self._inside(field, schema.OPERATORS)}
        return text(self._view, parts[1]) if 1 in parts else "", parts[2].value if 2 in parts else 0

    def take_node(self, node: Field, depth: int) -> None:
        """Looks for values in other files, also in the graphs that a node has."""
        for part in self._inside(node, schema.NODE):
            if part.number == 5:
                self._check_attribute(part, depth)

    def _check_attribute(self, attribute: Field, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise ValueError("its graphs lie too deep in each other")
        for part in self._inside(attribute, schema.ATTRIBUTE):
            if part.number in (5, 10):
                self._check_tensor(part)
            elif part.number in (22, 23):
                self._check_sparse(part)
            else:
                for inner in self._inside(part, schema.GRAPH):
                    if inner.number == 1:
                        self.take_node(inner, depth + 1)
                    elif inner.number in INITIALIZERS:
                        self.take_initializer(inner)

    def take_initializer(self, tensor: Field) -> str:
        """The name of saved values, which must be in this file."""
        return self._check_tensor(tensor) if tensor.number == DENSE else self._check_sparse(tensor)

    def _check_sparse(self, tensor: Field) -> str:
        """The name of a sparse tensor, which is that of its values."""
        parts = self._inside(tensor, schema.SPARSE_TENSOR)
        names = {part.number: self._check_tensor(part) for part in parts if part.number in (1, 2)}
        return names.get(1, "")

    def _check_tensor(self, tensor: Field) -> str:
        """The name of a tensor, whose values must be in this file."""
        parts = {part.number: part for part in self._inside(tensor, schema.TENSOR)}
        name = text(self._view, parts[8]) if 8 in parts else ""
        if 13 in parts or (14 in parts and parts[14].value != 0):
            raise ModelError(
                f"the values of {quote(name)} are in another file; one file is served",
                path=self._path,
                hint="save the model as one file: onnx.save(model, path)",
            )
        return name

    def _input(self, value: Field, wanted: Shape | None) -> OnnxInput:
        name, element, shape = self._name(value), 0, None
        for part in self._inside(value, schema.VALUE):
            for kind in self._inside(part, schema.TYPE) if part.number == 2 else ():
                if kind.number != 1:
                    raise ModelError(f"the input {quote(name)} is not a tensor", path=self._path)
                for item in self._inside(kind, schema.TENSOR_TYPE):
                    if item.number == 1:
                        element = item.value
                    else:
                        shape = [self._size(each) for each in self._inside(item, schema.SHAPE)]
        if element not in TYPES:
            raise ModelError(
                f"the input {quote(name)} has ONNX's type {element}; served are {', '.join(TYPES.values())}",
                path=self._path,
            )
        if shape and len(shape) > DIMENSIONS_LIMIT:
            raise ModelError(f"the input {quote(name)} has more than {DIMENSIONS_LIMIT} dimensions", path=self._path)
        if not shape:
            raise ModelError(f"the input {quote(name)} has no batch dimension", path=self._path)
        if wanted is not None:
            fits = len(wanted) == len(shape) - 1 and all(had in (None, size) for had, size in zip(shape[1:], wanted))
            if not fits:
                raise ConfigError(
                    f"the input {quote(name)} cannot have records of shape {wanted}, its own are {shape[1:]}"
                )
            shape[1:] = wanted
        if any(size is None for size in shape[1:]):
            found = ", ".join("?" if size is None else str(size) for size in shape)
            problem = ModelError(
                f"the input {quote(name)} has the shape ({found}), in which more than the batch is open",
                code="unknown_shape",
                hint="give the shape of one record, such as 3,224,224 for an image",
            )
            self._undecided.append(problem)
        return OnnxInput(name, TYPES[element], shape[0], tuple(size or 0 for size in shape[1:]))

    def _size(self, dimension: Field) -> int | None:
        """A dimension's size; None where it has only a name, or nothing."""
        for part in list(self._inside(dimension, schema.DIMENSION)):  # all of it, so that errors are seen
            if part.number == 1 and 0 < part.value <= VALUES_LIMIT:
                return part.value
        return None

    def _check_inputs(self, inputs: tuple[OnnxInput, ...], outputs: list[str]) -> None:
        if not inputs:
            raise ModelError("it has no input", path=self._path)
        # onnxruntime gives the input itself, and does not write where results are read.
        if both := [each.name for each in inputs if each.name in outputs]:
            raise ModelError(f"{quote(both[0])} is an input and an output", path=self._path)
        batches = {each.batch for each in inputs}
        if len(batches) > 1:
            raise ModelError("its inputs have different numbers of records", path=self._path)
        if sum(math.prod(each.shape) * (each.batch or 1) for each in inputs) > VALUES_LIMIT:
            raise ModelError("a record, or a batch of them, has more values than can be counted", path=self._path)
