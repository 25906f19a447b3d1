"""What a translation sees of its operator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fastinfer.export.attributes import Attributes
from fastinfer.export.call import Call, Untranslatable, require
from fastinfer.export.graph_writer import GraphWriter
from fastinfer.export.network import Network, Node, Value


@pytest.fixture
def writer() -> GraphWriter:
    return GraphWriter()


@pytest.fixture
def call(writer: GraphWriter) -> Call:
    empty = Attributes({}, {})
    data = Node("data", "null", empty, (), (Value((-1, 3, 4), "float32"),))
    node = Node("node", "op", Attributes({"axis": "-2"}, {}), ((0, 0),), (Value((-1, 12), "float32"),))
    network = Network((data, node), ((1, 0),), ("out",), (0,), "{}")
    return Call(network, 1, writer, {(0, 0): writer.add_input("data", (-1, 3, 4), "float32")})


def test_inputs(call: Call) -> None:
    assert (call.input(), call.shape(), call.dtype(), call.count) == ("data", (-1, 3, 4), "float32", 1)
    assert call.axis() == 1
    assert call.fixed(0, [1, 2]) == (3, 4)
    with pytest.raises(Untranslatable, match="depends on the batch"):
        call.fixed()
    with pytest.raises(Untranslatable, match="because"):
        require(False, "because")


def run(writer: GraphWriter, value: str, shape: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = writer.build([(value, "out", shape, "float32")], description="", metadata={})
    assert isinstance(model, onnx.ModelProto)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"data": rows})
    return found


def test_shapes_that_depend_on_the_batch_are_computed(call: Call, writer: GraphWriter) -> None:
    rows = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert run(writer, call.reshape(call.input(), (-3, 4)), (-3, 4), rows).shape == (6, 4)


def test_one_value_everywhere(call: Call, writer: GraphWriter) -> None:
    rows = np.zeros((5, 3, 4), np.float32)
    found = run(writer, call.filled((2, -2), 7, "float32"), (2, -2), rows)
    assert found.tolist() == [[7.0] * 10] * 2
