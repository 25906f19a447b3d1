"""Operators that MXNet would make one of, kept apart: for speed by default, or where MXNet computes or binds it wrongly.

MXNet makes one operator of a convolution or fully connected layer and of what follows it. An operator that passes its input on
is put between two that are to stay apart.

*Slow ones.* Where the filters of a group are no multiple of 8, oneDNN takes its gemm convolution, which applies the activation
value by value, by calls of the C library; apart it is vectorized. Measured on a CPU with AVX-512: 396 against 93 µs an image
for LeNet, of 20 and 50 filters with tanh. With a multiple of 8 the fused kernels are faster: 19 against 27 µs for 24 filters
with relu. This is a rule on the graph alone, never on a time: bytes must be a function of the row, the model, the CPU and the
versions.

*Shared ones.* MXNet 1.9.1 makes one operator of a layer and its activation also where something else reads the layer, or where
it is an output itself: that is then given values behind the activation, or the activation is left out, and which of the two
may vary from one bind to the next.

*All of them.* MXNet 1.9.1 fails to bind a sum whose second term is a convolution, and whose first is what that was computed
from. Apart, all is computed as with ``MXNET_SUBGRAPH_BACKEND=NONE``, to the bit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from typing import Any, Callable

from ...errors import quote
from ...models.graph import write_graph

Node = dict[str, Any]
Apart = Callable[[list[Node], Node, int, int], bool]

# The operator that passes its input on.
APART = "BlockGrad"
# What MXNet fuses with a convolution before it.
ACTIVATIONS = {"Activation", "LeakyReLU", "clip"}
# What, beside a BatchNorm, may be between the two.
SUMS = {"elemwise_add", "_add", "_plus", "_Plus"}
# What MXNet fuses with what follows it.
FUSED = {"Convolution", "FullyConnected", "BatchNorm"}
# The fewest filters that oneDNN's kernels compute at a time, on any CPU with AVX2 or AVX-512.
FILTERS = 8
# The operators that MXNet fuses with one of these before them.
BEHIND = {
    "Convolution": {*ACTIVATIONS, *SUMS, "BatchNorm"},
    "BatchNorm": {*ACTIVATIONS, *SUMS},
    "FullyConnected": {*ACTIVATIONS, "abs", "exp", "sqrt", "square"},
    **dict.fromkeys(SUMS, ACTIVATIONS),
}


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


def take_shared_apart(symbol: str) -> str:
    """The graph with layers apart from what follows them where something else reads them too; the same text without such.

    Args:
        symbol: a graph, as MXNet of this version prints it.
    """
    shared = _shared(json.loads(symbol))
    return _take_apart(symbol, lambda _, node, __, source: node["op"] in shared.get(source, ()))


def doubt_of(symbol: str) -> str | None:
    """What is to be said of a graph whose values MXNet may compute wrongly, as it fuses a layer that something else reads too.

    Row by row that was seen with activations, and with sums whose other term is no layer.

    Args:
        symbol: a graph.
    """
    graph = json.loads(symbol)
    nodes, shared = graph["nodes"], _shared(graph)
    for node in nodes:
        for source, *_ in node["inputs"]:
            others = [nodes[other]["op"] for other, *_ in node["inputs"] if other != source]
            is_fused = node["op"] not in SUMS or not FUSED.intersection(others)
            if node["op"] in shared.get(source, ()) and node["op"] != "BatchNorm" and is_fused:
                name = quote(nodes[source]["name"])
                return (
                    f"MXNet may make one operator of {name} and what follows it, although something else reads {name} too, or "
                    "it is an output: what the container gives may be wrong"
                )
    return None


def _shared(graph: dict[str, Any]) -> dict[int, Collection[str]]:
    """The layers that have several readers, an output of the graph counted as one: number to the operators fused with it."""
    nodes = graph["nodes"]
    reads = Counter(source for node in nodes for source, *_ in node["inputs"])
    reads.update(source for source, *_ in graph["heads"])
    found: dict[int, Collection[str]] = {}
    for number, count in reads.items():
        node = nodes[number]
        # A sum is fused with a convolution before it, or with what normalizes that.
        before = [nodes[source]["op"] for source, *_ in node["inputs"]]
        is_fused = node["op"] in FUSED or (node["op"] in SUMS and not {"Convolution", "BatchNorm"}.isdisjoint(before))
        if count > 1 and is_fused:
            found[number] = BEHIND[node["op"]]
    return found


def _take_apart(symbol: str, is_apart: Apart) -> str:
    return put_between(symbol, is_apart, APART, "apart")


def put_between(
    symbol: str, is_between: Apart, operator: str, suffix: str, attributes: dict[str, str] | None = None
) -> str:
    """The graph with an operator between some nodes and one of their inputs; the same text where there is none.

    Args:
        symbol: a graph.
        is_between: of all nodes, one of them, the place of an input and the number of its source: whether it is put there.
        operator: of one input and one output.
        suffix: of its name, behind that of the node, with the place of the input.
        attributes: of the operator.
    """
    graph = json.loads(symbol)
    nodes: list[Node] = []
    place: list[int] = []  # of each node of the original
    added = {"op": operator, **({"attrs": attributes} if attributes else {})}
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        for number, entry in enumerate(inputs):
            if node["op"] != operator and is_between(graph["nodes"], node, number, node["inputs"][number][0]):
                inputs[number] = [len(nodes), 0, 0]
                nodes.append({**added, "name": f"{node['name']}_{suffix}{number}", "inputs": [entry]})
        place.append(len(nodes))
        nodes.append({**node, "inputs": inputs})
    if len(nodes) == len(graph["nodes"]):
        return symbol
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(nodes, heads, graph.get("attrs", {}))


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
