"""Writes an ONNX graph: its nodes, the constants they read, and names that are all different.

Held to one version of the operators, so that the same file loads in all versions of onnxruntime that fastinfer supports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from .network import Shape, is_fixed

# onnxruntime 1.14 and later read both; Python 3.9's last is 1.19.
OPSET = 17
IR_VERSION = 8
BATCH = "batch"


@dataclass
class _Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class GraphWriter:
    """A graph that grows node by node."""

    def __init__(self) -> None:
        self._nodes: list[_Node] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[tuple[str, Shape, str]] = []
        self._names: set[str] = set()

    def name(self, wanted: str) -> str:
        """A name that nothing else has."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def add_input(self, name: str, shape: Shape, dtype: str) -> str:
        name = self.name(name)
        self._inputs.append((name, shape, dtype))
        return name

    def constant(self, values: Any, dtype: Any = None, *, name: str | None = None) -> str:
        """An array that is kept in the file; small ones of the same content are kept once."""
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
        if name is not None:
            name = self.name(name)
            self._constants[name] = array
            return name
        content = (str(array.dtype), array.shape, array.tobytes())
        if content not in self._by_content:
            self._by_content[content] = self.name("constant")
            self._constants[self._by_content[content]] = array
        return self._by_content[content]

    def emit(self, where: str, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node; returns the names of its outputs.

        Args:
            where: the part of the model that it belongs to; its outputs are named after it.
            operator: of ONNX.
            inputs: names of values; "" for one that is left out.
            outputs: how many.
            attributes: those that are None are left out.
        """
        names = [
            self.name(f"{where}/{operator}" if outputs == 1 else f"{where}/{operator}.{n}") for n in range(outputs)
        ]
        given = {name: value for name, value in attributes.items() if value is not None}
        self._nodes.append(_Node(operator, list(inputs), names, given))
        return names

    def batch_size(self) -> str:
        """The batch size of the first input, an int64 array of one value."""
        name, _, _ = self._inputs[0]
        (shape,) = self.emit("batch", "Shape", name)
        first = self.constant([0], np.int64)
        return self.emit("batch", "Gather", shape, first, axis=0)[0]

    def shape(self, shape: Shape) -> str:
        """A shape as an int64 array, computed where it depends on the batch."""
        if is_fixed(shape):
            return self.constant(list(shape), np.int64)
        batch, parts = self.batch_size(), []
        for size in shape:
            if size >= 0:
                parts.append(self.constant([size], np.int64))
            elif size == -1:
                parts.append(batch)
            else:
                parts += self.emit("batch", "Mul", batch, self.constant([-size], np.int64))
        return self.emit("batch", "Concat", *parts, axis=0)[0]

    def build(self, outputs: list[tuple[str, str, Shape, str]], *, description: str, metadata: dict[str, str]) -> Any:
        """The ONNX model (``onnx.ModelProto``), checked by ``onnx.checker``.

        Args:
            outputs: of each output the value, the name it gets, shape and type.
            description: what it is, for people.
            metadata: what it is, for programs.
        """
        import onnx
        from onnx import helper, numpy_helper

        def info(name: str, shape: Shape, dtype: str) -> Any:
            sizes = [size if size >= 0 else BATCH if size == -1 else f"{BATCH}*{-size}" for size in shape]
            return helper.make_tensor_value_info(name, onnx_type(dtype), sizes)

        named = []
        for value, wanted, shape, dtype in outputs:
            name = self.name(wanted)
            self._nodes.append(_Node("Identity", [value], [name], {}))
            named.append(info(name, shape, dtype))
        nodes = self._without_dead([each.name for each in named])
        used = {name for node in nodes for name in node.inputs}
        graph = helper.make_graph(
            [helper.make_node(n.operator, n.inputs, n.outputs, name=n.outputs[0], **n.attributes) for n in nodes],
            "fastinfer",
            [info(*given) for given in self._inputs],
            named,
            [numpy_helper.from_array(array, name) for name, array in self._constants.items() if name in used],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="fastinfer",
            producer_version=__version__,
            doc_string=description,
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _without_dead(self, wanted: list[str]) -> list[_Node]:
        """The nodes on which the outputs depend."""
        needed, kept = set(wanted), []
        for node in reversed(self._nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return kept[::-1]


def onnx_type(dtype: str) -> int:
    """ONNX's number for NumPy's type."""
    from onnx import TensorProto

    names = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16"}
    return int(getattr(TensorProto, names.get(dtype, dtype.upper())))
