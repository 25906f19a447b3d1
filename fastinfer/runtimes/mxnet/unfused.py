"""Activations that are faster apart from the convolution before them: a rule on the graph alone, for the default mode.

MXNet makes one operator of a convolution and what follows it. Where the filters of a group are no multiple of 8, oneDNN takes
its gemm convolution, which applies the activation value by value, by calls of the C library; apart it is vectorized. Measured
on a CPU with AVX-512: 396 against 93 µs an image for LeNet, of 20 and 50 filters with tanh. With a multiple of 8 the fused
kernels are faster: 19 against 27 µs for 24 filters with relu. ``--exact`` keeps the container's graph.

An operator that passes its input on is put between the two. Time is not measured here: bytes must be a function of the row,
the model, the CPU and the versions.
"""

from __future__ import annotations

import json
from typing import Any

from ...models.graph import write_graph

# What MXNet fuses with a convolution before it; and what may be between the two.
ACTIVATIONS = {"Activation", "LeakyReLU", "clip", "relu", "sigmoid", "tanh"}
BETWEEN = {"BatchNorm", "elemwise_add", "_add", "_plus", "_Plus"}
# The fewest filters that oneDNN's kernels compute at a time, on any CPU with AVX2 or AVX-512.
FILTERS = 8


def take_apart(symbol: str) -> str:
    """The graph with activations apart from convolutions of oneDNN's gemm kind; the same text where there is none.

    Args:
        symbol: a graph, as MXNet of this version prints it.
    """
    graph = json.loads(symbol)
    nodes: list[dict[str, Any]] = []
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        if node["op"] in ACTIVATIONS and _follows_gemm(nodes, inputs[0][0]):
            nodes.append({"op": "BlockGrad", "name": f"{node['name']}_apart", "inputs": inputs[:1]})
            inputs[0] = [len(nodes) - 1, 0, 0]
        place.append(len(nodes))
        nodes.append({**node, "inputs": inputs})
    if len(nodes) == len(graph["nodes"]):
        return symbol
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(nodes, heads, graph["attrs"])


def _follows_gemm(nodes: list[dict[str, Any]], number: int) -> bool:
    """Whether a node is a convolution of the gemm kind, or what MXNet fuses with one."""
    node = nodes[number]
    if node["op"] == "Convolution":
        attributes = node.get("attrs", {})
        filters, groups = int(attributes["num_filter"]), int(attributes.get("num_group", 1))
        # Of a depthwise convolution, which has a filter a group, kernels compute several groups at a time.
        return (filters if groups == filters else filters // groups) % FILTERS != 0
    if node["op"] not in BETWEEN:
        return False
    entries = node["inputs"][:1] if node["op"] == "BatchNorm" else node["inputs"]
    return any(_follows_gemm(nodes, source) for source, *_ in entries if nodes[source]["op"] != "null")
