"""The row-wise graph: a copy of the network for each row of a batch, all sharing the parameters.

Every row is computed exactly as at batch size 1, as in SageMaker's container, at a fraction of the cost of a loop.
"""

from __future__ import annotations

import json
from typing import Any

from ...models.graph import write_graph


def repeat_rows(symbol: str, data_name: str, copies: int) -> str:
    """The graph that runs ``copies`` copies of a network, each on one row of the batch, over shared parameters.

    Args:
        symbol: a graph with one output, as ``Symbol.tojson()`` of this MXNet prints it.
        data_name: the input that is divided into rows along its first axis.
        copies: rows of the new graph's batch.
    """
    graph = json.loads(symbol)
    nodes = graph["nodes"]
    variables = [node for node in nodes if node["op"] == "null"]
    place = {id(node): index for index, node in enumerate(variables)}
    repeated = list(variables)
    data = next(index for index, node in enumerate(variables) if node["name"] == data_name)
    slices = len(repeated)
    attributes = {"num_outputs": str(copies), "axis": "0", "squeeze_axis": "False"}
    repeated.append({"op": "SliceChannel", "name": "rows", "attrs": attributes, "inputs": [[data, 0, 0]]})

    heads = []
    for copy in range(copies):
        # For each node of the original, the entry in this copy that reads its output.
        entry: list[Any] = []
        for node in nodes:
            if node["op"] == "null":
                index = place[id(node)]
                entry.append([slices, copy, 0] if index == data else [index, 0, 0])
                continue
            inputs = [
                [entry[source][0], entry[source][1] + output, *version]
                if entry[source][0] == slices
                else [entry[source][0], output, *version]
                for source, output, *version in node["inputs"]
            ]
            entry.append([len(repeated), 0, 0])
            repeated.append({**node, "name": f"{node['name']}_row{copy}", "inputs": inputs})
        source, output, *_ = graph["heads"][0]
        heads.append([entry[source][0], output, 0])
    attributes = {"num_args": str(copies), "dim": "0"}
    repeated.append({"op": "Concat", "name": "predictions", "attrs": attributes, "inputs": heads})
    return write_graph(repeated, [[len(repeated) - 1, 0, 0]], graph["attrs"])
