"""Layouts of oneDNN's own that an operator reads as if they were plain, put back into plain ones before it.

A convolution leaves its output in blocks of channels, and many operators pass that on. MXNet 1.9.1 gives such memory to the
softmax of oneDNN over the last axis, which ends the process where something else reads the same output. A slice of everything
is in the plain layout and has the same bits.
"""

from __future__ import annotations

import json
from typing import Any

from ...models.graph import write_graph

PLAIN = "slice_axis"
SOFTMAXES = {"softmax", "log_softmax"}
# The axes that may be the last one of what a convolution gives; that of the channels is none.
LAST_AXES = {"-1", "2", "3", "4"}
MAKES_BLOCKS = {"Convolution", "Deconvolution", "Pooling"}
# What is behind these was seen to be plain; behind all others, also those that are not oneDNN's, the process may end.
MAKES_PLAIN = {
    *("FullyConnected", "Flatten", "flatten", "Reshape", "reshape", "transpose", "SwapAxis", "swapaxes", "squeeze"),
    *("expand_dims", "batch_dot", "dot", "RNN", PLAIN),
}


def make_plain(symbol: str) -> str:
    """The graph whose softmax over a last axis reads plain memory; the same text where there is none behind a convolution.

    Args:
        symbol: a graph.
    """
    graph = json.loads(symbol)
    nodes: list[dict[str, Any]] = []
    place: list[int] = []  # of each node of the original
    in_blocks: list[bool] = []  # whether a node's output may be
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        reads_blocks = any(in_blocks[source] for source, *_ in node["inputs"])
        in_blocks.append(node["op"] in MAKES_BLOCKS or (reads_blocks and node["op"] not in MAKES_PLAIN))
        if node["op"] in SOFTMAXES and reads_blocks and node.get("attrs", {}).get("axis", "-1") in LAST_AXES:
            everything = {"axis": "-1", "begin": "0", "end": "None"}
            plain = {"op": PLAIN, "name": f"{node['name']}_plain", "attrs": everything, "inputs": inputs[:1]}
            inputs[0] = [len(nodes), 0, 0]
            nodes.append(plain)
        place.append(len(nodes))
        nodes.append({**node, "inputs": inputs})
    if len(nodes) == len(graph["nodes"]):
        return symbol
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(nodes, heads, graph.get("attrs", {}))
