"""A model's inputs and their shapes: as the user says, as its files say, or asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastinfer.errors import ConfigError, FastinferError, ModelError
from fastinfer.models.graph import Graph, choose_output, read_graph
from fastinfer.models.inputs import Input, find_inputs
from fastinfer.models.params import Array
from tests.networks import mx


def graph_of(symbol: Any) -> Graph:
    return read_graph(symbol.tojson(), "x")


def dense(data: Any) -> Any:
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(data, num_hidden=3, name="fc"), name="softmax")


FC = {"fc_weight": Array((3, 784), "float32"), "fc_bias": Array((3,), "float32")}


def find(symbol: Any, saved: Any = None, arrays: Any = FC, **choice: Any) -> dict[str, tuple[int, ...]]:
    return {each.name: each.shape for each in find_inputs(graph_of(symbol), arrays, saved, "x", **choice)}


def pair() -> Any:
    return mx.sym.elemwise_mul(mx.sym.var("user"), mx.sym.var("item"))


@pytest.mark.parametrize(
    ("network", "saved", "choice", "inputs"),
    [
        (lambda: dense(mx.sym.var("data")), {"data": (1, 28, 28)}, {}, {"data": (1, 28, 28)}),
        (lambda: dense(mx.sym.var("data")), {"data": (1, 28, 28)}, {"shapes": {"": (784,)}}, {"data": (784,)}),
        (lambda: dense(mx.sym.var("data")), None, {"shapes": {"data": (1, 28, 28)}}, {"data": (1, 28, 28)}),
        # From the variable itself; its batch may be unknown.
        (lambda: dense(mx.sym.var("data", shape=(0, 1, 28, 28))), None, {}, {"data": (1, 28, 28)}),
        # From the weights that read it.
        (lambda: dense(mx.sym.var("data")), None, {}, {"data": (784,)}),
        (lambda: dense(mx.sym.flatten(mx.sym.var("x"))), None, {}, {"x": (784,)}),
        # Several, in the order of the model's shapes or of the user.
        (pair, {"user": (2,), "item": (2,)}, {}, {"user": (2,), "item": (2,)}),
        (pair, {"user": (2,), "item": (2,)}, {"columns": {"item": 2, "user": 2}}, {"item": (2,), "user": (2,)}),
        (pair, None, {"columns": {"item": 2, "user": 2}}, {"item": (2,), "user": (2,)}),
        (pair, None, {"columns": {"item": 6, "user": 6}, "shapes": {"user": (2, 3)}}, {"item": (6,), "user": (2, 3)}),
        (pair, None, {"shapes": {"user": (1,), "item": (1,)}}, {"user": (1,), "item": (1,)}),
    ],
)
def test_inputs_and_shapes_are_found(network: Any, saved: Any, choice: Any, inputs: dict[str, Any]) -> None:
    found = find(network(), saved, **choice)
    assert found == inputs
    assert list(found) == list(inputs)


@pytest.mark.parametrize(
    ("network", "saved", "choice", "code", "words"),
    [
        (
            lambda: mx.sym.relu(mx.sym.var("data")),
            None,
            {},
            "unknown_shape",
            "the shape of the input 'data' is not known",
        ),
        (
            lambda: mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc", flatten=False),
            None,
            {},
            "unknown_shape",
            "",
        ),
        (pair, None, {}, "unknown_inputs", "these variables have no saved values: user, item. Hint: name the inputs"),
        (
            lambda: mx.sym.broadcast_add(mx.sym.var("fc_weight"), mx.sym.var("fc_bias")),
            None,
            {},
            "unknown_inputs",
            "all variables have saved values",
        ),
        (lambda: dense(mx.sym.var("data")), {"other": (2,)}, {}, "bad_model", "its shapes name the input 'other'"),
        (
            lambda: dense(mx.sym.var("data")),
            None,
            {"columns": {"other": 2}},
            "bad_model",
            "no use for the input 'other', which the graph does not have",
        ),
        (
            pair,
            {"user": (2,), "item": (2,)},
            {"shapes": {"": (2,)}},
            "bad_option",
            "a shape without a name is for one input; the model has user, item",
        ),
        (
            pair,
            {"user": (2,), "item": (2,)},
            {"shapes": {"x": (2,)}},
            "bad_option",
            "the shape of 'x' is given, but the inputs are user, item",
        ),
        (
            pair,
            {"user": (2,), "item": (2,)},
            {"columns": {"user": 1, "item": 2}},
            "bad_option",
            "'user' has the shape (2,), 2 values; 1 columns are given to it",
        ),
    ],
)
def test_what_is_not_known_is_asked_for(network: Any, saved: Any, choice: Any, code: str, words: str) -> None:
    with pytest.raises(FastinferError) as caught:
        find(network(), saved, **choice)
    assert caught.value.code == code
    assert isinstance(caught.value, (ConfigError, ModelError))
    assert words in str(caught.value)


def test_a_record_has_the_values_of_all_inputs() -> None:
    assert Input("data", (2, 3)).values == 6
    assert Input("data", ()).values == 1


def test_a_layer_without_weights_says_nothing_of_its_input() -> None:
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    nodes.append({"op": "FullyConnected", "name": "fc", "attrs": {"num_hidden": "3"}, "inputs": [[0, 0, 0]]})
    graph = read_graph(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}), "x")
    with pytest.raises(ModelError) as caught:
        find_inputs(graph, FC, None, "x")
    assert caught.value.code == "unknown_shape"


def test_an_input_that_the_chosen_output_does_not_read_is_said() -> None:
    user = mx.sym.FullyConnected(mx.sym.var("user"), num_hidden=3, name="fc")
    chosen = choose_output(graph_of(user * mx.sym.var("item")), "fc", "x")
    assert find_inputs(chosen, FC, {"user": (784,)}, "x") == (Input("user", (784,)),)
    for choice in ({"saved": {"user": (784,), "item": (3,)}}, {"saved": None, "columns": {"item": 3}}):
        with pytest.raises(ConfigError, match=r"the output 'fc_output' does not depend on the input 'item'.*: user$"):
            find_inputs(chosen, FC, path="x", **choice)
