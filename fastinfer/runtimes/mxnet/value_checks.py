"""Checks before the operators that take a value for a place in memory and do not look at it, as lengths and indices.

MXNet goes where such a value says: a record with a length that is too large is given what lies behind its own memory, or ends
the process. So the graph that is bound looks at these values first. One that is not taken gives way to one that is, and outputs
of their own say so: no such value ever reaches the operator. Values that are taken arrive as they are, so all bits stay.

What is taken is what MXNet's kernels go along with, which is more than its documentation allows: a SequenceMask of a longer
length masks nothing, and fractions are whole numbers, by the kernel's own conversion. The rules were found by running each
operator that takes indices on memory within other memory (``take``, ``pick``, ``Embedding``, ``one_hot``, ``batch_take``,
``ROIPooling``, ``BilinearSampler`` and the detection operators stay within theirs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

from ...models.graph import write_graph
from .symbol import Array

Entry = list[int]
Node = dict[str, Any]

# The outputs that each check adds to a graph: whether all values are taken, which of them are, and the values.
CHECK_OUTPUTS = 3
INT32_LIMIT = 2**31 - 1
# Sums and products of two such numbers are finite floats.
LARGE = 1e18
LARGEST = 1.7976931348623157e308
# Along a region's side ROIAlign takes a sample for each place of the map if no ratio is given, and counts those of both sides
# in an int: regions may lie as far outside of the map as it is large.
MAP_SIDES = 2
MOST_PLACES = 11_585


class Check(NamedTuple):
    """A check of one input of an operator.

    Attributes:
        node: the operator's name in the graph.
        operator: which it is.
        takes: what it takes, in words.
    """

    node: str
    operator: str
    takes: str


class _Limits(NamedTuple):
    """What an input takes: numbers or, where they depend on shapes, values that can be broadcast to it."""

    place: int  # of the input
    takes: str
    lowest: float | Entry
    highest: float | Entry
    whole: str = "trunc"  # the operator that makes whole numbers as the kernel does
    rows: bool = False  # whether the limits are for rows of an input that is made two-dimensional
    spare: int = 0  # what is given in the place of others: 0, or 1 if that is this or the lowest
    unread: Entry | None = None  # the input's length for each row, behind which nothing is read


def check_values(symbol: str, *, raises: bool = False) -> tuple[str, tuple[Check, ...]]:
    """The graph with checks before its operators; the same text where there is nothing to check.

    Args:
        symbol: a graph.
        raises: whether a value that is not taken makes the pass fail by itself; then no outputs are added.

    Returns:
        the graph; and its checks, each of which has added :data:`CHECK_OUTPUTS` outputs behind those of the graph.
    """
    graph = json.loads(symbol)
    writer = _Writer(raises)
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        node = {**node, "inputs": inputs}
        rule = _RULES.get(node["op"])
        for limits in rule(writer, node) if rule else ():
            inputs[limits.place] = writer.check(node, limits)
        place.append(len(writer.nodes))
        writer.nodes.append(node)
    if not writer.has_checked:
        return symbol, ()
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(writer.nodes, [*heads, *writer.heads], graph.get("attrs", {})), tuple(writer.checks)


def find_refused(checks: Sequence[Check], outputs: Sequence[Array]) -> str | None:
    """What is wrong with a value that an operator does not take; None if all are taken.

    Args:
        checks: of the graph.
        outputs: those that they have added to it, after a pass.
    """
    for number, check in enumerate(checks):
        fits, taken, values = outputs[CHECK_OUTPUTS * number : CHECK_OUTPUTS * (number + 1)]
        if all(fits.read()):
            continue
        found = next(value for value, is_taken in zip(values.read(), taken.read()) if not is_taken)
        return f"{check.operator} {check.node!r} takes {check.takes}, found {found:.9g}"
    return None


class _Writer:
    """Writes the nodes of a graph with checks.

    Attributes:
        nodes: those so far.
        checks, heads: of the checks so far.
    """

    def __init__(self, raises: bool) -> None:
        self.nodes: list[Node] = []
        self.checks: list[Check] = []
        self.heads: list[Entry] = []
        self.has_checked = False
        self._raises = raises

    def add(self, operator: str, *inputs: Entry, **attributes: object) -> Entry:
        """Adds an operator, and returns its output."""
        values = {name: str(value) for name, value in attributes.items()}
        name = f"fastinfer_check{len(self.nodes)}"
        self.nodes.append({"op": operator, "name": name, "inputs": list(inputs), "attrs": values})
        return [len(self.nodes) - 1, 0, 0]

    def size(self, value: Entry, axis: int) -> Entry:
        """The size of an axis of a value, an array of one float64."""
        end = None if axis == -1 else axis + 1
        size = self.add("slice_axis", self.add("shape_array", value), axis=0, begin=axis, end=end)
        return self.add("Cast", size, dtype="float64")

    def last(self, value: Entry, axis: int) -> Entry:
        """The last index of an axis of a value."""
        return self.add("_minus_scalar", self.size(value, axis), scalar=1)

    def row(self, *parts: float | Entry) -> Entry:
        """Numbers, or arrays of one number, one behind another in an array."""
        entries = [
            part if isinstance(part, list) else self.add("_full", shape="(1,)", value=repr(part), dtype="float64")
            for part in parts
        ]
        return self.add("Concat", *entries, num_args=len(entries), dim=0)

    def check(self, node: Node, limits: _Limits) -> Entry:
        """Adds a check of an operator's input, and returns what the operator is to be given in its place."""
        self.has_checked = True
        given = node["inputs"][limits.place]
        values = self.add("Cast", given, dtype="float64")
        whole = self.add(limits.whole, values)
        if limits.rows:
            whole = self.add("Reshape", whole, shape="(0, -1)")
        low = self._compare("greater", whole, limits.lowest)
        taken = self.add("elemwise_mul", low, self._compare("lesser", whole, limits.highest))
        if limits.rows:
            taken = self.add("reshape_like", taken, given)
        if limits.unread is not None:
            wrong = self.add("_rminus_scalar", taken, scalar=1)
            lengths = self.add("round", limits.unread)
            read = self.add("SequenceMask", wrong, lengths, use_sequence_length=True, axis=1, value=0)
            taken = self.add("_rminus_scalar", read, scalar=1)
        if self._raises:
            # Of one value there is no second.
            wrong = self.add("_rminus_scalar", taken, scalar=1)
            taken = self.add("take", self.add("_ones", shape="(1,)", dtype="float64"), wrong, mode="raise")
        else:
            self.checks.append(Check(node["name"], node["op"], limits.takes))
            self.heads += [self.add("min", taken), taken, values]
        spare = "ones_like" if 1 in (limits.lowest, limits.spare) else "zeros_like"
        return self.add("where", taken, given, self.add(spare, given))

    def _compare(self, how: str, value: Entry, limit: float | Entry) -> Entry:
        """1 where a value is as great (or as small) as a limit, or more so; 0 where it is not, or is no number."""
        if isinstance(limit, list):
            return self.add(f"broadcast_{how}_equal", value, limit)
        return self.add(f"_{how}_equal_scalar", value, scalar=repr(limit))


def _sequence_mask(_: _Writer, node: Node) -> list[_Limits]:
    return [_Limits(1, f"lengths from 0 to {INT32_LIMIT:,}", 0, INT32_LIMIT)] if len(node["inputs"]) > 1 else []


def _sequence_last(writer: _Writer, node: Node) -> list[_Limits]:
    return _lengths(writer, node, _axis(node, 0), 1)


def _sequence_reverse(writer: _Writer, node: Node) -> list[_Limits]:
    return _lengths(writer, node, 0, 0)


def _softmax(writer: _Writer, node: Node) -> list[_Limits]:
    return _lengths(writer, node, _axis(node, -1), 0)


def _lengths(writer: _Writer, node: Node, axis: int, lowest: int) -> list[_Limits]:
    if len(node["inputs"]) < 2:
        return []
    takes = f"lengths from {lowest} to the size of its input's axis {axis}"
    return [_Limits(1, takes, lowest, writer.size(node["inputs"][0], axis))]


def _softmax_cross_entropy(writer: _Writer, node: Node) -> list[_Limits]:
    return [_Limits(1, "labels from 0 to its input's last column", 0, writer.last(node["inputs"][0], 1))]


def _gather_nd(*_: object) -> list[_Limits]:
    return [_Limits(1, "numbers", -LARGEST, LARGEST)]  # MXNet compares them, which no NaN fails


def _scatter_nd(writer: _Writer, node: Node) -> list[_Limits]:
    sizes = [float(size) for size in re.findall("[0-9]+", node["attrs"]["shape"])]
    rows = writer.add("Reshape", writer.row(*(size - 1 for size in sizes)), shape="(-1, 1)")
    # Indices may be of the first axes only.
    indices = writer.add("Reshape", node["inputs"][1], shape="(0, -1)")
    indices = writer.add("Cast", indices, dtype="float64")
    highest = writer.add("slice_like", rows, indices, axes="(0,)")
    return [_Limits(1, f"indices from 0, within the shape {node['attrs']['shape']}", 0, highest, rows=True)]


def _ctc(writer: _Writer, node: Node) -> list[_Limits]:
    """Of no label at all it gives what happens to be in memory."""
    data, given = node["inputs"][0], iter(range(2, len(node["inputs"])))
    limits = []
    if _is_set(node, "use_data_lengths"):
        takes = "lengths from 1 to the size of its input's axis 0"
        limits.append(_Limits(next(given), takes, 1, writer.size(data, 0), "round"))
    unread = None
    if _is_set(node, "use_label_lengths"):
        takes, place = "lengths of labels from 1 to the size of their axis 1", next(given)
        own = _Limits(place, takes, 1, writer.size(node["inputs"][1], 1), "round")
        # The lengths that pass, before the labels that they end.
        unread = node["inputs"][place] = writer.check(node, own)
    last = writer.last(data, 2)
    if unread is not None:
        takes = "labels from 0 to the last index of its input's axis 2"
        return [*limits, _Limits(1, takes, 0, last, "round", unread=unread)]
    padding = -1 if node.get("attrs", {}).get("blank_label") == "last" else 0
    takes = f"labels from {padding} to the last index of its input's axis 2, the first of which is not {padding}"
    places = writer.add("_contrib_arange_like", writer.add("Cast", node["inputs"][1], dtype="float64"), axis=1)
    first = writer.add("_equal_scalar", places, scalar=0)
    return [*limits, _Limits(1, takes, writer.add("_plus_scalar", first, scalar=padding), last, "round", spare=1)]


def _roi_align(writer: _Writer, node: Node) -> list[_Limits]:
    data, attributes = node["inputs"][0], node["attrs"]
    scale = max(abs(float(attributes["spatial_scale"])), 1 / LARGE)
    farthest: float | Entry
    lowest: float | Entry
    if int(attributes.get("sample_ratio", "-1")) > 0:
        lowest, farthest = -LARGE / max(scale, 1.0), LARGE / max(scale, 1.0)
        where = "corners that are not very far away"
    else:
        sides = writer.row(writer.size(data, 2), writer.size(data, 3))
        side = writer.add("Reshape", writer.add("max", sides), shape="(1,)")
        scaled = writer.add("_mul_scalar", side, scalar=repr(MAP_SIDES / scale))
        farthest = writer.add("_minimum_scalar", scaled, scalar=repr(MOST_PLACES / scale))
        lowest = writer.add("negative", farthest)
        where = f"corners within {MAP_SIDES} sides of its map"
    highest = writer.row(writer.last(data, 0), *[farthest] * 4)
    takes = f"regions of the pictures that there are, with {where}"
    return [_Limits(1, takes, writer.row(0.0, *[lowest] * 4), highest)]


# What is checked of each operator, with the limits, which may need values of their own.
_RULES: dict[str, Callable[[_Writer, Node], list[_Limits]]] = {
    "SequenceMask": _sequence_mask,
    "SequenceLast": _sequence_last,
    "SequenceReverse": _sequence_reverse,
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), _softmax),
    "softmax_cross_entropy": _softmax_cross_entropy,
    "gather_nd": _gather_nd,
    "scatter_nd": _scatter_nd,
    **dict.fromkeys(("CTCLoss", "ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss"), _ctc),
    "_contrib_ROIAlign": _roi_align,
}


def _axis(node: Node, default: int) -> int:
    return int(node.get("attrs", {}).get("axis", default))


def _is_set(node: Node, attribute: str) -> bool:
    return node.get("attrs", {}).get(attribute, "False").lower() in ("true", "1")
