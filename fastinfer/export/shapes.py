"""The shapes and types inside a graph at a batch size, as MXNet infers them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import quote
from ..models.graph import write_graph
from ..models.module import Model
from ..runtimes.mxnet.libmxnet import MXNetError
from ..runtimes.mxnet.symbol import FLOAT32, TYPES, Inferred, Symbol
from .network import Shape

# Two batch sizes, by which sizes that grow with the batch are known.
BATCHES = (3, 5)


def infer(model: Model, graph: Mapping[str, Any], batch: int) -> dict[int, list[tuple[Shape, str]]]:
    """Shapes and types of all outputs, by the numbers of their nodes."""
    named = [{**node, "name": f"n{number}"} for number, node in enumerate(graph["nodes"])]
    heads = [[number, 0, 0] for number in range(len(named))]
    inside = Symbol.load(write_graph(named, heads, graph.get("attrs", {}))).internals()
    places = {node["name"]: f"n{number}" for number, node in enumerate(graph["nodes"]) if node["op"] == "null"}
    try:
        shapes = inside.infer_shapes({places[each.name]: (batch, *each.shape) for each in model.inputs})
        types = _infer_types(inside, [places[each.name] for each in model.inputs])
    except MXNetError as error:
        names = {f"n{number}": quote(node["name"]) for number, node in enumerate(graph["nodes"])}
        said = re.sub(r"\bn[0-9]+\b", lambda match: names.get(match[0], match[0]), str(error))
        raise MXNetError(f"at batch size {batch}: {said}") from error
    if shapes is None or types is None:
        raise ValueError("the graph does not determine all of its shapes and types")
    found: dict[int, list[tuple[Shape, str]]] = {number: [] for number in range(len(named))}
    for name, shape, kind in zip(inside.outputs(), shapes.outputs, types.outputs):
        # `n7`, `n7_output`, `n7_output1`, `n7_mean`
        number = int(name[1:].partition("_")[0])
        if kind not in TYPES:
            raise ValueError(
                f"{quote(graph['nodes'][number]['name'])} has MXNet's type {kind}, which has no translation"
            )
        found[number].append((shape, TYPES[kind][0]))
    return found


def _infer_types(symbol: Symbol, inputs: list[str]) -> Inferred | None:
    """As Module binds it: inputs are float32, unless the graph says otherwise and insists."""
    try:
        return symbol.infer_types(dict.fromkeys(inputs, FLOAT32))
    except MXNetError:
        return symbol.infer_types({})
