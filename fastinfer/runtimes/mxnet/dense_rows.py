"""A graph of few rows whose fully connected layers have the bits that they have in larger batches.

oneDNN sums the products of a fully connected layer in one order for one row, in another for a few, in a third for many (on
AVX-512 for 1, for 2 to 15, and from 16 rows on). All else mostly has the same bits at any number. So where two rows have the
bits of the default mode and one has not, one row needs not cost two: only its layers are computed as on two.

The layers are given the row several times; or other operators compute them whose sums have the third order on AVX-512: a
single chain of multiply-adds, of at most 384 values, and the sums of such chains, and then the bias. OpenBLAS's product of
matrices is such a chain, and oneDNN's convolution of one pixel. Where they are not, on another CPU, the probe finds other bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...models.graph import write_graph

DENSE = "FullyConnected"
# Up to here oneDNN and OpenBLAS sum all values in one chain.
CHAIN_VALUES, PRODUCT_VALUES = 384, 320
FEW_UNITS = 96
# OpenBLAS is as fast as a convolution for so many weights.
PRODUCT_WEIGHTS = 16 << 10
# oneDNN's convolution is a chain for any number of whole blocks of units where the chain is short and has whole blocks of
# values; else for these numbers of blocks and for multiples of 3 (found by trying all up to 64; others than these too).
BLOCK, SHORT_CHAIN = 16, 256
CHAINED_BLOCKS = (1, 2, 4, 8, 16)


class Part(NamedTuple):
    """Columns of a parameter, as a variable of its own.

    Attributes:
        name: of the variable.
        shape: its shape; it has zeros behind the rows of the parameter.
        source: the name of the parameter.
        rows: how many rows of values the parameter has.
        start, stop: the first column, and the one after the last.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    rows: int
    start: int
    stop: int


def compute_as_many(symbol: str, times: int, matrices: Mapping[str, tuple[int, int]]) -> tuple[str, Sequence[Part]]:
    """The graph in which each fully connected layer has the bits that it has on several times as many rows.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        times: how often a layer is given its rows where there is no cheaper way; the first of its results is used.
        matrices: the shapes of those weights, by their names, with which chains may be computed.

    Returns:
        the graph, and the new parameters that it takes.
    """
    graph = json.loads(symbol)
    writer = _Writer()
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        inputs = [[place[source], *rest] for source, *rest in node["inputs"]]
        if node["op"] == DENSE:
            weight = graph["nodes"][node["inputs"][1][0]]["name"]
            writer.add_layer(node, inputs, times, weight, matrices.get(weight))
        else:
            writer.nodes.append({**node, "inputs": inputs})
        place.append(len(writer.nodes) - 1)
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(writer.nodes, heads, graph["attrs"]), list(writer.parts.values())


class _Writer:
    """Writes nodes. Entries (node, output, version) say what a node takes."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.parts: dict[str, Part] = {}
        self._variables: dict[str, list[int]] = {}

    def add_layer(
        self,
        layer: dict[str, Any],
        inputs: list[list[int]],
        times: int,
        weight: str,
        shape: tuple[int, int] | None,
    ) -> None:
        """Adds a fully connected layer; the last node gives what it gives."""
        units, values = shape or (0, 0)
        is_small = values <= PRODUCT_VALUES and units * values <= PRODUCT_WEIGHTS
        is_flat = layer["attrs"].get("flatten", "True") in ("True", "1")
        if not units or not is_flat:
            self._repeat(layer, inputs, times)
            return
        name = layer["name"]
        if is_small:
            rows = self._add("Reshape", f"{name}_rows", [inputs[0]], shape="(0, -1)")
            matrix = self._take(Part(f"{weight}_matrix", (units, values), weight, units, 0, values))
            total = self._add("dot", f"{name}_product", [rows, matrix], transpose_b="True")
        else:
            total = self._convolve(name, inputs[0], weight, units, values)
        if len(inputs) > 2:
            bias = self.nodes[inputs[2][0]]["name"]
            row = self._take(Part(f"{bias}_row", (1, units), bias, 1, 0, units))
            self._add("broadcast_add", f"{name}_biased", [total, row])

    def _repeat(self, layer: dict[str, Any], inputs: list[list[int]], times: int) -> None:
        name = layer["name"]
        repeated = self._add("Concat", f"{name}_repeated", [inputs[0]] * times, num_args=str(times), dim="0")
        self.nodes.append({**layer, "inputs": [repeated, *inputs[1:]]})
        self._add("slice_like", f"{name}_first", [[len(self.nodes) - 1, 0, 0], inputs[0]], axes="(0,)")

    def _convolve(self, name: str, rows: list[int], weight: str, units: int, values: int) -> list[int]:
        """The sums of chains, each of them a convolution of one pixel whose channels are the values."""
        pixels = self._add("Reshape", f"{name}_pixels", [rows], shape="(0, -1, 1, 1)")
        total: list[int] = []
        divided = list(chains(units, values))
        filters = _filters(units, divided)
        for start, stop in divided:
            label, cut = f"{name}_{start}", pixels
            if stop - start < values:
                cut = self._add("slice_axis", f"{label}_cut", [pixels], axis="1", begin=str(start), end=str(stop))
            part = self._take(Part(f"{weight}_{start}", (filters, stop - start, 1, 1), weight, units, start, stop))
            attributes = {"kernel": "(1, 1)", "num_filter": str(filters), "no_bias": "True"}
            chain = self._add("Convolution", f"{label}_chain", [cut, part], **attributes)
            total = self._add("elemwise_add", f"{label}_sum", [total, chain]) if total else chain
        if filters > units:
            total = self._add("slice_axis", f"{name}_own", [total], axis="1", begin="0", end=str(units))
        return self._add("Reshape", f"{name}_units", [total], shape="(0, -1)")

    def _take(self, part: Part) -> list[int]:
        """The variable of a part; layers may share one."""
        if part.name not in self._variables:
            self.parts[part.name] = part
            # Not all operators say what shape they need.
            self._variables[part.name] = self._add("null", part.name, [], __shape__=str(part.shape))
        return self._variables[part.name]

    def _add(self, operator: str, name: str, inputs: list[list[int]], **attributes: str) -> list[int]:
        self.nodes.append({"op": operator, "name": name, "attrs": attributes, "inputs": inputs})
        return [len(self.nodes) - 1, 0, 0]


def chains(units: int, values: int) -> Iterator[tuple[int, int]]:
    """The first value of each chain, and the one after its last, as oneDNN divides a layer for CPUs with AVX-512."""
    start = 0
    while start < values:
        left = values - start
        length = min(left, CHAIN_VALUES)
        if CHAIN_VALUES < left < 2 * CHAIN_VALUES and (units <= FEW_UNITS or not start):
            length = (left + 1) // 2
        yield start, start + length
        start += length


def _filters(units: int, divided: Sequence[tuple[int, int]]) -> int:
    """The least number of filters, at least one for each unit, with which a convolution is a chain."""
    blocks = -(-units // BLOCK)
    if any(stop - start > SHORT_CHAIN or (stop - start) % BLOCK for start, stop in divided):
        while blocks % 3 and blocks not in CHAINED_BLOCKS:
            blocks += 1
    return blocks * BLOCK
