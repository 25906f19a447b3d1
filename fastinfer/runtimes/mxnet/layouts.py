"""Layouts of oneDNN's own that an operator reads as if they were plain, put back into plain ones before it.

A convolution leaves its output in blocks of channels, and many operators pass that on. MXNet 1.9.1 gives such memory to the
softmax of oneDNN over the last axis, which ends the process where something else reads the same output. A slice of everything
is in the plain layout and has the same bits.
"""

from __future__ import annotations

import json

from .unfused import Node, put_between

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
    in_blocks: list[bool] = []  # whether a node's output may be
    for node in json.loads(symbol)["nodes"]:
        reads_blocks = any(in_blocks[source] for source, *_ in node["inputs"])
        in_blocks.append(node["op"] in MAKES_BLOCKS or (reads_blocks and node["op"] not in MAKES_PLAIN))

    def is_misread(_: list[Node], node: Node, place: int, source: int) -> bool:
        is_last = node.get("attrs", {}).get("axis", "-1") in LAST_AXES
        return node["op"] in SOFTMAXES and place == 0 and in_blocks[source] and is_last

    return put_between(symbol, is_misread, PLAIN, "plain", {"axis": "-1", "begin": "0", "end": "None"})
