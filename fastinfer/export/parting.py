"""Finds the first node at which a translation and MXNet part, where records influence each other, or that an engine cannot
compute: inner values are outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..models.module import Model
from ..models.onnx import read_onnx
from ..runtimes.base import Executor, Runtime
from ..runtimes.mxnet.libmxnet import binding
from ..runtimes.mxnet.settings import without_engine_line
from .network import Entry, Network, Node, is_fixed
from .reference import with_outputs
from .running import Difference, compare, predict
from .translate import Translated

CPU = ("cpu", 0)
FUSION_VARIABLE = "MXNET_SUBGRAPH_BACKEND"


class Parting(NamedTuple):
    """Where they part.

    Attributes:
        node: the name of the node.
        operator: by MXNet's name.
        difference: of its output.
        before: the largest relative difference of what the node reads.
    """

    node: str
    operator: str
    difference: Difference
    before: float


# Binds the graph of a model, with other values of it as its outputs.
Inner = Callable[[Sequence[Entry]], Executor]


def inner_reference(model: Model, network: Network, runtime: Runtime) -> Inner:
    """MXNet's graphs for one record, or for as many as the graph holds."""

    def bind(entries: Sequence[Entry]) -> Executor:
        with _without_fusion():
            return runtime.bind(with_outputs(model, network, entries), CPU, network.held or 1)

    return bind


def inner_onnx(translated: Translated, path: str, runtime: Runtime, batch_size: int) -> Inner:
    """onnxruntime's graphs for so many records."""
    return lambda entries: runtime.bind(read_onnx(translated.build(entries), path), CPU, batch_size)


def find_parting(
    network: Network,
    reference: Inner,
    other: Inner,
    rows: NDArray[np.float32],
    tolerance: float,
    *,
    in_batches: bool = False,
) -> Parting | None:
    """The first node whose output differs by more than the tolerance; None if only the outputs' labels do.

    Args:
        network: the network.
        reference: MXNet's graphs.
        other: onnxruntime's.
        rows: (records, values); a few, on which the outputs differ.
        tolerance: relative to the largest value of a record.
        in_batches: whether the graphs take several records: only values with a row for each can be compared then.
    """
    entries = inner_entries(network, in_batches=in_batches)
    if not entries:
        return None
    expected, found = (predict(bind(entries), rows) for bind in (reference, other))
    relative: dict[int, float] = {}
    for entry, left, right in zip(entries, expected, found):
        node = network.nodes[entry[0]]
        difference = compare(node.name, left.reshape(len(rows), -1), right.reshape(len(rows), -1))
        if not difference.relative <= tolerance:
            before = max((relative.get(source, 0.0) for source, _ in node.inference_inputs), default=0.0)
            return Parting(node.name, node.operator, difference, before)
        relative[entry[0]] = difference.relative
    return None


def find_mixing(network: Network, bind: Inner, rows: NDArray[np.float32], tolerance: float) -> Node | None:
    """The first node whose output for a record depends, by more than the tolerance, on the records beside it.

    Args:
        network: the network.
        bind: graphs for as many records as there are rows.
        rows: (records, values).
        tolerance: relative to the largest value of a record.
    """
    entries = inner_entries(network, in_batches=True)
    if not entries:
        return None
    others_blank = rows.copy()
    others_blank[1::2] = 0
    executor = bind(entries)
    for entry, left, right in zip(entries, predict(executor, rows), predict(executor, others_blank)):
        node = network.nodes[entry[0]]
        kept = (each.reshape(len(rows), -1)[::2] for each in (left, right))
        if not compare(node.name, *kept).relative <= tolerance:
            return node
    return None


def find_failing(network: Network, bind: Inner, rows: NDArray[np.float32]) -> Node | None:
    """The first node that an engine cannot compute of rows; None if it can compute all of them."""
    entries = inner_entries(network)

    def fails(count: int) -> bool:
        try:
            predict(bind(entries[:count]), rows)
        except ModelError:
            return True
        return False

    # Of all values up to one: where some of them fail, so do more.
    first, last = 0, len(entries)
    if not fails(last):
        return None
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (first, middle) if fails(middle) else (middle, last)
    return network.nodes[entries[last - 1][0]]


@contextlib.contextmanager
def _without_fusion() -> Iterator[None]:
    """MXNet reads the setting at each bind. It cannot fuse operators whose values are outputs, and fails where it tries."""
    with binding, without_engine_line():
        before = os.environ.get(FUSION_VARIABLE)
        os.environ[FUSION_VARIABLE] = "NONE"
        try:
            yield
        finally:
            if before is None:
                del os.environ[FUSION_VARIABLE]
            else:
                os.environ[FUSION_VARIABLE] = before


def inner_entries(network: Network, *, in_batches: bool = False) -> list[Entry]:
    """The first outputs of all operators that count in inference, in order; `in_batches`: those with a row for each record."""

    def has_rows(node: Node) -> bool:
        shape = node.outputs[0].shape
        return shape[:1] < (0,) and is_fixed(shape[1:])

    return [
        (number, 0)
        for number, node in enumerate(network.nodes)
        if number in network.live and node.operator != "null" and (has_rows(node) or not in_batches)
    ]
