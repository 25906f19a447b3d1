"""The shapes and types inside a graph, for batches of any size, as MXNet infers them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ..errors import quote
from ..models.graph import write_graph
from ..models.module import Model
from ..runtimes.mxnet.inner_shapes import find_wrong_shape
from ..runtimes.mxnet.libmxnet import MXNetError
from ..runtimes.mxnet.symbol import TYPES, Symbol
from .network import Shape, Value, merge_shapes

# Two batch sizes, by which sizes that grow with the batch are known.
BATCHES = (3, 5)

Values = list[tuple[Value, ...]]
# The nodes of a graph as they are at a batch size.
NodesAt = Callable[[int], Sequence[dict[str, Any]]]


class Undetermined(ValueError):
    """Some shapes or types are not known."""


def infer_values(
    model: Model,
    graph: Mapping[str, Any],
    nodes_at: NodesAt | None = None,
    saved: Mapping[str, Shape] | None = None,
    last: int | None = None,
) -> Values:
    """Shapes, for all batch sizes, and types of what the nodes give.

    Args:
        model: whose inputs the graph has.
        graph: the graph.
        nodes_at: its nodes as they are at a batch size; None: the same at any.
        saved: shapes that parameters must have.
        last: the node as far as which it is asked; None: the whole graph, whose outputs must have a row for each record.

    Raises:
        MXNetError, ValueError: the graph does not take batches of several sizes.
    """
    count = len(graph["nodes"]) if last is None else last + 1
    found = []
    for batch in BATCHES:
        nodes = (nodes_at(batch) if nodes_at else graph["nodes"])[:count]
        found.append(_infer(model, {**graph, "nodes": nodes}, batch, saved or {}))
    values: Values = []
    for number, node in enumerate(graph["nodes"][:count]):
        both = zip(*(each[number] for each in found))
        values.append(
            tuple(Value(merge_shapes(one, two, BATCHES, node["name"]), dtype) for (one, dtype), (two, _) in both)
        )
    for node, output, *_ in graph["heads"] if last is None else ():
        if not values[node][output].shape[:1] < (0,):
            raise ValueError(f"the output {quote(graph['nodes'][node]['name'])} does not have a row for each record")
    return values


def _infer(
    model: Model, graph: Mapping[str, Any], batch: int, saved: Mapping[str, Shape]
) -> dict[int, list[tuple[Shape, str]]]:
    """Shapes and types of all outputs, by the numbers of their nodes.

    Args:
        model: whose inputs the graph has.
        graph: the graph, of which the outputs do not matter.
        batch: the batch size.
        saved: shapes that parameters must have.
    """
    named = [{**node, "name": f"n{number}"} for number, node in enumerate(graph["nodes"])]
    heads = [[number, 0, 0] for number in range(len(named))]
    inside = Symbol.load(write_graph(named, heads, graph.get("attrs", {}))).internals()
    places = {node["name"]: f"n{number}" for number, node in enumerate(graph["nodes"]) if node["op"] == "null"}
    given = {each.name: (batch, *each.shape) for each in model.inputs if each.name in places}
    known = {places[name]: shape for name, shape in {**saved, **given}.items() if name in places}
    try:
        shapes = inside.infer_shapes(known)
        types = inside.module_types([places[name] for name in given])
    except MXNetError as error:
        names = {f"n{number}": quote(node["name"]) for number, node in enumerate(graph["nodes"])}
        said = re.sub(r"\bn[0-9]+\b", lambda match: names.get(match[0], match[0]), str(error))
        raise MXNetError(f"at batch size {batch}: {said}") from error
    if shapes is None or types is None:
        raise Undetermined("the graph does not determine all of its shapes and types")
    found: dict[int, list[tuple[Shape, str]]] = {number: [] for number in range(len(named))}
    for name, shape, kind in zip(inside.outputs(), shapes.outputs, types.outputs):
        # `n7`, `n7_output`, `n7_output1`, `n7_mean`
        number = int(name[1:].partition("_")[0])
        if kind not in TYPES:
            raise ValueError(
                f"{quote(graph['nodes'][number]['name'])} has MXNet's type {kind}, which has no translation"
            )
        found[number].append((shape, TYPES[kind][0]))
    for number, node in enumerate(graph["nodes"]):
        inputs = [found[source][output][0] for source, output, *_ in node["inputs"]]
        wrong = find_wrong_shape(node["op"], inputs, found[number][0][0])
        if wrong is not None:
            raise ValueError(f"at batch size {batch}: {quote(node['name'])} {wrong}")
    return found
