"""Activations that MXNet computes value by value, as the operator that oneDNN computes many values at a time.

`sigmoid` and `tanh` call the C library for each value; `Activation` of the same kind is oneDNN's, apart from last bits.
Measured on a CPU with AVX-512: an LSTM of 128 units, 144 rows at a time, takes 238 instead of 500 µs a row. A rule on the graph
alone, as in unfused.py; the row-wise graph, which gives the container's bytes, is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Callable

from ...models.graph import write_graph

VALUE_BY_VALUE = {"sigmoid", "tanh"}


def vectorize(symbol: str, float32_outputs: Callable[[], Collection[str]]) -> str:
    """The graph with oneDNN's activations; the same text where there is nothing to change.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        float32_outputs: says which outputs of nodes are float32, by their names; called where that matters. `sigmoid` and
            `tanh` also take whole numbers, `Activation` does not.
    """
    graph = json.loads(symbol)
    found = [node for node in graph["nodes"] if node["op"] in VALUE_BY_VALUE]
    outputs = float32_outputs() if found else ()
    slow = [node for node in found if f"{node['name']}_output" in outputs]
    if not slow:
        return symbol
    for node in slow:
        node["attrs"] = {**node.get("attrs", {}), "act_type": node["op"]}
        node["op"] = "Activation"
    return write_graph(graph["nodes"], graph["heads"], graph["attrs"])
