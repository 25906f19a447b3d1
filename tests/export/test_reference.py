"""What MXNet says of a model."""

from __future__ import annotations

import pytest

from fastinfer.errors import ModelError
from fastinfer.export.reference import describe, read_arrays, read_network, with_outputs
from fastinfer.runtimes import load_runtime
from tests import networks
from tests.export.comparing import load
from tests.networks import mx


def test_defaults_are_mxnets_own() -> None:
    name, defaults = describe("FullyConnected")
    assert (name, defaults["flatten"], defaults["no_bias"]) == ("FullyConnected", "1", "0")
    assert describe("Deconvolution")[1]["no_bias"] == "1"
    assert describe("BatchNorm")[1]["fix_gamma"] == "1"


def test_aliases_have_mxnets_name() -> None:
    assert [describe(alias)[0] for alias in ("concat", "reshape", "Softmax", "_plus")] == [
        "Concat",
        "Reshape",
        "SoftmaxOutput",
        "elemwise_add",
    ]


def test_shapes_and_types_of_all_values() -> None:
    symbol = mx.sym.argmax(
        mx.sym.Cast(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), dtype="float64"), axis=1
    )
    network = read_network(load(symbol, (4,)))
    shapes = {node.operator: (node.outputs[0].shape, node.outputs[0].dtype) for node in network.nodes}
    assert shapes["FullyConnected"] == ((-1, 3), "float32")
    assert shapes["Cast"] == ((-1, 3), "float64")
    assert network.head_names == (symbol.list_outputs()[0],)


def test_an_output_without_rows_is_refused() -> None:
    symbol = mx.sym.sum(mx.sym.var("data"))
    with pytest.raises(ModelError, match="row for each record"):
        read_network(load(mx.sym.reshape(symbol, shape=(1, 1)), (4,)))


def test_parameters_by_their_names() -> None:
    arrays = read_arrays(load(*networks.convolution()))
    assert arrays["convolution0_weight" if "convolution0_weight" in arrays else sorted(arrays)[0]].dtype == "float32"
    assert any(name.endswith("moving_var") for name in arrays)


def test_a_model_with_other_outputs() -> None:
    model = load(*networks.mlp())
    network = read_network(model)
    wanted = [(number, 0) for number, node in enumerate(network.nodes) if node.operator == "Activation"]
    executor = load_runtime("mxnet").bind(with_outputs(model, network, wanted), ("cpu", 0), 2)
    assert [output.shape for output in executor.outputs] == [(128,), (64,)]
