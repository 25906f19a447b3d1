"""What only MXNet knows about a graph, asked before the graph is used: the inputs and outputs of its nodes, all shapes inside.

MXNet itself reads inputs and outputs that are not there, and lets a Reshape go past the end of its input.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ...errors import quote
from ...models.graph import write_graph
from ...models.module import Model
from ...models.params import VALUES_LIMIT
from .symbol import Shape, Symbol

# MXNet does not compare the numbers of values of the inputs and outputs of these.
RESHAPES = {"Reshape", "reshape", "reshape_like"}
SELECTIONS = {"where"}


def load_symbol(text: str) -> Symbol:
    """Loads a graph, and compares the inputs and outputs of every node with those that MXNet says it has.

    Args:
        text: the graph, checked (models/graph.py).

    Raises:
        ValueError: a node has too few or too many inputs, or an output is used that its node does not have.
        MXNetError: an operator or attribute is wrong.
    """
    symbol = Symbol.load(text)
    graph = json.loads(symbol.to_json())  # what MXNet has made of it: to graphs of old versions it adds inputs
    outputs: list[int] = []
    for node in graph["nodes"]:
        name = quote(node["name"])
        _check_entries(node["inputs"], outputs, name)
        if node["op"] == "null":
            outputs.append(1)
            continue
        inputs, count = _count_ends(node["op"], node.get("attrs", {}))
        if node["op"] == "LeakyReLU":
            count = 1  # what it has chosen in training; in inference MXNet does not set that
        if len(node["inputs"]) != inputs:
            raise ValueError(f"{name} ({node['op']}) has {len(node['inputs'])} inputs, it needs {inputs}")
        outputs.append(count)
    _check_entries(graph["heads"], outputs, "the graph's end")
    return symbol


def _check_entries(entries: list[list[int]], outputs: list[int], what: str) -> None:
    for source, output, *_ in entries:
        if not source < len(outputs) or not output < outputs[source]:
            raise ValueError(f"{what} uses output {output} of node {source}, which does not have it")


def _count_ends(operator: str, attributes: dict[str, str]) -> tuple[int, int]:
    """How many inputs and outputs an operator has: it is made by itself, and MXNet adds all inputs."""
    alone = Symbol.atomic(operator, attributes)
    return len(alone.inputs()), len(alone.outputs())


def has_reshapes(model: Model) -> bool:
    """Whether a graph has operators of which :func:`find_misfit` finds that they do not fit, and MXNet does not."""
    return any(node["op"] in RESHAPES | SELECTIONS for node in json.loads(model.graph.text)["nodes"])


def find_misfit(
    model: Model, symbol: Symbol, batch_size: int, shapes: dict[int, list[Shape]] | None = None
) -> str | None:
    """Which operator of a graph would go past the end of its input at a batch size; None if all fit.

    Args:
        model: whose inputs the graph has.
        symbol: the graph, loaded; its shapes can be inferred.
        batch_size: records of one forward pass.
        shapes: as :func:`shapes_inside` gives them; None: they are asked for.

    Raises:
        ValueError: a shape is not determined, or has more values than MXNet counts.
    """
    nodes = json.loads(symbol.to_json())["nodes"]
    found = shapes or shapes_inside(model, symbol, batch_size)
    for number, node in enumerate(nodes):
        inputs = [found[source][output] for source, output, *_ in node["inputs"]]
        wrong = find_wrong_shape(node["op"], inputs, found[number][0])
        if wrong is not None:
            return f"{quote(node['name'])} {wrong} (batch size {batch_size})"
    return None


def shapes_inside(model: Model, symbol: Symbol, batch_size: int) -> dict[int, list[Shape]]:
    """The shapes of the outputs of each node of a graph, by its number.

    Raises:
        ValueError: a shape is not determined, or has more values than MXNet counts.
    """
    graph = json.loads(symbol.to_json())
    nodes = graph["nodes"]
    inside = _inside(nodes, graph["attrs"])
    places = {node["name"]: f"n{number}" for number, node in enumerate(nodes) if node["op"] == "null"}
    shapes = inside.infer_shapes({places[each.name]: (batch_size, *each.shape) for each in model.inputs})
    if shapes is None:
        raise ValueError("the graph does not determine all of its shapes")
    found: dict[int, list[Shape]] = {}
    for name, shape in zip(inside.outputs(), shapes.outputs):
        number = _node_of(name)
        found.setdefault(number, []).append(shape)
        if math.prod(shape) > VALUES_LIMIT:
            raise ValueError(f"{quote(nodes[number]['name'])} gives more values than MXNet can count, {shape}")
    return found


def find_wrong_shape(operator: str, inputs: list[Shape], output: Shape) -> str | None:
    """Why an operator would read or write beyond one of these shapes; None if it does not, or MXNet says so itself."""
    if operator in RESHAPES and math.prod(inputs[0]) != math.prod(output):
        return f"cannot reshape {inputs[0]} to {output}"
    if operator in SELECTIONS:
        condition, left, right = inputs
        if left != right or condition not in (left, left[:1]):
            return f"cannot select from {left} and {right} by {condition}"
    return None


def _inside(nodes: list[dict[str, Any]], attributes: dict[str, Any]) -> Symbol:
    """A symbol with all outputs of all nodes, which have their numbers as names."""
    named = [{**node, "name": f"n{number}"} for number, node in enumerate(nodes)]
    text = write_graph(named, [[number, 0, 0] for number in range(len(nodes))], attributes)
    return Symbol.load(text).internals()


def _node_of(name: str) -> int:
    """The node of an output or variable: `n7`, `n7_output`, `n7_output1`, `n7_mean`."""
    match = re.match(r"n([0-9]+)", name)
    return int(match[1]) if match else -1
