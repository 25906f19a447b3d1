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
from .symbol import Shape

DENSE = "FullyConnected"
# Up to here oneDNN and OpenBLAS sum all values in one chain.
CHAIN_VALUES, PRODUCT_VALUES = 384, 320
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
    shape: Shape
    source: str
    rows: int
    start: int
    stop: int


def compute_as_many(symbol: str, times: int, shapes: Mapping[str, Shape]) -> tuple[str, list[Part]]:
    """The graph in which each fully connected layer has the bits that it has on several times as many rows.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        times: how often a layer is given its rows where there is no cheaper way; the first of its results is used.
        shapes: of the parameters with which chains may be computed.

    Returns:
        the graph, and the new parameters that it takes.
    """
    graph = json.loads(symbol)
    writer = _Writer({node["name"] for node in graph["nodes"]}, shapes)
    place: list[int] = []  # of each node of the original
    for node in graph["nodes"]:
        node = {**node, "inputs": [[place[source], *rest] for source, *rest in node["inputs"]]}
        if node["op"] == DENSE:
            writer.add_layer(node, times)
        else:
            writer.nodes.append(node)
        place.append(len(writer.nodes) - 1)
    heads = [[place[source], *rest] for source, *rest in graph["heads"]]
    return write_graph(writer.nodes, heads, graph["attrs"]), writer.parts


class _Writer:
    """Writes nodes. Entries (node, output, version) say what a node takes.

    Args:
        taken: names that new parameters must not have.
        shapes: of the parameters with which chains may be computed.
    """

    def __init__(self, taken: set[str], shapes: Mapping[str, Shape]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.parts: list[Part] = []
        self._taken = taken
        self._shapes = shapes
        self._variables: dict[tuple[str, Shape, int], list[int]] = {}

    def add_layer(self, layer: dict[str, Any], times: int) -> None:
        """Adds a fully connected layer; the last node gives what it gives."""
        name, (rows, weight, *bias) = layer["name"], layer["inputs"]
        shape = self._shape(weight)
        is_flat = layer["attrs"].get("flatten", "True") in ("True", "1")
        if not is_flat or len(shape) != 2 or (bias and not self._shape(bias[0])):
            self._repeat(layer, times)
            return
        units, values = shape
        if values <= PRODUCT_VALUES and units * values <= PRODUCT_WEIGHTS:
            flat = self._add("Reshape", f"{name}_rows", [rows], shape="(0, -1)")
            matrix = self._take(weight, (units, values), 0, values)
            total = self._add("dot", f"{name}_product", [flat, matrix], transpose_b="True")
        else:
            total = self._convolve(name, rows, weight, units, values)
        if bias:
            self._add("broadcast_add", f"{name}_biased", [total, self._take(bias[0], (1, units), 0, units)])

    def _shape(self, entry: list[int]) -> Shape:
        """The shape of a parameter; empty for what may not be used."""
        node = self.nodes[entry[0]]
        return self._shapes.get(node["name"], ()) if node["op"] == "null" else ()

    def _repeat(self, layer: dict[str, Any], times: int) -> None:
        name, (rows, *parameters) = layer["name"], layer["inputs"]
        repeated = self._add("Concat", f"{name}_repeated", [rows] * times, num_args=str(times), dim="0")
        self.nodes.append({**layer, "inputs": [repeated, *parameters]})
        self._add("slice_like", f"{name}_first", [[len(self.nodes) - 1, 0, 0], rows], axes="(0,)")

    def _convolve(self, name: str, rows: list[int], weight: list[int], units: int, values: int) -> list[int]:
        """The sums of chains, each of them a convolution of one pixel whose channels are the values."""
        pixels = self._add("Reshape", f"{name}_pixels", [rows], shape="(0, -1, 1, 1)")
        total: list[int] = []
        divided = list(chains(units, values))
        filters = _filters(units, divided)
        for start, stop in divided:
            label, cut = f"{name}_{start}", pixels
            if stop - start < values:
                cut = self._add("slice_axis", f"{label}_cut", [pixels], axis="1", begin=str(start), end=str(stop))
            part = self._take(weight, (filters, stop - start, 1, 1), start, stop)
            attributes = {"kernel": "(1, 1)", "num_filter": str(filters), "no_bias": "True"}
            chain = self._add("Convolution", f"{label}_chain", [cut, part], **attributes)
            total = self._add("elemwise_add", f"{label}_sum", [total, chain]) if total else chain
        if filters > units:
            total = self._add("slice_axis", f"{name}_own", [total], axis="1", begin="0", end=str(units))
        return self._add("Reshape", f"{name}_units", [total], shape="(0, -1)")

    def _take(self, parameter: list[int], shape: Shape, start: int, stop: int) -> list[int]:
        """The variable of some columns of a parameter; layers may share one."""
        source = self.nodes[parameter[0]]["name"]
        key = source, shape, start
        if key not in self._variables:
            name = f"{source}_{start}"
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            rows = self._shapes[source][0] if len(self._shapes[source]) > 1 else 1
            self.parts.append(Part(name, shape, source, rows, start, stop))
            # Not all operators say what shape they need.
            self._variables[key] = self._add("null", name, [], __shape__=str(shape))
        return self._variables[key]

    def _add(self, operator: str, name: str, inputs: list[list[int]], **attributes: str) -> list[int]:
        self.nodes.append({"op": operator, "name": name, "attrs": attributes, "inputs": inputs})
        return [len(self.nodes) - 1, 0, 0]


def chains(units: int, values: int) -> Iterator[tuple[int, int]]:
    """The first value of each chain, and the one after its last, as oneDNN divides a layer of 16 to 199 rows for AVX-512.

    Where it copies what it multiplies it has its own rule, and it copies for few values of many units, and where the distance
    of rows is bad for caches.
    """
    copies = units > 100 and ((units < 1200 and values < 1200) or values % 256 == 0)
    start = 0
    while start < values:
        left = values - start
        length = min(left, CHAIN_VALUES)
        if CHAIN_VALUES < left < 2 * CHAIN_VALUES and not (copies and start):
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
