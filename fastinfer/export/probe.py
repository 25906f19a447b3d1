"""Rows by which a conversion is checked where the user gives none: of several magnitudes; for indices, of all of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..runtimes.number_types import fit
from .network import Network

SEED = 20160510
MOST_ROWS, LEAST_ROWS = 512, 16
# Of all rows together, and of all values in the graph for them: what convolutions compute takes the time.
MOST_BYTES, MOST_VALUE_BYTES = 8 << 20, 512 << 20
# Rows are scaled by powers of two, from the largest to the smallest. Larger values than 1 would make the terms of a softmax
# so large that their last bits count.
LARGEST_POWER, POWERS = 0, 8
# What rows are scaled by where an input takes whole numbers.
WHOLE_SCALE = 1 << 8

# Which input of an operator holds indices, and which of its others, or attributes, says how many there are.
INDEX_INPUTS = {"Embedding": 0, "take": 1, "one_hot": 0, "pick": 1, "batch_take": 1}
# What depends on the order of values: which of equal ones comes first.
ORDERS = {
    "_contrib_MultiBoxDetection",
    "_contrib_box_nms",
    "argmax",
    "argmax_channel",
    "argmin",
    "argsort",
    "sort",
    "topk",
}
# What passes values on to other places.
MOVES = {
    "BlockGrad",
    "Cast",
    "Concat",
    "Flatten",
    "Reshape",
    "SliceChannel",
    "SwapAxis",
    "_copy",
    "_split_v2",
    "expand_dims",
    "slice",
    "slice_axis",
    "squeeze",
    "stack",
    "transpose",
}


def make_rows(network: Network, count: int | None = None) -> NDArray[np.float32]:
    """Rows (records, values) for the inputs of a network, one behind the other.

    An input that is used as indices gets all of them in turn; others get numbers of both signs and of several magnitudes that
    their types take, every third row none below zero, and one row of zeros. Where the network puts values in order, every
    third row has many that are equal.

    Args:
        network: the network.
        count: how many; None: as many as are quickly computed.
    """
    shapes = [network.nodes[number].outputs[0].shape[1:] for number in network.inputs]
    values = sum(math.prod(shape) for shape in shapes)
    if count is None:
        nodes = [network.nodes[number] for number in network.live]
        inner = sum(abs(math.prod(each.shape)) for node in nodes if node.operator != "null" for each in node.outputs)
        quick = min(MOST_BYTES // (4 * values), MOST_VALUE_BYTES // (4 * max(1, inner)))
        count = min(MOST_ROWS, max(LEAST_ROWS, quick))
    has_order = any(network.nodes[number].operator in ORDERS for number in network.live)
    random = np.random.RandomState(SEED)
    parts = []
    for number, shape in zip(network.inputs, shapes):
        width = math.prod(shape)
        most = find_indices(network, number)
        if most is not None:
            order = random.permutation(count * width).reshape(count, width)
            parts.append((order % most).astype(np.float32))
            continue
        rows = random.uniform(-1, 1, (count, width))
        if has_order:
            rows[1::3] = np.rint(2 * rows[1::3]) / 2
        rows *= np.exp2(LARGEST_POWER - np.arange(count) % POWERS)[:, None]
        rows[::3] = np.abs(rows[::3])
        rows[-1] = 0
        kind = network.nodes[number].outputs[0].dtype
        made = (rows * (1 if kind.startswith("float") else WHOLE_SCALE)).astype(np.float32)
        fit(made, kind)
        parts.append(made)
    return np.concatenate(parts, axis=1)


def find_indices(network: Network, number: int) -> int | None:
    """How many different indices an input holds, where it is used as such; None where it is not."""
    reached, found = {number}, []
    for place, node in enumerate(network.nodes):
        if place not in network.live:
            continue
        sources = [source for source, _ in node.inputs]
        if node.operator in MOVES and reached.intersection(sources):
            reached.add(place)
        index = INDEX_INPUTS.get(node.operator)
        if index is None or sources[index] not in reached:
            continue
        if node.operator == "Embedding":
            found.append(node.attributes.integer("input_dim"))
        elif node.operator == "one_hot":
            found.append(node.attributes.integer("depth"))
        else:
            shape = network.value(node.inputs[0]).shape
            axis = 1 if node.operator == "batch_take" else node.attributes.integer("axis")
            found.append(abs(shape[axis]))
    return min(found) if found else None
