"""Translations of operators on sequences: recurrent layers, lengths, attention."""

from __future__ import annotations

import math

import numpy as np

from .call import Call, Translation, require
from .network import Shape

# By the mode of an RNN: ONNX's operator, how many gates it has, and which of MXNet's gates ONNX has in each place.
MODES: dict[str, tuple[str, int, list[int]]] = {
    "lstm": ("LSTM", 4, [0, 3, 1, 2]),
    "gru": ("GRU", 3, [1, 0, 2]),
    "rnn_tanh": ("RNN", 1, [0]),
    "rnn_relu": ("RNN", 1, [0]),
}


def recurrent(call: Call) -> list[str]:
    """The fused RNN: a layer of ONNX for each of its layers."""
    attributes = call.attributes
    mode = attributes.text("mode")
    require(attributes.is_none("projection_size"), "it has a projection")
    require(not attributes.flag("use_sequence_length"), "it has lengths")
    clips = [attributes.is_none(f"lstm_state_clip_{end}") for end in ("min", "max")]
    require(all(clips), "it clips its states")
    layers, size = attributes.integer("num_layers"), attributes.integer("state_size")
    directions = 2 if attributes.flag("bidirectional") else 1
    weights = _Weights(call, mode, layers, directions, size)
    operator = MODES[mode][0]
    options = {
        "hidden_size": size,
        "direction": "bidirectional" if directions == 2 else "forward",
        "linear_before_reset": 1 if operator == "GRU" else None,
        "activations": [{"rnn_tanh": "Tanh", "rnn_relu": "Relu"}[mode]] * directions if operator == "RNN" else None,
    }
    length, batch, _ = call.shape()
    value, hidden, cells = call.input(), [], []
    for layer in range(layers):
        first, last = layer * directions, (layer + 1) * directions
        states = [call.slice(call.input(number), 0, first, last) for number in ((2, 3) if mode == "lstm" else (2,))]
        found = call.emit_many(
            operator, value, *weights.of_layer(layer), "", *states, outputs=3 if mode == "lstm" else 2, **options
        )
        apart = call.transpose(found[0], [0, 2, 1, 3])  # (length, directions, batch, size) before
        value = call.reshape(apart, (length, batch, directions * size))
        hidden.append(found[1])
        cells += found[2:]
    results = [value]
    for states in (hidden, cells):
        if states:
            results.append(states[0] if layers == 1 else call.emit("Concat", *states, axis=0))
    return results


class _Weights:
    """The parts of the vector in which MXNet keeps the parameters of an RNN: all weights, then all biases."""

    def __init__(self, call: Call, mode: str, layers: int, directions: int, size: int) -> None:
        self._call, self._directions, self._size = call, directions, size
        _, self._gates, self._order = MODES[mode]
        self._parts: dict[tuple[str, int, int], str] = {}
        place, rows = 0, self._gates * size
        for bias in (False, True):
            for layer in range(layers):
                width = call.fixed(0, [2])[0] if layer == 0 else directions * size
                for direction in range(directions):
                    for kind, columns in (("input", width), ("state", size)):
                        shape: Shape = (rows,) if bias else (rows, columns)
                        part = call.slice(call.input(1), 0, place, place + math.prod(shape))
                        self._parts["bias " * bias + kind, layer, direction] = self._arrange(part, shape)
                        place += math.prod(shape)

    def _arrange(self, part: str, shape: Shape) -> str:
        """The gates in ONNX's order."""
        call = self._call
        if self._gates == 1:
            return call.reshape(part, shape)
        apart = call.reshape(part, (self._gates, self._size, *shape[1:]))
        return call.reshape(call.emit("Gather", apart, call.indices(self._order), axis=0), shape)

    def of_layer(self, layer: int) -> list[str]:
        """Weights of the inputs, of the states, and biases, each with an axis for the directions in front."""
        call, found = self._call, []
        for kinds in (("input",), ("state",), ("bias input", "bias state")):
            parts = []
            for direction in range(self._directions):
                each = [self._parts[kind, layer, direction] for kind in kinds]
                joined = each[0] if len(each) == 1 else call.emit("Concat", *each, axis=0)
                parts.append(call.emit("Unsqueeze", joined, call.indices([0])))
            found.append(parts[0] if len(parts) == 1 else call.emit("Concat", *parts, axis=0))
        return found


def sequence_mask(call: Call) -> str:
    if not call.attributes.flag("use_sequence_length"):
        return call.input()
    axis, rank = call.axis(), len(call.shape())
    (length,) = call.fixed(0, [axis])
    steps = call.constant(np.arange(length).reshape([-1, 1] if axis == 0 else [1, -1]), np.float32)
    lengths = call.emit("Unsqueeze", call.cast(call.cast(call.input(1), "int32"), "float32"), call.indices([axis]))
    inside = call.emit("Less", steps, lengths)
    if rank > 2:
        inside = call.emit("Unsqueeze", inside, call.indices(list(range(2, rank))))
    return call.emit("Where", inside, call.input(), call.constant(call.attributes.number("value")))


def sequence_last(call: Call) -> str:
    axis = call.axis()
    (length,) = call.fixed(0, [axis])
    if not call.attributes.flag("use_sequence_length"):
        return call.emit("Gather", call.input(), call.indices(length - 1), axis=axis)
    rank = len(call.shape())
    first = call.transpose(call.input(), [1, 0, *range(2, rank)]) if axis == 0 else call.input()
    places = call.emit("Sub", call.cast(call.input(1), "int64"), call.indices(1))
    return call.emit("GatherND", first, call.emit("Unsqueeze", places, call.indices([1])), batch_dims=1)


def sequence_reverse(call: Call) -> str:
    if call.attributes.flag("use_sequence_length"):
        lengths = call.cast(call.input(1), "int64")
        return call.emit("ReverseSequence", call.input(), lengths, time_axis=0, batch_axis=1)
    return call.slice(call.input(), 0, 2**63 - 1, -(2**63), -1)


def _attention_part(call: Call, number: int, parts: int, part: int) -> str:
    """Queries, keys or values of interleaved attention.

    (length, batch, heads * parts * size) becomes (batch * heads, length, size).
    """
    length, batch, width = call.shape(number)
    heads = call.attributes.integer("heads")
    size = width // heads // parts
    apart = call.reshape(call.input(number), (length, batch, heads, parts, size))
    one = call.emit("Gather", apart, call.indices(part), axis=3)
    return call.reshape(call.transpose(one, [1, 2, 0, 3]), (batch * heads, length, size))


def _scores(call: Call, queries: str, keys: str, size: int) -> str:
    scaled = call.emit("Mul", queries, call.constant(1 / math.sqrt(size)))
    return call.emit("MatMul", scaled, call.transpose(keys, [0, 2, 1]))


def self_attention_scores(call: Call) -> str:
    size = call.shape()[2] // call.attributes.integer("heads") // 3
    return _scores(call, _attention_part(call, 0, 3, 0), _attention_part(call, 0, 3, 1), size)


def cross_attention_scores(call: Call) -> str:
    size = call.shape()[2] // call.attributes.integer("heads")
    return _scores(call, _attention_part(call, 0, 1, 0), _attention_part(call, 1, 2, 0), size)


def _attended(call: Call, values: str) -> str:
    length, batch, width = call.outputs[0].shape
    heads = call.attributes.integer("heads")
    found = call.emit("MatMul", call.input(1), values)
    apart = call.reshape(found, (batch, heads, length, width // heads))
    return call.reshape(call.transpose(apart, [2, 0, 1, 3]), (length, batch, width))


def self_attention_values(call: Call) -> str:
    return _attended(call, _attention_part(call, 0, 3, 2))


def cross_attention_values(call: Call) -> str:
    return _attended(call, _attention_part(call, 0, 2, 1))


SEQUENCES: dict[str, Translation] = {
    "RNN": recurrent,
    "SequenceLast": sequence_last,
    "SequenceMask": sequence_mask,
    "SequenceReverse": sequence_reverse,
    "_contrib_interleaved_matmul_encdec_qk": cross_attention_scores,
    "_contrib_interleaved_matmul_encdec_valatt": cross_attention_values,
    "_contrib_interleaved_matmul_selfatt_qk": self_attention_scores,
    "_contrib_interleaved_matmul_selfatt_valatt": self_attention_values,
}
