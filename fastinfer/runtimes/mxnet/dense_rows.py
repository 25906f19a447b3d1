"""A graph of few rows whose fully connected layers are computed on more, for the bits that those have in larger batches.

oneDNN sums the products of a fully connected layer in one order for one row, in another for a few, in a third for many (on
AVX-512 for 1, for 2 to 15, and from 16 rows on). All else mostly has the same bits at any number. So where two rows have the
bits of the default mode and one has not, one row needs not cost two: its layers are given the row twice, and only they.
"""

from __future__ import annotations

import json
from typing import Any

from ...models.graph import write_graph

DENSE = "FullyConnected"


def repeat_dense_rows(symbol: str, times: int) -> str:
    """The graph in which each fully connected layer is given its rows several times over, and the first of its results is used.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        times: how often.
    """
    graph = json.loads(symbol)
    nodes: list[dict[str, Any]] = []
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        node = {**node, "inputs": [[place[source], *rest] for source, *rest in node["inputs"]]}
        if node["op"] == DENSE:
            name, rows = node["name"], node["inputs"][0]
            attributes = {"num_args": str(times), "dim": "0"}
            nodes.append({"op": "Concat", "name": f"{name}_repeated", "attrs": attributes, "inputs": [rows] * times})
            nodes.append({**node, "inputs": [[len(nodes) - 1, 0, 0], *node["inputs"][1:]]})
            ends = [[len(nodes) - 1, 0, 0], rows]
            node = {"op": "slice_like", "name": f"{name}_first", "attrs": {"axes": "(0,)"}, "inputs": ends}
        place.append(len(nodes))
        nodes.append(node)
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(nodes, heads, graph["attrs"])
