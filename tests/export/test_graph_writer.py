"""ONNX graphs as they are written."""

from __future__ import annotations

import numpy as np
import onnx

from fastinfer.export.graph_writer import IR_VERSION, OPSET, GraphWriter, onnx_type


def build(writer: GraphWriter, value: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    return writer.build([(value, "out", shape, "float32")], description="a test", metadata={"key": "value"})


def test_the_versions_are_stated_and_only_the_batch_is_open() -> None:
    writer = GraphWriter()
    data = writer.add_input("data", (-1, 3), "float32")
    model = build(writer, writer.emit("node", "Relu", data)[0], (-1, 3))
    assert (model.ir_version, [each.version for each in model.opset_import]) == (IR_VERSION, [OPSET])
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert (sizes[0].dim_param, sizes[1].dim_value) == ("batch", 3)
    assert {each.key: each.value for each in model.metadata_props} == {"key": "value"}


def test_constants_are_no_inputs_and_the_same_one_is_kept_once() -> None:
    writer = GraphWriter()
    data = writer.add_input("data", (-1, 2), "float32")
    one, same = writer.constant(np.ones(2, np.float32)), writer.constant(np.ones(2, np.float32))
    assert one == same != writer.constant(np.ones(2, np.float64))
    writer.constant(np.zeros(9, np.float32), name="unused")
    total = writer.emit("n", "Add", data, one)[0]
    model = build(writer, writer.emit("n", "Add", total, same)[0], (-1, 2))
    assert [each.name for each in model.graph.input] == ["data"]
    assert [each.name for each in model.graph.initializer] == [one]


def test_names_are_all_different() -> None:
    writer = GraphWriter()
    data = writer.add_input("out", (-1, 2), "float32")
    values = [data]
    for _ in range(3):
        values += writer.emit("layer", "Relu", values[-1])
    model = build(writer, values[-1], (-1, 2))
    names = [name for node in model.graph.node for name in node.output] + [data]
    assert len(set(names)) == len(names)


def test_what_no_output_needs_is_left_out() -> None:
    writer = GraphWriter()
    data = writer.add_input("data", (-1, 2), "float32")
    writer.emit("dead", "Sigmoid", data)
    model = build(writer, writer.emit("alive", "Relu", data)[0], (-1, 2))
    assert [node.op_type for node in model.graph.node] == ["Relu", "Identity"]


def test_types() -> None:
    assert [onnx_type(name) for name in ("float32", "float64", "int64", "bool")] == [1, 11, 7, 9]
