"""A model's graph as the exporter needs it: every operator with all its attributes, every value with its shape and type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import quote
from .attributes import Attributes

# The size of each dimension; -k is k times the batch size.
Shape = tuple[int, ...]
# A node and which of its outputs.
Entry = tuple[int, int]

# The inputs that these operators use in training only.
LABELLED = {
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "SVMOutput",
    "SoftmaxOutput",
}


@dataclass(frozen=True)
class Value:
    """An output of a node.

    Attributes:
        shape: see :data:`Shape`.
        dtype: NumPy's name of its type.
    """

    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Node:
    """An operator or a variable.

    Attributes:
        name: as saved; need not be unique.
        operator: by MXNet's own name, aliases resolved; ``null`` for a variable.
        attributes: all of them.
        inputs: the entries that it reads.
        outputs: what it gives.
    """

    name: str
    operator: str
    attributes: Attributes
    inputs: tuple[Entry, ...]
    outputs: tuple[Value, ...]

    @property
    def inference_inputs(self) -> tuple[Entry, ...]:
        """The inputs that count in inference."""
        return self.inputs[:1] if self.operator in LABELLED else self.inputs


@dataclass(frozen=True)
class Network:
    """A whole graph.

    Attributes:
        nodes: each after those that it reads.
        heads: the outputs of the graph.
        head_names: MXNet's names of them.
        inputs: the nodes of the data inputs, in the model's order.
        text: the graph as MXNet's JSON, with the same numbers of nodes.
        held: the batch size that it holds; None if it takes any. Shapes are those for all batch sizes nevertheless.
        live: the nodes on which the outputs depend in inference.
    """

    nodes: tuple[Node, ...]
    heads: tuple[Entry, ...]
    head_names: tuple[str, ...]
    inputs: tuple[int, ...]
    text: str = field(repr=False)
    held: int | None = None
    live: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        live = {number for number, _ in self.heads}
        for number in range(len(self.nodes) - 1, -1, -1):
            if number in live:
                live.update(source for source, _ in self.nodes[number].inference_inputs)
        object.__setattr__(self, "live", frozenset(live))

    @property
    def flattens(self) -> bool:
        """Whether all that reads the only input flattens it first, so that the shape of a row does not matter."""
        readers = [
            node
            for number, node in enumerate(self.nodes)
            if number in self.live and any(source in self.inputs for source, _ in node.inference_inputs)
        ]
        return len(self.inputs) == 1 and all(
            node.operator == "Flatten" or (node.operator == "FullyConnected" and node.attributes.flag("flatten"))
            for node in readers
        )

    def is_read(self, entry: Entry) -> bool:
        """Whether something depends on it, in inference."""
        return entry in self.heads or any(entry in self.nodes[number].inference_inputs for number in self.live)

    def value(self, entry: Entry) -> Value:
        return self.nodes[entry[0]].outputs[entry[1]]


def merge_shapes(first: Shape, second: Shape, batches: tuple[int, int], name: str) -> Shape:
    """One shape for all batch sizes, out of the shapes at two of them.

    Raises:
        ValueError: a size grows with the batch in another way than in proportion to it.
    """
    if len(first) != len(second):
        raise ValueError(f"the number of dimensions of {quote(name)} depends on the batch size")
    return tuple(_merge_sizes(*sizes, batches, name) for sizes in zip(first, second))


def _merge_sizes(first: int, second: int, batches: tuple[int, int], name: str) -> int:
    if first == second:
        return first
    if first % batches[0] == 0 and first // batches[0] * batches[1] == second:
        return -(first // batches[0])
    raise ValueError(f"a dimension of {quote(name)} is {first} at batch size {batches[0]}, {second} at {batches[1]}")


def is_fixed(shape: Iterable[int]) -> bool:
    """Whether no size depends on the batch."""
    return all(size >= 0 for size in shape)


def values_of(shape: Iterable[int]) -> int:
    """How many values it has; of a batch, for each record."""
    return abs(math.prod(shape))
