"""MXNet's symbols and arrays through its C API, held against those of its Python package."""

from __future__ import annotations

import numpy as np
import pytest

from fastinfer.runtimes.mxnet.libmxnet import MXNetError
from fastinfer.runtimes.mxnet.symbol import FLOAT32, TYPES, Array, Symbol, load_arrays
from tests import networks
from tests.networks import mx

KINDS = {name: kind for kind, (name, _) in TYPES.items()}


@pytest.mark.parametrize("network", [networks.mlp, networks.convolution, networks.scalar])
def test_a_symbol_is_that_of_the_package(network: networks.Any) -> None:
    expected, row_shape = network()
    symbol = Symbol.load(expected.tojson())
    assert symbol.to_json() == expected.tojson()
    assert symbol.arguments() == expected.list_arguments()
    assert symbol.auxiliary() == expected.list_auxiliary_states()
    assert symbol.outputs() == expected.list_outputs()
    assert symbol.inputs() == expected.list_inputs()
    assert symbol.internals().outputs() == expected.get_internals().list_outputs()
    shapes = symbol.infer_shapes({"data": (3, *row_shape)})
    assert shapes is not None
    assert tuple(shapes) == expected.infer_shape(data=(3, *row_shape))
    types = symbol.infer_types({"data": FLOAT32})
    assert types is not None
    names = [[np.dtype(each).name for each in group] for group in expected.infer_type(data=np.float32)]
    assert [[TYPES[kind][0] for kind in group] for group in types] == names


def test_what_is_not_determined_is_none() -> None:
    symbol = Symbol.load(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2).tojson())
    assert symbol.infer_shapes({}) is None
    assert symbol.infer_types({}) is None
    with pytest.raises(MXNetError):
        symbol.infer_shapes({"data": (2, 3), "fullyconnected0_weight": (5, 5, 5)})
    for text in ("{", '{"nodes": []}', ""):
        with pytest.raises(MXNetError):
            Symbol.load(text)


def test_operators_of_the_old_kind_have_their_outputs() -> None:
    split = Symbol.atomic("SliceChannel", {"num_outputs": "3", "axis": "0"})
    assert (len(split.inputs()), len(split.outputs())) == (1, 3)
    with pytest.raises(MXNetError):
        Symbol.atomic("nothing", {})


def test_names_are_unicode() -> None:
    symbol = Symbol.load(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="层").tojson())
    assert symbol.arguments() == ["data", "层_weight", "层_bias"]
    assert Symbol.load(symbol.to_json()).arguments() == symbol.arguments()


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_every_type_are_read_and_kept(kind: str, tmp_path: networks.Path) -> None:
    values = mx.nd.array([[1, 0, 1], [0, 1, 1]], dtype=kind)
    mx.nd.save(str(tmp_path / "x"), {"arg:a": values, "aux:b": mx.nd.ones((1,))})
    arrays = load_arrays((tmp_path / "x").read_bytes())
    assert list(arrays) == ["arg:a", "aux:b"]
    array = arrays["arg:a"]
    assert (array.shape, TYPES[array.kind][0]) == ((2, 3), kind)
    assert np.frombuffer(array.memory(), kind).tolist() == values.asnumpy().reshape(-1).tolist()
    zeros = Array.zeros((2, 3), KINDS[kind])
    assert not np.frombuffer(zeros.memory(), kind).any()
    other = Array.zeros((2, 3))
    if kind != "bool":
        other.copy_from(array)
        assert other.memory().tolist() == [1, 0, 1, 0, 1, 1]


def test_a_file_that_is_cut_is_an_error(tmp_path: networks.Path) -> None:
    mx.nd.save(str(tmp_path / "x"), {"arg:a": mx.nd.ones((5, 5))})
    with pytest.raises(MXNetError):
        load_arrays((tmp_path / "x").read_bytes()[:50])
    mx.nd.save(str(tmp_path / "empty"), [])
    assert load_arrays((tmp_path / "empty").read_bytes()) == {}
