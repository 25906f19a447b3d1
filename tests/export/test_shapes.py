"""Shapes inside a graph for batches of any size."""

from __future__ import annotations

import json

import pytest

from fastinfer.export.network import Value
from fastinfer.export.shapes import Undetermined, infer_values
from fastinfer.models.module import Model
from tests.export.comparing import load
from tests.networks import mx


@pytest.fixture(scope="module")
def model() -> Model:
    layer = mx.sym.FullyConnected(mx.sym.reshape(mx.sym.var("data"), shape=(-1, 2)), num_hidden=3)
    return load(mx.sym.Cast(layer, dtype="float64"), (4,))


def test_sizes_that_grow_with_the_batch(model: Model) -> None:
    values = infer_values(model, json.loads(model.graph.text))
    assert values[-1] == (Value((-2, 3), "float64"),)
    assert values[0] == (Value((-1, 4), "float32"),)


def test_a_part_of_a_graph(model: Model) -> None:
    graph = json.loads(model.graph.text)
    assert infer_values(model, graph, last=1) == [(Value((-1, 4), "float32"),), (Value((-2, 2), "float32"),)]
    with pytest.raises(Undetermined):
        infer_values(model, graph, last=2)


def test_a_reshape_that_goes_past_its_input_is_an_error(model: Model) -> None:
    graph = json.loads(model.graph.text)
    graph["nodes"][1]["attrs"]["shape"] = "(8, 2)"
    with pytest.raises(ValueError, match=r"at batch size 3: '.*' cannot reshape \(3, 4\) to \(8, 2\)"):
        infer_values(model, graph)
