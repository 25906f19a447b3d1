"""The row-wise graph: a copy of the network for each record of a batch, all sharing the parameters.

Every record is computed exactly as at batch size 1, as in SageMaker's container, at a fraction of the cost of a loop.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from ...models.graph import write_graph


def repeat_rows(symbol: str, data_names: Sequence[str], copies: int, bools: Collection[int] = ()) -> str:
    """The graph that runs ``copies`` copies of a network, each on one record of the batch, over shared parameters.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        data_names: the inputs that are divided into records along their first axis.
        copies: records of the new graph's batch.
        bools: the numbers of the outputs of type bool, which MXNet cannot join: they are joined as uint8, of the same bytes.

    Returns:
        a graph with the outputs of the network, those of the copies one behind another along their first axis.
    """
    graph = json.loads(symbol)
    nodes = graph["nodes"]
    repeated = [node for node in nodes if node["op"] == "null"]
    place = {node["name"]: index for index, node in enumerate(repeated)}
    slices = {}
    for name in data_names:
        slices[name] = len(repeated)
        attributes = {"num_outputs": str(copies), "axis": "0", "squeeze_axis": "False"}
        inputs = [[place[name], 0, 0]]
        repeated.append({"op": "SliceChannel", "name": f"{name}_rows", "attrs": attributes, "inputs": inputs})

    heads: list[list[list[int]]] = [[] for _ in graph["heads"]]
    for copy in range(copies):
        # For each node of the original, the first of its outputs in this copy.
        entry: list[tuple[int, int]] = []

        def find(ends: list[Any], entry: list[tuple[int, int]] = entry) -> list[list[int]]:
            return [[entry[source][0], entry[source][1] + output, *version] for source, output, *version in ends]

        for node in nodes:
            name = node["name"]
            if node["op"] == "null":
                entry.append((slices[name], copy) if name in slices else (place[name], 0))
                continue
            entry.append((len(repeated), 0))
            repeated.append({**node, "name": f"{name}_row{copy}", "inputs": find(node["inputs"])})
        for number, end in enumerate(find(graph["heads"])):
            if number in bools:
                cast = {"op": "Cast", "name": f"bytes{number}_row{copy}", "attrs": {"dtype": "uint8"}, "inputs": [end]}
                end = [len(repeated), 0, 0]
                repeated.append(cast)
            heads[number].append(end)
    ends = []
    for number, inputs in enumerate(heads):
        ends.append([len(repeated), 0, 0])
        attributes = {"num_args": str(copies), "dim": "0"}
        repeated.append({"op": "Concat", "name": f"predictions{number}", "attrs": attributes, "inputs": inputs})
    return write_graph(repeated, ends, graph["attrs"])
