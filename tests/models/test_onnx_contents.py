"""What a file in ONNX says, for people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastinfer.models.onnx import read_onnx
from fastinfer.models.onnx_contents import TYPES, describe_onnx
from tests.models.test_onnx import INT64, info, make

onnx = pytest.importorskip("onnx")


def test_inputs_operators_and_all_that_is_saved() -> None:
    helper = onnx.helper
    table = onnx.numpy_helper.from_array(np.ones((5, 3), np.float16), "table")
    packed = helper.make_tensor("packed", onnx.TensorProto.INT8, [7], [0] * 7)
    values, places = (onnx.numpy_helper.from_array(each, "thin") for each in (np.ones(1, np.float32), np.zeros(1, int)))
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "inner", [], [info("r", None)])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Gelu", ["x"], ["z"], domain="com.microsoft"),
    ]
    inputs = [info("ids", [4, 2], INT64), info("x", [4, 3])]
    model = onnx.load_from_string(make(inputs, [info("y", [4, 3]), info("z", [4, 3])], nodes, [table, packed]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [6]))
    model.producer_name, model.producer_version = "pytorch", "2.9"
    found = describe_onnx(read_onnx(model.SerializeToString(), "m.onnx"))
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "path": "m.onnx",
        "format": "onnx",
        "producer": "pytorch 2.9",
        "ir_version": 8,
        "opsets": {"": 17},
        "inputs": [
            {"name": "ids", "shape": [2], "type": "int64"},
            {"name": "x", "shape": [3], "type": "float32"},
        ],
        "batch": 4,
        "record_values": 5,
        "outputs": [{"name": "y"}, {"name": "z"}],
        "parameters": [
            {"name": "table", "shape": [5, 3], "type": "float16"},
            {"name": "packed", "shape": [7], "type": "int8"},
            {"name": "thin", "shape": [6], "type": "float32"},
        ],
        "values": 28,
        "bytes": 30 + 7 + 24,
        "operators": {"If": 1, "Relu": 2, "com.microsoft.Gelu": 1},
        "metadata": {"flattens": "true"},
        "certificate": "no certificate",
    }


def test_types_are_those_of_onnx() -> None:
    for number, (name, bits) in TYPES.items():
        kind = onnx.TensorProto.DataType.Name(number).lower()
        assert {"float": "float32", "double": "float64"}.get(kind, kind) == name
        if name not in ("string", "bfloat16") and "e" not in name[5:] and "int4" not in name:
            assert np.dtype(name).itemsize * 8 == bits
