"""Arrays without values that are reshaped, found before MXNet divides by their number.

A Reshape of few values to ``(-1, 9)`` gives an array of no rows. One behind it that infers a size from a size that it copies,
as ``(0, -1)`` does, divides by zero, which ends the process. The reduction of an array without values is an error that MXNet
raises itself, so a graph that could divide so has its shapes inferred with a reduction of what is reshaped first.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ...models.graph import write_graph

RESHAPES = {"Reshape", "reshape"}
# What is inferred; and what is 0 of an array without values: a copied or joined size, and a part of a split one.
INFERRED, COPIED = {-1}, {0, -2, -3, -4}


def reduce_reshaped(symbol: str) -> str | None:
    """The graph that reduces what is reshaped before it is; None where no Reshape could divide by zero.

    Args:
        symbol: a graph, as MXNet of this version prints it.
    """
    if "eshape" not in symbol:
        return None
    graph = json.loads(symbol)
    reductions = [
        {"op": "max", "name": f"reduced{number}", "inputs": node["inputs"][:1], "attrs": {}}
        for number, node in enumerate(graph["nodes"])
        if node["op"] in RESHAPES and _divides(node.get("attrs", {}))
    ]
    if not reductions:
        return None
    nodes = [*graph["nodes"], *reductions]
    # MXNet infers shapes in the order of these.
    heads = [[number, 0, 0] for number in range(len(graph["nodes"]), len(nodes))] + graph["heads"]
    return write_graph(nodes, heads, graph["attrs"])


def find_empty(symbol: str, message: str) -> str | None:
    """The name of the Reshape of whose input an error of MXNet is; None for other errors.

    Args:
        symbol: the graph that :func:`reduce_reshaped` was given.
        message: of the error.
    """
    found = re.search(r"Error in operator reduced([0-9]+):", message)
    name: str | None = json.loads(symbol)["nodes"][int(found[1])]["name"] if found else None
    return name


def _divides(attributes: dict[str, Any]) -> bool:
    sizes = {int(size) for size in re.findall("-?[0-9]+", attributes.get("shape", ""))}
    # An older form: the first size is copied, and a 0 is inferred.
    return bool(sizes & INFERRED and sizes & COPIED) or "target_shape" in attributes
