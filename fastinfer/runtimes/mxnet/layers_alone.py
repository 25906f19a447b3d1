"""A model's fully connected layers by themselves, without their biases.

Whether a row's sums have the same bits at two batch sizes does not always show in what a model gives: with a large bias, small
sums that differ in their last bits mostly round to the same value. So the probe compares the layers alone, too.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from ...models.graph import read_graph, write_graph
from ...models.inputs import Input
from ...models.module import Model
from .dense_rows import DENSE
from .inner_shapes import load_symbol, shapes_inside
from .libmxnet import MXNetError, binding
from .symbol import Shape


def layers_alone(model: Model) -> tuple[Model | None, bool]:
    """A model of which each input is what a layer takes, and each output what it gives without its bias.

    Of layers with the same weights and as many rows for a record it has one.

    Returns:
        the model, None without layers; and whether all layers are in it: not those whose weights are computed or not float32.
    """
    with binding, contextlib.suppress(MXNetError, ValueError):
        symbol = load_symbol(model.graph.text)
        return _take_out(model, json.loads(symbol.to_json()), shapes_inside(model, symbol, 1))
    return None, False  # one record is not what it takes, or not alone


def _take_out(model: Model, graph: dict[str, Any], shapes: dict[int, list[Shape]]) -> tuple[Model | None, bool]:
    nodes: list[dict[str, Any]] = []
    heads: list[list[int]] = []
    inputs: list[Input] = []
    weights: dict[str, int] = {}
    seen: set[tuple[Shape, str, str]] = set()
    are_all = True

    def add(operator: str, name: str, attributes: dict[str, str], *sources: int) -> int:
        entries = [[source, 0, 0] for source in sources]
        nodes.append({"op": operator, "name": name, "attrs": attributes, "inputs": entries})
        return len(nodes) - 1

    for layer in graph["nodes"]:
        if layer["op"] != DENSE:
            continue
        (source, output, *_), (weight, *_) = layer["inputs"][:2]
        parameter = graph["nodes"][weight]["name"] if graph["nodes"][weight]["op"] == "null" else ""
        saved = model.arrays.get(parameter)
        taken, attributes = shapes[source][output], layer["attrs"]
        key = (taken, attributes.get("flatten", "True"), parameter)
        if saved is None or saved.type != "float32" or len(taken) < 2:
            are_all = False
            continue
        if key in seen:
            continue
        seen.add(key)
        name = f"rows{len(inputs)}"
        while name in model.arrays:
            name += "_"
        rows = add("null", name, {})
        inputs.append(Input(name, taken[1:] if taken[0] == 1 else taken))
        if taken[0] > 1:  # for each record
            rows = add("Reshape", f"{name}_each", {"shape": str((-1, *taken[1:]))}, rows)
        if parameter not in weights:
            weights[parameter] = add("null", parameter, {})
        heads.append([add(DENSE, f"{name}_sums", {**attributes, "no_bias": "True"}, rows, weights[parameter]), 0, 0])
    if not heads:
        return None, False
    text = write_graph(nodes, heads, graph["attrs"])
    graph_alone = read_graph(text, model.path)
    return replace(model, symbol=text, graph=graph_alone, inputs=tuple(inputs), all_outputs=True), are_all
