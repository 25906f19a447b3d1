"""Operators that MXNet would make one of, kept apart: for speed by default, or where MXNet cannot bind what it has made.

MXNet makes one operator of a convolution or fully connected layer and of what follows it. An operator that passes its input on
is put between two that are to stay apart.

*Slow ones.* Where the filters of a group are no multiple of 8, oneDNN takes its gemm convolution, which applies the activation
value by value, by calls of the C library; apart it is vectorized. Measured on a CPU with AVX-512: 396 against 93 µs an image
for LeNet, of 20 and 50 filters with tanh. With a multiple of 8 the fused kernels are faster: 19 against 27 µs for 24 filters
with relu. This is a rule on the graph alone, never on a time: bytes must be a function of the row, the model, the CPU and the
versions.

*All of them.* MXNet 1.9.1 fails to bind a sum whose second term is a convolution, and whose first is what that was computed
from. Apart, all is computed as with ``MXNET_SUBGRAPH_BACKEND=NONE``, to the bit.
"""

from __future__ import annotations

import json
from typing import Any, Callable

from ...models.graph import write_graph

Node = dict[str, Any]

# The operator that passes its input on.
APART = "BlockGrad"
# What MXNet fuses with a convolution before it; and what, beside a BatchNorm, may be between the two.
ACTIVATIONS = {"Activation", "LeakyReLU", "clip", "relu", "sigmoid", "tanh"}
SUMS = {"elemwise_add", "_add", "_plus", "_Plus"}
# The fewest filters that oneDNN's kernels compute at a time, on any CPU with AVX2 or AVX-512.
FILTERS = 8
# What MXNet fuses with what follows it.
FUSED = {"Convolution", "FullyConnected", "BatchNorm"}


def take_slow_apart(symbol: str) -> str:
    """The graph with activations apart from convolutions of oneDNN's gemm kind; the same text where there is none.

    Args:
        symbol: a graph, as MXNet of this version prints it.
    """

    def is_slow(nodes: list[Node], node: Node, place: int, source: int) -> bool:
        return node["op"] in ACTIVATIONS and place == 0 and _follows_gemm(nodes, source)

    return _take_apart(symbol, is_slow)


def take_all_apart(symbol: str) -> str:
    """The graph without anything that MXNet fuses; the same text where there is nothing.

    Args:
        symbol: a graph, as MXNet of this version prints it.
    """
    return _take_apart(symbol, lambda nodes, _, __, source: nodes[source]["op"] in FUSED)


def _take_apart(symbol: str, is_apart: Callable[[list[Node], Node, int, int], bool]) -> str:
    graph = json.loads(symbol)
    nodes: list[Node] = []
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        for number, entry in enumerate(inputs):
            if node["op"] != APART and is_apart(nodes, node, number, entry[0]):
                inputs[number] = [len(nodes), 0, 0]
                nodes.append({"op": APART, "name": f"{node['name']}_apart{number}", "inputs": [entry]})
        place.append(len(nodes))
        nodes.append({**node, "inputs": inputs})
    if len(nodes) == len(graph["nodes"]):
        return symbol
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(nodes, heads, graph["attrs"])


def _follows_gemm(nodes: list[Node], number: int) -> bool:
    """Whether a node is a convolution of the gemm kind, or a BatchNorm, a sum, or both, behind one."""
    node = nodes[number]
    if node["op"] in SUMS:
        return any(_is_gemm(nodes, source) for source, *_ in node["inputs"])
    return _is_gemm(nodes, number)


def _is_gemm(nodes: list[Node], number: int) -> bool:
    node = nodes[number]
    if node["op"] == "BatchNorm":
        node = nodes[node["inputs"][0][0]]
    if node["op"] != "Convolution":
        return False
    attributes = node.get("attrs", {})
    filters, groups = int(attributes["num_filter"]), int(attributes.get("num_group", 1))
    # Of a depthwise convolution, which has a filter a group, kernels compute several groups at a time.
    return (filters if groups == filters else filters // groups) % FILTERS != 0
