"""Inputs, outputs and reshapes that are not there are found before MXNet goes where they would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.module import load_model
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.inner_shapes import load_symbol
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.networks import mx


def write(folder: Path, row: tuple[int, ...], *nodes: dict[str, Any], head: int = 0) -> Path:
    """A model of some nodes behind `data`, without parameters."""
    listed = [{"op": "null", "name": "data", "inputs": []}, *nodes]
    version = {"mxnet_version": ["int", 10901]}
    graph = {"nodes": listed, "arg_nodes": [0], "heads": [[len(nodes), head, 0]], "attrs": version}
    folder.mkdir(exist_ok=True)
    (folder / "model-symbol.json").write_text(json.dumps(graph))
    (folder / "model-shapes.json").write_text(json.dumps([{"name": "data", "shape": [1, *row]}]))
    mx.nd.save(str(folder / "model-0000.params"), {"arg:unused": mx.nd.zeros(1)})
    return folder


def node(op: str, inputs: list[list[int]], **attributes: str) -> dict[str, Any]:
    return {"op": op, "name": op.lower(), "attrs": attributes, "inputs": inputs}


@pytest.mark.parametrize(
    ("nodes", "head", "words"),
    [
        ([node("relu", [[0, 1, 0]])], 0, "'relu' uses output 1 of node 0, which does not have it"),
        ([node("relu", [[0, 0, 0]])], 1, "the graph's end uses output 1 of node 1"),
        ([node("split", [[0, 0, 0]], num_outputs="2")], 2, "the graph's end uses output 2 of node 1"),
        ([node("LeakyReLU", [[0, 0, 0]], act_type="rrelu")], 1, "the graph's end uses output 1 of node 1"),
        ([node("take", [[0, 0, 0]])], 0, "'take' (take) has 1 inputs, it needs 2"),
        ([node("relu", [[0, 0, 0], [0, 0, 0]])], 0, "'relu' (relu) has 2 inputs, it needs 1"),
        ([node("Concat", [[0, 0, 0]], num_args="3")], 0, "'concat' (Concat) has 1 inputs, it needs 3"),
        ([node("Reshape", [[0, 0, 0]], shape="(1,50)")], 0, "'reshape' cannot reshape (1, 4, 4) to (1, 50)"),
        ([node("tile", [[0, 0, 0]], reps="(1,100000,100000)")], 0, "gives more values than MXNet can count"),
        ([node("tile", [[0, 0, 0]], reps="(2147483648,1)")], 0, "MXNet cannot load it"),
    ],
)
def test_what_is_not_there_is_an_error(nodes: list[Any], head: int, words: str, tmp_path: Path) -> None:
    model = load_model(write(tmp_path, (4, 4), *nodes, head=head))
    with pytest.raises(ModelError) as caught:
        MXNetExecutor(model, ("cpu", 0), 1)
    assert (caught.value.code, caught.value.path) == ("bad_model", str(tmp_path))
    assert words in str(caught.value)


def test_later_outputs_that_exist_are_used(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, (4, 2), node("split", [[0, 0, 0]], num_outputs="2", axis="1"), head=1))
    executor = MXNetExecutor(model, ("cpu", 0), 1)
    rows_of(executor)[:] = range(8)
    assert predict_rows(executor).tolist() == [[4, 5, 6, 7]]


def test_a_reshape_that_fits_at_another_batch_size_alone_is_not_run(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, (4, 4), node("Reshape", [[0, 0, 0]], shape="(1,16)")))
    executor = MXNetExecutor(model, ("cpu", 0), 5)
    assert not executor.gives_a_row_each
    with pytest.raises(ModelError, match="at batch size 5 a reshape would go past its input"):
        executor.forward()
    for batch_size, row_wise in ((1, False), (5, True)):
        executor = MXNetExecutor(model, ("cpu", 0), batch_size, row_wise=row_wise)
        rows_of(executor)[:] = 1
        assert predict_rows(executor).tolist() == [[1] * 16] * batch_size


@pytest.mark.parametrize("network", [networks.mlp, networks.convolution, networks.linear, networks.segmentation])
def test_real_graphs_pass(network: Any) -> None:
    symbol = network()[0]
    assert load_symbol(symbol.tojson()).to_json() == symbol.tojson()
