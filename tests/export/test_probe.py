"""Rows made up: several magnitudes, and indices where the input is used as such."""

from __future__ import annotations

import numpy as np

from fastinfer.export.probe import LEAST_ROWS, MOST_ROWS, POWERS, find_indices, make_rows
from fastinfer.export.reference import read_network
from tests import networks
from tests.export.comparing import load
from tests.networks import mx


def test_rows_have_several_magnitudes_and_are_the_same_each_time() -> None:
    network = read_network(load(*networks.mlp()))
    rows = make_rows(network)
    assert (rows.shape, rows.dtype) == ((MOST_ROWS, 784), np.float32)
    assert rows.tobytes() == make_rows(network).tobytes()
    largest = np.abs(rows[:-1]).max(axis=1)
    assert largest.max() <= 1
    assert largest.min() < 2.0 ** (2 - POWERS)
    assert not rows[-1].any()
    assert (rows[::3] >= 0).all()
    assert (rows[1] < 0).any()


def test_large_records_are_few() -> None:
    symbol = mx.sym.Pooling(mx.sym.var("data"), kernel=(2, 2), global_pool=True, pool_type="avg")
    assert len(make_rows(read_network(load(symbol, (3, 500, 500))))) == LEAST_ROWS


def test_indices_are_all_used() -> None:
    words = mx.sym.Embedding(mx.sym.Cast(mx.sym.var("data"), dtype="int32"), input_dim=50, output_dim=3)
    network = read_network(load(mx.sym.FullyConnected(words, num_hidden=2), (6,)))
    assert find_indices(network, network.inputs[0]) == 50
    assert set(make_rows(network).reshape(-1).tolist()) == set(range(50))


def test_an_input_that_holds_no_indices() -> None:
    network = read_network(load(*networks.convolution()))
    assert find_indices(network, network.inputs[0]) is None


def test_rows_have_equal_values_where_the_network_puts_values_in_order() -> None:
    places = mx.sym.topk(mx.sym.relu(mx.sym.var("data")), k=3)
    rows = make_rows(read_network(load(places, (40,))))
    assert max(len(set(row)) for row in rows[1::3].tolist()) <= 5
    assert min(len(set(row)) for row in rows[0:-1:3].tolist()) == 40
    assert np.abs(rows[1::3]).max() == 1


def test_rows_that_are_much_work_are_few() -> None:
    layer = mx.sym.var("data")
    for _ in range(3):
        layer = mx.sym.Convolution(layer, num_filter=64, kernel=(3, 3), pad=(1, 1))
    few = make_rows(read_network(load(layer, (3, 128, 128))))
    assert LEAST_ROWS < len(few) < 64
