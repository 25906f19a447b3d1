"""The translations of recurrent layers, lengths and attention give what MXNet gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ModelError
from tests.export.comparing import check, load, translated
from tests.networks import mx

pytest.importorskip("onnxruntime")


def data() -> Any:
    return mx.sym.var("data")


def steps_first() -> Any:
    return mx.sym.transpose(data(), axes=(1, 0, 2))


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_fused_layers(mode: str, layers: int, both_ways: bool) -> None:
    cell = mx.rnn.FusedRNNCell(
        4, num_layers=layers, mode=mode, bidirectional=both_ways, get_next_state=True, prefix="r_"
    )
    outputs, states = cell.unroll(5, steps_first(), layout="TNC", merge_outputs=True)
    parts = [mx.sym.transpose(part, axes=(1, 0, 2)) for part in (outputs, *states)]
    check(mx.sym.concat(*(mx.sym.flatten(part) for part in parts)), (5, 3), tolerance=1e-5)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_unrolled_cells(kind: str) -> None:
    cell = getattr(mx.rnn, kind)(4, prefix="cell_")
    check(cell.unroll(4, data(), layout="NTC", merge_outputs=True)[0], (4, 3), tolerance=5e-6)


@pytest.mark.parametrize("name", ["SequenceMask", "SequenceLast", "SequenceReverse"])
@pytest.mark.parametrize("with_lengths", [True, False])
def test_lengths(name: str, with_lengths: bool) -> None:
    parts = mx.sym.split(data(), num_outputs=2, axis=1)
    value = mx.sym.transpose(mx.sym.reshape(parts[0], shape=(0, 5, 2)), axes=(1, 0, 2))
    lengths = mx.sym.reshape(mx.sym.slice_axis(parts[1], axis=1, begin=0, end=1), shape=(-1,))
    options = {"use_sequence_length": True, "sequence_length": lengths} if with_lengths else {}
    found = getattr(mx.sym, name)(value, **options)
    if name != "SequenceLast":
        found = mx.sym.transpose(found, axes=(1, 0, 2))
    rows = np.arange(60, dtype=np.float32).reshape(3, 20)
    rows[:, 10] = [5, 2, 1]
    check(found, (20,), rows)


def test_lengths_along_the_second_axis() -> None:
    value = data()
    lengths = mx.sym.reshape(mx.sym.slice_axis(value, axis=1, begin=0, end=1), shape=(-1,))
    value = mx.sym.reshape(value, shape=(0, 5, 2))
    rows = np.arange(30, dtype=np.float32).reshape(3, 10)
    rows[:, 0] = [5, 2, 1]
    for name, options in (("SequenceMask", {"value": -7}), ("SequenceLast", {})):
        found = getattr(mx.sym, name)(value, lengths, use_sequence_length=True, axis=1, **options)
        check(found, (10,), rows)


def test_attention() -> None:
    value = mx.sym.FullyConnected(steps_first(), num_hidden=24, flatten=False)  # 2 heads, 3 parts, 4 values
    scores = mx.sym.contrib.interleaved_matmul_selfatt_qk(value, heads=2)
    found = mx.sym.contrib.interleaved_matmul_selfatt_valatt(value, mx.sym.softmax(scores), heads=2)
    check(mx.sym.transpose(found, axes=(1, 0, 2)), (5, 3), tolerance=1e-5)


def test_attention_to_another_sequence() -> None:
    whole = steps_first()
    queries = mx.sym.FullyConnected(mx.sym.slice_axis(whole, axis=0, begin=0, end=2), num_hidden=8, flatten=False)
    keys_values = mx.sym.FullyConnected(mx.sym.slice_axis(whole, axis=0, begin=2, end=5), num_hidden=16, flatten=False)
    scores = mx.sym.contrib.interleaved_matmul_encdec_qk(queries, keys_values, heads=2)
    found = mx.sym.contrib.interleaved_matmul_encdec_valatt(keys_values, mx.sym.softmax(scores), heads=2)
    check(mx.sym.transpose(found, axes=(1, 0, 2)), (5, 3), tolerance=1e-5)


def test_a_recurrent_layer_with_a_projection_is_refused_by_name() -> None:
    states = [mx.sym.zeros(shape=(1, 0, size)) for size in (2, 4)]
    layer = mx.sym.RNN(
        steps_first(), mx.sym.var("w"), *states, state_size=4, num_layers=1, mode="lstm", projection_size=2, name="rnn"
    )
    model = load(mx.sym.transpose(layer, axes=(1, 0, 2)), (5, 3))
    with pytest.raises(ModelError, match=r"rnn.*RNN.*projection"):
        translated(model)


def test_a_length_is_cut_off_to_a_whole_number() -> None:
    value = mx.sym.var("data")
    length = mx.sym.reshape(mx.sym.slice_axis(value, axis=1, begin=0, end=1), shape=(-1,))
    rows = np.array([[0.7, 1, 2, 3], [1.999, 1, 2, 3], [3, 1, 2, 3]])
    masked = mx.sym.SequenceMask(mx.sym.expand_dims(value, axis=2), length, use_sequence_length=True, axis=1)
    check(masked, (4,), rows)
