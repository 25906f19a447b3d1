"""Shapes for all batch sizes; what counts in inference."""

from __future__ import annotations

import pytest

from fastinfer.export.network import is_fixed, merge_shapes, values_of
from fastinfer.export.reference import read_network
from tests import networks
from tests.export.comparing import load
from tests.networks import mx


def test_sizes_that_grow_with_the_batch_are_told_from_others() -> None:
    assert merge_shapes((3, 4), (5, 4), (3, 5), "x") == (-1, 4)
    assert merge_shapes((4, 12, 3), (4, 20, 3), (3, 5), "x") == (4, -4, 3)
    assert not is_fixed((4, -1))
    assert values_of((4, -2, 3)) == 24


@pytest.mark.parametrize(("first", "second"), [((4,), (6,)), ((3,), (3, 1)), ((9,), (25,))])
def test_a_size_that_grows_in_another_way_is_an_error(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="inner"):
        merge_shapes(first, second, (3, 5), "inner")


def test_labels_do_not_count_in_inference() -> None:
    network = read_network(load(*networks.mlp()))
    names = {node.name: number for number, node in enumerate(network.nodes)}
    assert names["softmax_label"] not in network.live
    assert names["data"] in network.live


def test_a_network_that_flattens_its_rows_says_so() -> None:
    assert read_network(load(*networks.mlp())).flattens
    assert not read_network(load(*networks.convolution())).flattens
    dense = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, flatten=False)
    assert not read_network(load(dense, (3,))).flattens


def test_which_outputs_are_read() -> None:
    mean, variance = mx.sym.moments(mx.sym.var("data"), axes=(1,))
    network = read_network(load(variance, (3,)))
    ((number, _),) = network.heads
    assert not network.is_read((number, 0))
    assert network.is_read((number, 1))
    assert network.is_read(network.nodes[number].inputs[0])
    assert read_network(load(mean + variance, (3,))).is_read((number, 0))
