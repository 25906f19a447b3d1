"""A graph is checked whole; what MXNet gets is what was checked, and means the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.graph import choose_output, read_graph, show_value
from fastinfer.models.module import load_model
from tests import networks
from tests.networks import mx

Change = Callable[[dict[str, Any]], object]


def small() -> dict[str, Any]:
    """data -> Flatten -> FullyConnected."""
    nodes: list[dict[str, Any]] = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "Flatten", "name": "flat", "inputs": [[0, 0, 0]]},
        {"op": "null", "name": "weight", "attrs": {"__dtype__": "0"}, "inputs": []},
        {"op": "null", "name": "bias", "inputs": []},
        {
            "op": "FullyConnected",
            "name": "fc",
            "attrs": {"num_hidden": "2"},
            "inputs": [[1, 0, 0], [2, 0, 0], [3, 0, 0]],
        },
    ]
    version = {"mxnet_version": ["int", 10901]}
    return {"nodes": nodes, "arg_nodes": [0, 2, 3], "node_row_ptr": [0, 1, 2], "heads": [[4, 0, 0]], "attrs": version}


@pytest.mark.parametrize("network", [networks.mlp, networks.convolution, networks.segmentation, networks.scalar])
def test_the_graph_that_mxnet_gets_is_the_one_that_was_saved(network: Callable[[], tuple[Any, Any]]) -> None:
    symbol = network()[0]
    graph = read_graph(symbol.tojson(), "x")
    assert mx.sym.load_json(graph.text).tojson() == symbol.tojson()
    assert list(graph.variables) == symbol.list_inputs()
    assert list(graph.outputs) == symbol.list_outputs()
    assert graph.version == 10901


def test_graphs_of_old_versions_are_read() -> None:
    graph = small()
    del graph["attrs"]
    graph["nodes"][4]["param"] = graph["nodes"][4].pop("attrs")
    graph["nodes"][2] = {"op": "null", "name": "weight", "param": {}, "attr": {"lr_mult": "2"}, "inputs": []}
    for node in graph["nodes"]:
        node["backward_source_id"] = -1
        node["inputs"] = [entry[:2] for entry in node["inputs"]]
    read = mx.sym.load_json(read_graph(json.dumps(graph), "x").text)
    assert read.tojson() == mx.sym.load_json(json.dumps(graph)).tojson()
    assert read.list_arguments() == ["data", "weight", "bias"]


def test_states_that_mxnet_adds_to_graphs_of_old_versions_are_variables() -> None:
    names = ("data", "bn_gamma", "bn_beta", "gamma", "beta")
    nodes: list[dict[str, Any]] = [{"op": "null", "name": name, "inputs": []} for name in names]
    nodes.append({"op": "BatchNorm", "name": "bn", "inputs": [[0, 0], [1, 0], [2, 0]]})
    nodes.append({"op": "BatchNorm", "name": "", "inputs": [[5, 0], [3, 0], [4, 0]]})
    graph = {"nodes": nodes, "arg_nodes": [0, 1, 2, 3, 4], "heads": [[6, 0]]}
    read = read_graph(json.dumps(graph), "x")
    assert sorted(read.variables) == sorted(mx.sym.load_json(read.text).list_inputs())
    assert list(read.variables)[5:] == ["bn_moving_mean", "bn_moving_var", "moving_mean", "moving_var"]
    graph["attrs"] = {"mxnet_version": ["int", 10901]}
    assert list(read_graph(json.dumps(graph), "x").variables) == list(names)


def test_labels_are_the_second_inputs_of_losses() -> None:
    graph = read_graph(networks.linear()[0].tojson(), "x")
    assert graph.zeros == {"regression_label"}


def test_initial_states_and_labels_of_any_loss_may_be_zero() -> None:
    cell = mx.rnn.FusedRNNCell(3, mode="lstm", prefix="lstm_", get_next_state=False)
    states = cell.begin_state(func=mx.sym.var)
    hidden, _ = cell.unroll(2, mx.sym.var("data"), begin_state=states, layout="TNC", merge_outputs=True)
    loss = mx.sym.MakeLoss(mx.sym.square(hidden - mx.sym.var("target_label")))
    graph = read_graph(loss.tojson(), "x")
    assert graph.zeros == {"target_label", *(state.name for state in states)}
    assert set(graph.variables) - graph.zeros == {"data", "lstm_parameters"}


@pytest.mark.parametrize("name", ["relu0", "relu0_output"])
def test_an_output_inside_the_graph_can_be_chosen(name: str) -> None:
    first = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="first")
    last = mx.sym.FullyConnected(mx.sym.relu(first, name="relu0"), num_hidden=2, name="last")
    graph = choose_output(read_graph(last.tojson(), "x"), name, "x")
    symbol = mx.sym.load_json(graph.text)
    assert symbol.list_outputs() == list(graph.outputs) == ["relu0_output"]
    assert symbol.list_arguments() == list(graph.variables) == ["data", "first_weight", "first_bias"]


def test_of_several_outputs_one_is_chosen_by_its_name() -> None:
    parts = mx.sym.split(mx.sym.var("data"), num_outputs=3, name="parts")
    graph = read_graph(mx.sym.Group([parts[2], parts[0]]).tojson(), "x")
    assert graph.outputs == ("parts_output2", "parts_output0")
    assert choose_output(graph, "parts_output2", "x").outputs == ("parts_output2",)
    with pytest.raises(ModelError, match="the graph has no output 'parts_output1'") as caught:
        choose_output(graph, "parts_output1", "x")
    assert caught.value.code == "no_such_output"
    assert caught.value.hint == "its outputs are parts_output2, parts_output0"


def test_a_name_of_several_outputs_is_refused(tmp_path: Path) -> None:
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
    symbol = mx.sym.Group([layer, mx.sym.relu(layer, name="fc"), mx.sym.tanh(layer, name="t")])
    graph = read_graph(symbol.tojson(), "x")
    assert choose_output(graph, "t_output", "x").outputs == ("t_output",)
    for name in ("fc", "fc_output"):
        with pytest.raises(ModelError, match=f"several outputs have the name '{name}'") as caught:
            choose_output(graph, name, "x")
        assert caught.value.code == "no_such_output"
    folder = networks.write(tmp_path, symbol, {"data": (2,)})
    with pytest.raises(ModelError, match="several outputs have the name 'fc_output'"):
        load_model(folder, output="all")


def test_names_need_not_be_ascii() -> None:
    graph = small()
    graph["nodes"][4]["name"] = 'é "quoted"\n\\'
    assert mx.sym.load_json(read_graph(json.dumps(graph), "x").text).list_outputs() == ['é "quoted"\n\\_output']


def test_what_mxnet_need_not_know_does_not_reach_it() -> None:
    graph = small()
    graph["arg_nodes"], graph["node_row_ptr"] = [99, -1], [2**40]  # MXNet follows these without a look
    assert read_graph(json.dumps(graph), "x").text == read_graph(json.dumps(small()), "x").text


def node(number: int, **changes: Any) -> Change:
    return lambda graph: graph["nodes"][number].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: graph.pop("nodes"), "its nodes are 'None', expected a list"),
        (lambda graph: graph.update(nodes=3), "its nodes are '3', expected a list"),
        (
            lambda graph: graph.update(libraries=["x.so"]),
            "it has the key 'libraries', expected nodes, arg_nodes, heads, node_row_ptr, attrs",
        ),
        (lambda graph: graph.update(nodes=[3]), "node 0 is '3', expected an object"),
        (lambda graph: graph.update(heads=[]), "it has no output"),
        (lambda graph: graph.update(heads=[[4, -1, 0]]), "the graph's outputs name"),
        (lambda graph: graph.update(heads=[[4, 2**31, 0]]), "the graph's outputs name"),
        (lambda graph: graph.update(heads=[[5, 0, 0]]), "'[5, 0, 0]', expected [node, output] of an earlier node"),
        (lambda graph: graph.update(heads=[[4, 0, 2**32]]), "the graph's outputs name"),
        (lambda graph: graph.update(attrs=3), "its attributes are '3', expected {"),
        (lambda graph: graph.update(attrs={"mxnet_version": ["int", 2**40]}), "its attributes are"),
        (lambda graph: graph.update(attrs={"mxnet_version": 10901}), "its attributes are"),
        (node(1, inputs=[[1, 0, 0]]), "the inputs of node 1 ('flat') name '[1, 0, 0]'"),
        (node(1, inputs=[[-1, 0, 0]]), "expected [node, output] of an earlier node"),
        (node(1, inputs=[[0, 2147483648, 0]]), "expected [node, output] of an earlier node"),
        (node(1, inputs=[[0.0, 0, 0]]), "expected [node, output] of an earlier node"),
        (node(1, inputs=[[True, 0, 0]]), "expected [node, output] of an earlier node"),
        (node(1, inputs=[[0]]), "expected [node, output] of an earlier node"),
        (node(1, inputs="abc"), "the inputs of node 1 ('flat') are"),
        (node(1, op=3), "the op of node 1 is '3', expected text of at most 1,024 characters"),
        (node(1, name=["a"]), "the name of node 1 is"),
        (node(1, name="a\0b"), "the name of node 1 is"),
        (node(1, name="\ud800"), "the name of node 1 is"),
        (node(1, name="a" * 5000), "the name of node 1 is"),
        (node(1, other=1), "node 1 has the key 'other', expected op, name, inputs"),
        (node(1, op="_Native", attrs={"info": "0x4141414141414141"}), "has the operator '_Native', which is not"),
        (node(1, op="_NDArray", attrs={"info": "0x4141414141414141"}), "has the operator '_NDArray', which is not"),
        (node(1, op="Custom", attrs={"op_type": "x"}), "has the operator 'Custom', which is not"),
        (node(1, op="_sg_mkldnn_conv", subgraphs=[{}]), "has the operator '_sg_mkldnn_conv', which is not"),
        (node(1, subgraphs=[{}]), "has graphs or dependencies of its own"),
        (node(1, control_deps=[9]), "has graphs or dependencies of its own"),
        (node(2, inputs=[[0, 0, 0]]), "is an input of the graph and has inputs itself"),
        (node(2, name="data"), "two inputs have the name 'data'"),
        (node(4, attrs={"num_hidden": 2}), "the attribute 'num_hidden' of node 4 ('fc') is '2', expected text"),
        (node(4, attrs={"num_hidden": "\1"}), "expected text of at most 65,536 characters"),
        (node(4, attrs={"num_hidden": "2" * 100_000}), "expected text of at most 65,536 characters"),
        (node(4, attrs=[1]), "the attributes of node 4 ('fc') are '[1]', expected an object"),
        (node(4, attr={"a": "b"}), "has two groups of attributes"),
        (
            node(1, op="split", attrs={"num_outputs": "0"}),
            "node 1 ('flat') (split) cannot be run: its num_outputs is '0'",
        ),
    ],
)
def test_what_mxnet_would_follow_without_a_look_is_refused(change: Change, words: str) -> None:
    graph = small()
    change(graph)
    with pytest.raises(ModelError) as caught:
        read_graph(json.dumps(graph), "model/model-symbol.json")
    assert (caught.value.code, caught.value.path) == ("bad_model", "model/model-symbol.json")
    assert words in str(caught.value)


@pytest.mark.parametrize("operator", ["_foreach", "_while_loop", "_cond"])
def test_who_has_loops_or_conditions_is_told_to_unroll_them(operator: str) -> None:
    graph = small()
    graph["nodes"][1].update(op=operator, subgraphs=[{}])
    with pytest.raises(ModelError, match="expected a graph without loops and conditions") as caught:
        read_graph(json.dumps(graph), "x")
    assert "'flat'" in str(caught.value)
    assert caught.value.hint is not None
    assert "unroll the loop" in caught.value.hint


def test_a_value_is_shown_however_deep_it_is() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert show_value(value) == "a deeply nested value"
    assert show_value([1]) == "'[1]'"


def test_a_normalization_of_another_axis_behind_a_convolution_is_refused() -> None:
    data = mx.sym.Convolution(mx.sym.var("data"), num_filter=8, kernel=(3, 3))
    for axis in (2, -1):
        with pytest.raises(ModelError, match="follows a Convolution and normalizes axis"):
            read_graph(mx.sym.BatchNorm(data, axis=axis).tojson(), "x")
        read_graph(mx.sym.BatchNorm(mx.sym.relu(data), axis=axis).tojson(), "x")
    read_graph(mx.sym.BatchNorm(data, axis=1).tojson(), "x")


def test_a_graph_has_a_limit() -> None:
    graph = {"nodes": [{"op": "null", "name": "a", "inputs": []}] * 100_001, "heads": [[0, 0, 0]]}
    with pytest.raises(ModelError, match="it has 100,001 nodes"):
        read_graph(json.dumps(graph), "x")


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, '{"nodes": ' + "[" * 900 + "]" * 900 + "}", "1" * 5000])
def test_what_is_no_graph_at_all_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="is not a graph that can be served"):
        read_graph(text, "x")
