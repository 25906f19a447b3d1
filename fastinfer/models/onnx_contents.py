"""What a file in ONNX says, for people to read: inputs, outputs, saved values and operators, without a framework."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from ..errors import quote
from .certificate import describe_certificate
from .onnx import DENSE, DIMENSIONS_LIMIT, OnnxModel, Reader
from .onnx_schema import MODEL, NODE, SPARSE_TENSOR, TENSOR
from .protobuf import Field, integers, text

# ONNX's types of saved values, by their numbers: NumPy's name, or ONNX's where NumPy has none; and the bits of a value.
TYPES = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8),
    19: ("float8e5m2", 8),
    20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
}


def describe_onnx(model: OnnxModel) -> dict[str, Any]:
    """A model in ONNX as a dictionary that is JSON.

    Returns:
        path; format: ``onnx``; producer: the program that wrote it, or None; ir_version; opsets: the version of each set of
        operators, "" for ONNX's own; inputs: name, shape of one record (None: open) and type of each; batch: how many
        records it takes at a time, None for any; record_values, None where it is not known; outputs: their names;
        parameters: name, shape and type of all that is saved; values and bytes of all of them; operators: how many nodes
        each has, those of inner graphs included; metadata: what else was written into it; certificate: what is known of it.
    """
    found = _Contents(model.content, model.path, {each.name: each.shape for each in model.graph_inputs})
    found.read()
    sizes = [math.prod(each["shape"]) for each in found.parameters]
    return {
        "path": model.path,
        "format": "onnx",
        **found.header(),
        "inputs": [
            {"name": each.name, "shape": [size or None for size in each.shape], "type": each.type}
            for each in model.graph_inputs
        ],
        "batch": model.batch,
        "record_values": None if any(0 in each.shape for each in model.graph_inputs) else model.row_values,
        "outputs": [{"name": name} for name in model.output_names],
        "parameters": found.parameters,
        "values": sum(sizes),
        "bytes": sum(-(-size * bits // 8) for size, bits in zip(sizes, found.bits)),
        "operators": dict(sorted(found.operators.items())),
        "metadata": model.metadata,
        "certificate": describe_certificate(model),
    }


class _Contents(Reader):
    """Notes what it walks over."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.operators: Counter[str] = Counter()
        self.parameters: list[dict[str, Any]] = []
        self.bits: list[int] = []

    def header(self) -> dict[str, Any]:
        """What the file says of itself."""
        producer, ir_version, opsets = {}, None, {}
        for each in MODEL.fields(self._view, 0, len(self._view)):
            if each.number == 1:
                ir_version = each.value
            elif each.number in (2, 3):
                producer[each.number] = text(self._view, each)
            elif each.number == 8:
                domain, version = self._opset(each)
                opsets["" if domain == "ai.onnx" else domain] = version
        name = " ".join(part for _, part in sorted(producer.items()) if part)
        return {"producer": name or None, "ir_version": ir_version, "opsets": opsets}

    def take_node(self, node: Field, depth: int) -> None:
        super().take_node(node, depth)
        parts = {part.number: part for part in self._inside(node, NODE)}
        name, domain = (text(self._view, parts[number]) if number in parts else "" for number in (4, 7))
        self.operators[f"{domain}.{name}" if domain not in ("", "ai.onnx") else name] += 1

    def take_initializer(self, tensor: Field) -> str:
        name = super().take_initializer(tensor)
        is_dense = tensor.number == DENSE
        parts = list(self._inside(tensor, TENSOR if is_dense else SPARSE_TENSOR))
        # A sparse tensor has its values in field 1, and dimensions of its own.
        inner = [] if is_dense else [list(self._inside(part, TENSOR)) for part in parts if part.number == 1]
        values = parts if is_dense else [each for found in inner for each in found]
        dimensions = [part for part in parts if part.number == (1 if is_dense else 3)]
        kind = next((part.value for part in values if part.number == 2), 0)
        type_name, bits = TYPES.get(kind, (f"ONNX's type {kind}", 0))
        shape = [size for part in dimensions for size in integers(self._view, part)]
        if len(shape) > DIMENSIONS_LIMIT or math.prod(shape) >> 63:
            raise ValueError(f"the parameter {quote(name)} has more dimensions or values than an array can have")
        self.parameters.append({"name": name, "shape": shape, "type": type_name})
        self.bits.append(bits)
        return name
