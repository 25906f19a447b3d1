"""Operators of which only another output than the first is read: MXNet would then compute none of them.

``moments``, ``LayerNorm`` and ``GroupNorm`` return at once where nobody reads their first output, and leave in the others what
happens to be in memory. So whoever reads another one reads it through an operator that takes the first one as well.
"""

from __future__ import annotations

import json
from typing import Any

from ...models.graph import write_graph

OPERATORS = {"moments", "LayerNorm", "GroupNorm"}


def read_first_outputs(symbol: str) -> str:
    """The graph in which nothing is left uncomputed; the same text where there is no such operator.

    Args:
        symbol: a graph.
    """
    graph = json.loads(symbol)
    read = [entry for node in graph["nodes"] for entry in node["inputs"]] + graph["heads"]
    first = {source for source, output, *_ in read if output == 0}
    others = {source for source, output, *_ in read if output > 0}
    affected = {source for source in others - first if graph["nodes"][source]["op"] in OPERATORS}
    if not affected:
        return symbol
    nodes: list[dict[str, Any]] = []
    place: list[int] = []  # of each node of the original; of an affected one, of the first copy of an output

    def moved(entries: list[list[int]]) -> list[list[int]]:
        return [
            [place[source] + output - 1, 0, *rest] if source in affected else [place[source], output, *rest]
            for source, output, *rest in entries
        ]

    for number, node in enumerate(graph["nodes"]):
        nodes.append({**node, "inputs": moved(node["inputs"])})
        place.append(len(nodes) - 1)
        if number in affected:
            own = len(nodes) - 1
            place[-1] = len(nodes)
            for output in range(1, max(each for source, each, *_ in read if source == number) + 1):
                # Passes both on, of whatever shapes; they have one type.
                name, inputs = f"{node['name']}_output{output}_copy", [[own, output, 0], [own, 0, 0]]
                nodes.append({"op": "amp_multicast", "name": name, "inputs": inputs, "attrs": {"num_outputs": "2"}})
    return write_graph(nodes, moved(graph["heads"]), graph.get("attrs", {}))
