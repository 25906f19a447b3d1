"""A graph of few rows whose fully connected layers have the bits that they have in larger batches.

oneDNN sums the products of a fully connected layer in one order for one row, in another for a few, in a third for many (on
AVX-512 for 1, for 2 to 15, and from 16 rows on). All else mostly has the same bits at any number. So where two rows have the
bits of the default mode and one has not, one row needs not cost two: only its layers are computed as on two.

The layers are given the row several times; or other operators compute them whose sums have the third order on AVX-512: a
single chain of multiply-adds, of at most 384 values, and the sums of such chains, and then the bias. OpenBLAS's product of
matrices is such a chain, and oneDNN's convolution of one pixel. Where they are not, on another CPU, the probe finds other bits.
Where OpenBLAS does not know the CPU it takes code for old ones, whose products are no chains: convolutions take their place.

An operator costs about 3 µs, more than it computes for a row. So there are few: MXNet makes one operator of a convolution, the
sum before it, the bias and the activation; a lone record's values are read where the caller writes them; and values stay pixels
from layer to layer, also those that filters give beyond a layer's units.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...models.graph import write_graph
from .symbol import Shape

DENSE = "FullyConnected"
# Up to here oneDNN and OpenBLAS sum all values in one chain.
CHAIN_VALUES, PRODUCT_VALUES = 384, 320
# OpenBLAS is as fast as a convolution for so many weights; and for more where values do not stay pixels behind it.
PRODUCT_WEIGHTS, FLAT_PRODUCT_WEIGHTS = 2 << 10, 16 << 10
# oneDNN's convolution is a chain for these numbers of blocks of filters and for multiples of 3 (found by trying all up to 64;
# others than these too). Without a bias it is for any number of blocks where the chain is short and has whole blocks of values.
BLOCK, CHAINED_BLOCKS, SHORT_CHAIN = 16, (1, 2, 4, 8, 16), 256
# Operators that compute value by value; what they give for 0 is finite.
VALUE_BY_VALUE = {"Activation", "LeakyReLU", "relu", "sigmoid", "tanh"}
# Operators that give what they take, where nothing is trained.
IDENTITIES = {"BlockGrad", "Dropout", "_copy"}
# What takes a layer's pixels as they are.
TAKE_PIXELS = {DENSE, "Flatten", *VALUE_BY_VALUE, *IDENTITIES}
FLAT = {"shape": "(0, -1)"}
TRUE = ("True", "1")


class Part(NamedTuple):
    """Columns of a parameter, as a variable of its own.

    Attributes:
        name: of the variable.
        shape: its shape; where the parameter has no values for it, it has -0, which changes no sum.
        source: the name of the parameter; empty: the first column is 1, all others are 0.
        rows: how many rows of values the parameter has.
        start, stop: the first column, and the one after the last.
    """

    name: str
    shape: Shape
    source: str
    rows: int
    start: int
    stop: int


class View(NamedTuple):
    """Some values of a lone record as a variable, which are read where the caller writes them.

    Attributes:
        name: of the variable.
        shape: its shape.
        source: the name of the input.
        start, stop: the first value, and the one after the last.
    """

    name: str
    shape: Shape
    source: str
    start: int
    stop: int


class FewRows(NamedTuple):
    """The graph for few rows, and the variables that it takes beside those of the model."""

    text: str
    parts: list[Part]
    views: list[View]


def compute_as_many(
    symbol: str,
    times: int,
    shapes: Mapping[str, Shape],
    lone: Mapping[str, int],
    layer_rows: Mapping[str, int],
    *,
    products: bool,
) -> FewRows:
    """The graph in which each fully connected layer has the bits that it has on several times as many rows.

    Args:
        symbol: a graph, as MXNet of this version prints it.
        times: how often a layer is given its rows where there is no cheaper way; the first of its results is used.
        shapes: of the parameters with which chains may be computed.
        lone: how many values a lone record has, by the names of inputs that views may be made of.
        layer_rows: how many rows layers have, by their names, as far as that is known.
        products: whether products of matrices are chains.
    """
    graph = json.loads(symbol)
    taken = {node["name"] for node in graph["nodes"]}
    writer = _Writer(taken, times, shapes, lone, layer_rows, products=products)
    readers: dict[int, set[str]] = {source: {"output"} for source, *_ in graph["heads"]}
    for node in graph["nodes"]:
        for source, *_ in node["inputs"]:
            readers.setdefault(source, set()).add(node["op"])
    place: list[int] = []  # of each node of the original
    for number, node in enumerate(graph["nodes"]):
        node = {**node, "inputs": [[place[source], *rest] for source, *rest in node["inputs"]]}
        place.append(writer.add(node, stays=readers.get(number, set()) <= TAKE_PIXELS))
    heads = [writer.flat([place[source], *rest]) for source, *rest in graph["heads"]]
    return FewRows(write_graph(writer.nodes, heads, graph["attrs"]), writer.parts, writer.views)


class _Pixels(NamedTuple):
    """What a node gives, of shape (rows, channels, 1, 1).

    Attributes:
        values: a row's values are the first channels.
        channels: how many there are.
        are_zeros: whether the others are 0; else they may be NaN, of an infinite value times 0.
    """

    values: int
    channels: int
    are_zeros: bool


class _Writer:
    """Writes nodes. Entries (node, output, version) say what a node takes.

    So many attributes: what is written, what may be used, and what is known of the nodes.

    Args:
        taken: names that new variables must not have.
        times, shapes, lone, layer_rows, products: see :func:`compute_as_many`.
    """

    def __init__(
        self,
        taken: set[str],
        times: int,
        shapes: Mapping[str, Shape],
        lone: Mapping[str, int],
        layer_rows: Mapping[str, int],
        *,
        products: bool,
    ) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.parts: list[Part] = []
        self.views: list[View] = []
        self._taken = taken
        self._times = times
        self._shapes = shapes
        self._lone = lone
        self._layer_rows = layer_rows
        self._product_values = PRODUCT_VALUES if products else 0
        self._variables: dict[tuple[str, Shape, int], list[int]] = {}
        self._pixels: dict[int, _Pixels] = {}  # by the numbers of nodes
        self._flattened: dict[int, list[int]] = {}  # of nodes of pixels, what has their values as rows
        self._rows: set[int] = set()  # nodes that are known to give a matrix

    def add(self, node: dict[str, Any], *, stays: bool) -> int:
        """Adds a node of the original, or others that compute the same; the number of the one that gives what it gives.

        Args:
            node: the node, with its inputs among the new ones.
            stays: whether all that read it take pixels.
        """
        operator, inputs, attributes = node["op"], node["inputs"], node.get("attrs", {})
        if operator == DENSE:
            return self._add_layer(node, stays=stays)
        source, output = (inputs[0][0], inputs[0][1]) if inputs else (-1, 0)
        is_matrix = output == 0 and (source in self._pixels or source in self._rows)
        if is_matrix and (operator == "Flatten" or (operator in IDENTITIES and attributes.get("mode") != "always")):
            return source
        if is_matrix and operator in VALUE_BY_VALUE and len(inputs) == 1:
            number = self._append(node)
            if source in self._pixels:
                is_relu = attributes.get("act_type") == "relu"  # which oneDNN takes to be 0 for NaN
                self._pixels[number] = self._pixels[source]._replace(are_zeros=is_relu)
            else:
                self._rows.add(number)
            return number
        inputs = [self.flat(entry) for entry in inputs]
        if is_matrix and operator == "SoftmaxOutput" and not {"multi_output", "preserve_shape"} & _set(attributes):
            # It copies its output, and has a label that it does not use.
            return self._add("softmax", node["name"], inputs[:1])[0]
        number = self._append({**node, "inputs": inputs})
        if operator == "Flatten":
            self._rows.add(number)
        return number

    def flat(self, entry: list[int]) -> list[int]:
        """An entry as the original has it."""
        number = entry[0]
        if number not in self._pixels:
            return entry
        if number not in self._flattened:
            values, channels, _ = self._pixels[number]
            name = self.nodes[number]["name"]
            found = self._add("Reshape", f"{name}_rows", [entry], **FLAT)
            if channels > values:
                found = self._add("slice_axis", f"{name}_own", [found], axis="1", begin="0", end=str(values))
            self._rows.add(found[0])
            self._flattened[number] = found
        return self._flattened[number]

    def _add_layer(self, layer: dict[str, Any], *, stays: bool) -> int:
        _, weight, *bias = layer["inputs"]
        shape = self._shape(weight)
        is_flat = layer["attrs"].get("flatten", "True") in TRUE
        if not is_flat or len(shape) != 2 or (bias and not self._shape(bias[0])):
            return self._repeat(layer)
        units, values = shape
        if units == 1 and self._layer_rows.get(layer["name"]) == 1:
            # A product of two vectors, whatever the number of rows in a batch.
            number = self._append({**layer, "inputs": [self.flat(entry) for entry in layer["inputs"]]})
            self._rows.add(number)
            return number
        if values <= self._product_values and units * values <= (PRODUCT_WEIGHTS if stays else FLAT_PRODUCT_WEIGHTS):
            return self._multiply(layer, units, values)
        return self._convolve(layer, units, values, stays=stays)

    def _shape(self, entry: list[int]) -> Shape:
        """The shape of a parameter; empty for what may not be used."""
        node = self.nodes[entry[0]]
        return self._shapes.get(node["name"], ()) if node["op"] == "null" else ()

    def _repeat(self, layer: dict[str, Any]) -> int:
        name, (rows, *parameters) = layer["name"], layer["inputs"]
        rows, times = self.flat(rows), self._times
        repeated = self._add("Concat", f"{name}_repeated", [rows] * times, num_args=str(times), dim="0")
        many = self._append({**layer, "inputs": [repeated, *parameters]})
        return self._add("slice_like", f"{name}_first", [[many, 0, 0], rows], axes="(0,)")[0]

    def _multiply(self, layer: dict[str, Any], units: int, values: int) -> int:
        """The sums of chains, as a product of matrices."""
        name, (rows, weight, *bias) = layer["name"], layer["inputs"]
        matrix = self._take(weight, units, (units, values), 0, values)
        total = self._add("dot", f"{name}_product", [self._matrix(name, rows), matrix], transpose_b="True")
        return self._add_bias(name, total, bias, units)

    def _matrix(self, name: str, entry: list[int]) -> list[int]:
        """An entry as a matrix, whose rows are the layer's."""
        entry = self.flat(self._unflattened(entry))
        source = self.nodes[entry[0]]["name"]
        if self._is_lone(entry):
            return self._view(source, (1, self._lone[source]), 0, self._lone[source])
        return entry if entry[0] in self._rows else self._add("Reshape", f"{name}_rows", [entry], **FLAT)

    def _add_bias(self, name: str, total: list[int], bias: list[list[int]], units: int) -> int:
        for each in bias:
            total = self._add("broadcast_add", f"{name}_biased", [total, self._take(each, 1, (1, units), 0, units)])
        self._rows.add(total[0])
        return total[0]

    def _convolve(self, layer: dict[str, Any], units: int, values: int, *, stays: bool) -> int:
        """The sums of chains, each of them a convolution of one pixel whose channels are the values."""
        name, (rows, weight, *bias) = layer["name"], layer["inputs"]
        cuts, count = list(chains(units, values)), self._layer_rows.get(name)
        pixels = list(self._cut(name, rows, values, cuts))
        filters, fewer = count_filters(units), -(-units // BLOCK) * BLOCK
        is_short = len(pixels) == 1 and pixels[0][1] <= SHORT_CHAIN and pixels[0][1] % BLOCK == 0
        bias_alone = bias if len(cuts) > 1 and count is None else []
        if is_short and filters > fewer and not stays:
            filters, bias_alone = fewer, bias  # a sum is less work than to cut off what is too much
        added: list[list[list[int]]] = []
        for (taken, channels), (start, stop) in zip(pixels, cuts):
            added.append([taken, self._take(weight, units, (filters, channels, 1, 1), start, stop)])
        if bias and not bias_alone and len(cuts) == 1:
            added[0].append(self._take(bias[0], 1, (filters,), 0, units))
        elif bias and not bias_alone and count is not None:
            # It comes last, behind all sums: as one more chain.
            one = self._variable("one", "", count, (count, BLOCK, 1, 1), 0, 1)
            added.append([one, self._take(bias[0], units, (filters, BLOCK, 1, 1), 0, 1)])
        total: list[int] = []
        for number, inputs in enumerate(added):
            attributes = {"kernel": "(1, 1)", "num_filter": str(filters), "no_bias": str(len(inputs) == 2)}
            chain = self._add("Convolution", f"{name}_chain{number}", inputs, **attributes)
            both = [total, chain]
            total = self._add("elemwise_add", f"{name}_sum{number}", both) if number else chain
        self._pixels[total[0]] = _Pixels(units, filters, are_zeros=False)
        return self._add_bias(name, self.flat(total), bias_alone, units) if bias_alone else total[0]

    def _cut(
        self, name: str, entry: list[int], values: int, cuts: list[tuple[int, int]]
    ) -> Iterator[tuple[list[int], int]]:
        """For each chain of a layer its values as channels of a pixel, and how many channels there are."""
        entry = self._unflattened(entry)
        if self._is_lone(entry):
            source = self.nodes[entry[0]]["name"]
            for start, stop in cuts:
                yield self._view(source, (1, stop - start, 1, 1), start, stop), stop - start
            return
        pixels = self._pixels.get(entry[0])
        if pixels is None:
            entry = self._add("Reshape", f"{name}_pixels", [entry], shape="(0, -1, 1, 1)")
            pixels = _Pixels(values, values, are_zeros=True)
        if len(cuts) == 1 and (pixels.are_zeros or pixels.channels == values):
            yield entry, pixels.channels
            return
        for start, stop in cuts:
            part = self._add("slice_axis", f"{name}_{start}_cut", [entry], axis="1", begin=str(start), end=str(stop))
            yield part, stop - start

    def _unflattened(self, entry: list[int]) -> list[int]:
        """What a layer takes that flattens itself."""
        while self.nodes[entry[0]]["op"] == "Flatten":
            entry = self.nodes[entry[0]]["inputs"][0]
        return entry

    def _is_lone(self, entry: list[int]) -> bool:
        node = self.nodes[entry[0]]
        return node["op"] == "null" and node["name"] in self._lone

    def _view(self, source: str, shape: Shape, start: int, stop: int) -> list[int]:
        if (source, shape, start) not in self._variables:
            name = self._new_name(f"{source}_{start}")
            self.views.append(View(name, shape, source, start, stop))
            self._variables[source, shape, start] = self._add("null", name, [], __shape__=str(shape))
        return self._variables[source, shape, start]

    def _take(self, parameter: list[int], rows: int, shape: Shape, start: int, stop: int) -> list[int]:
        """The variable of some columns of a parameter."""
        source = self.nodes[parameter[0]]["name"]
        return self._variable(source, source, rows, shape, start, stop)

    def _variable(self, label: str, source: str, rows: int, shape: Shape, start: int, stop: int) -> list[int]:
        """A new variable; layers may share one."""
        if (source, shape, start) not in self._variables:
            name = self._new_name(f"{label}_{start}")
            self.parts.append(Part(name, shape, source, rows, start, stop))
            # Not all operators say what shape they need.
            self._variables[source, shape, start] = self._add("null", name, [], __shape__=str(shape))
        return self._variables[source, shape, start]

    def _new_name(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _add(self, operator: str, name: str, inputs: list[list[int]], **attributes: str) -> list[int]:
        return [self._append({"op": operator, "name": name, "attrs": attributes, "inputs": inputs}), 0, 0]

    def _append(self, node: dict[str, Any]) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


def _set(attributes: Mapping[str, str]) -> set[str]:
    """The attributes that are true."""
    return {name for name, value in attributes.items() if value in TRUE}


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


def count_filters(units: int) -> int:
    """The least number of filters, at least one for each unit, with which a convolution is a chain."""
    blocks = -(-units // BLOCK)
    while blocks % 3 and blocks not in CHAINED_BLOCKS:
        blocks += 1
    return blocks * BLOCK
