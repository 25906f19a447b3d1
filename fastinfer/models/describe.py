"""What the files of a model say: its inputs, outputs, parameters and operators, without its framework."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from .module import Model
from .params import BYTES


def describe(model: Model) -> dict[str, Any]:
    """A model as a dictionary that is JSON.

    Returns:
        path, symbol, params, shapes: the files; epoch; mxnet: the version that saved it, or None; inputs: name and shape of
        one record each, of a model whose inputs are not known those that they may be, without shapes; record_values, None
        where it is not known; outputs: their names; parameters: name, shape and type of each; values and bytes of all of
        them; unused: those that the graph does not have; zeros: variables without values that may be zero; missing: others;
        operators: how many nodes each has; has_code.
    """
    nodes = json.loads(model.graph.text)["nodes"]
    operators = Counter(node["op"] for node in nodes if node["op"] != "null")
    inputs = {each.name for each in model.inputs}
    absent = [name for name in model.graph.variables if name not in model.arrays and name not in inputs]
    return {
        "path": model.path,
        "symbol": model.files.symbol,
        "params": model.files.params,
        "shapes": model.files.shapes,
        "epoch": model.files.epoch,
        "mxnet": version_text(model.graph.version),
        "inputs": [{"name": each.name, "shape": list(each.shape)} for each in model.inputs]
        or [{"name": name, "shape": None} for name in absent if name not in model.graph.zeros],
        "record_values": model.row_values if model.inputs else None,
        "outputs": [{"name": name} for name in model.graph.outputs],
        "parameters": [
            {"name": name, "shape": list(array.shape), "type": array.type} for name, array in model.arrays.items()
        ],
        "values": sum(math.prod(array.shape) for array in model.arrays.values()),
        "bytes": sum(math.prod(array.shape) * BYTES[array.type] for array in model.arrays.values()),
        "unused": [name for name in model.arrays if name not in model.graph.variables],
        "zeros": [name for name in absent if name in model.graph.zeros],
        "missing": [name for name in absent if name not in model.graph.zeros and model.inputs],
        "operators": dict(sorted(operators.items())),
        "has_code": model.has_code,
    }


def version_text(version: int | None) -> str | None:
    """MXNet's version of its number: 10901 is 1.9.1."""
    return None if version is None else f"{version // 10000}.{version // 100 % 100}.{version % 100}"
