"""The values inside a graph in ONNX, and the file that gives them."""

from __future__ import annotations

import numpy as np
import pytest

from fastinfer.models.onnx_values import giving_all
from tests.models.test_onnx import info, make

onnx = pytest.importorskip("onnx")


def test_a_graph_gives_what_its_nodes_compute_of_its_inputs() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Neg", ["w"], ["of saved values alone"]),
        node("MatMul", ["x", "of saved values alone"], ["h"]),
        node("Dropout", ["h"], ["d", ""]),
        node("Split", ["d"], ["left", "right"], axis=1),
        node("Relu", ["right"], ["y" * 200]),
    ]
    weight = onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    content = make([info("x", ["n", 3])], [info("left", ["n", 2])], nodes, [weight])
    given, names = giving_all(content, ["x"])
    assert names == ["h", "d", "left", "right", "y" * 200]
    found = onnx.load_from_string(given)
    assert [each.name for each in found.graph.output] == ["left", "h", "d", "right", "y" * 200]
    del found.graph.output[1:]
    assert found == onnx.load_from_string(content)
