"""A model's inputs: which variables of its graph are read from records, and the shape of each.

They are what the user says; else what the model's file of shapes says; else what the graph says: a variable without saved
values, whose shape is written at the variable, or follows from the weights of the fully connected layer that reads it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError, ModelError, quote
from .graph import Graph, show_value
from .params import DIMENSIONS, VALUES_LIMIT, Array, Shape

# What MXNet calls the input of a Module or a Gluon block if it is not told otherwise.
DATA_NAME = "data"

EXPECTED_SHAPES = 'expected [{"name": "data", "shape": [batch, ...]}]'


class Input(NamedTuple):
    """An input of a model.

    Attributes:
        name: of the variable.
        shape: of what one record gives it, without the batch dimension.
    """

    name: str
    shape: Shape

    @property
    def values(self) -> int:
        """Values of one record."""
        return math.prod(self.shape)


def read_shapes(signature: Any, path: str) -> dict[str, Shape]:
    """The inputs and their shapes of ``[{"name": "data", "shape": [100, 1, 28, 28]}]``, without the batch dimension.

    Raises:
        ModelError: ``bad_model``.
    """
    if not isinstance(signature, list) or not signature or not all(isinstance(item, dict) for item in signature):
        raise ModelError(f"{EXPECTED_SHAPES}, found {show_value(signature)}", path=path)
    shapes: dict[str, Shape] = {}
    for item in signature:
        name, shape = item.get("name"), item.get("shape")
        sizes_fit = isinstance(shape, list) and 1 <= len(shape) <= DIMENSIONS[-1]
        if (
            not isinstance(name, str)
            or not sizes_fit
            or not all(type(size) is int and 0 < size <= VALUES_LIMIT for size in shape)
        ):
            raise ModelError(f"{EXPECTED_SHAPES}, found {show_value(item)}", path=path)
        if name in shapes:
            raise ModelError(f"two inputs have the name {quote(name)}", path=path)
        shapes[name] = tuple(shape[1:])
    return shapes


def find_inputs(
    graph: Graph,
    arrays: Mapping[str, Array],
    saved: Mapping[str, Shape] | None,
    path: str,
    *,
    columns: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> tuple[Input, ...]:
    """The inputs, in the order in which a record has their values.

    Args:
        graph: the model's graph.
        arrays: its saved parameters.
        saved: the shapes that are saved with it; None: there are none.
        path: of the model, for messages.
        columns: by the names of the inputs, in the order of a record, how many of its values each gets; None: not said.
        shapes: by the names of inputs, the shapes that the user gives them; the key "" stands for the only input.

    Raises:
        ModelError: ``unknown_inputs``, ``unknown_shape``; ``bad_model`` for an input that the graph does not have.
        ConfigError: shapes and columns do not fit each other, the model or its chosen output.
    """
    given = dict(shapes or {})
    names = list(columns or saved or [name for name in given if name] or _guess(graph, arrays, path))
    if "" in given:
        if len(names) > 1:
            raise ConfigError(f"a shape without a name is for one input; the model has {', '.join(names)}")
        given = {names[0]: given[""]}
    for name in names:
        if name in graph.left_out:
            read = [each for each in graph.variables if each not in arrays and each not in graph.zeros]
            raise ConfigError(
                f"the output {quote(graph.outputs[0])} does not depend on the input {quote(name)}",
                path=path,
                hint=f"give records of what it reads, and name that with its number of values: {', '.join(read)}",
            )
        if name not in graph.variables:
            source = "its shapes name" if columns is None and name in (saved or {}) else "there is no use for"
            free = [each for each in graph.variables if each not in arrays]
            raise ModelError(
                f"{source} the input {quote(name)}, which the graph does not have",
                path=path,
                hint=f"variables without saved values are {', '.join(free[:8])}" if free else None,
            )
    for name in given:
        if name not in names:
            raise ConfigError(f"the shape of {quote(name)} is given, but the inputs are {', '.join(names)}")
    inputs = []
    for name in names:
        width = (columns or {}).get(name)
        shape = given.get(name, (saved or {}).get(name, _written_shape(graph, name)))
        if shape is None:
            shape = _implied_shape(graph, arrays, name) if width is None else (width,)
        if shape is None:
            raise ModelError(
                f"the shape of the input {quote(name)} is not known: no file of shapes, and not the graph, says it",
                code="unknown_shape",
                path=path,
                hint="give the shape of one record, such as 3,224,224 for an image",
            )
        if width is not None and width != math.prod(shape):
            raise ConfigError(
                f"the input {quote(name)} has the shape {shape}, {math.prod(shape):,} values; {width:,} columns are given to it"
            )
        inputs.append(Input(name, tuple(shape)))
    if sum(each.values for each in inputs) > VALUES_LIMIT:
        raise ModelError(f"a record of shape {inputs[0].shape} has more values than MXNet can count", path=path)
    return tuple(inputs)


def _guess(graph: Graph, arrays: Mapping[str, Array], path: str) -> Sequence[str]:
    """The only input that can be one: ``data``, or the only variable without values."""
    free = [name for name in graph.variables if name not in arrays and name not in graph.zeros]
    if DATA_NAME in free:
        return [DATA_NAME]
    if len(free) == 1:
        return free
    found = (
        f"these variables have no saved values: {', '.join(free[:8])}" if free else "all variables have saved values"
    )
    raise ModelError(
        f"which are the inputs is not known: {found}",
        code="unknown_inputs",
        path=path,
        hint="name the inputs, and how many values of a record each gets, such as user:1,item:1",
    )


def _written_shape(graph: Graph, name: str) -> Shape | None:
    """The shape that is written at the variable, where only the size of the batch may be missing."""
    text = graph.variables[name].get("__shape__", "")
    if not re.fullmatch(r"[(\[][0-9, ]*[)\]]", text):
        return None
    sizes = [int(number) for number in re.findall("[0-9]{1,10}", text)]
    if not sizes or len(sizes) > DIMENSIONS[-1] or 0 in sizes[1:]:
        return None
    return tuple(sizes[1:])


def _implied_shape(graph: Graph, arrays: Mapping[str, Array], name: str) -> Shape | None:
    """The number of values that fully connected layers with saved weights read from the input; None if it is not only they."""
    nodes = json.loads(graph.text)["nodes"]
    sources = {number for number, node in enumerate(nodes) if node["op"] == "null" and node["name"] == name}
    widths = set()
    for number, node in enumerate(nodes):
        if not any(entry[0] in sources for entry in node["inputs"]):
            continue
        if node["op"] in ("Flatten", "flatten"):
            sources.add(number)
            continue
        if node["op"] != "FullyConnected" or node.get("attrs", {}).get("flatten", "True") not in ("True", "1"):
            return None
        if len(node["inputs"]) < 2:
            return None  # MXNet says what is missing
        data, weight = (entry[0] for entry in node["inputs"][:2])
        saved = arrays.get(nodes[weight]["name"])
        if data not in sources or saved is None or len(saved.shape) != 2:
            return None
        widths.add(saved.shape[1])
    return (widths.pop(),) if len(widths) == 1 else None
