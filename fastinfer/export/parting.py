"""Finds the first node at which a translation and MXNet part, or that MXNet cannot compute: inner values are outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..models.module import Model
from ..models.onnx import read_onnx
from ..runtimes.base import Runtime
from ..runtimes.mxnet.libmxnet import binding
from ..runtimes.mxnet.settings import without_engine_line
from .network import Entry, Network, Node
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


def find_parting(
    model: Model,
    translated: Translated,
    rows: NDArray[np.float32],
    tolerance: float,
    runtimes: tuple[Runtime, Runtime],
) -> Parting | None:
    """The first node whose output differs by more than the tolerance; None if only the outputs' labels do.

    Args:
        model: the model.
        translated: its translation.
        rows: (records, values); a few, on which the outputs differ.
        tolerance: relative to the largest value of a record.
        runtimes: MXNet's, and ONNX's.
    """
    network = translated.network
    entries = inner_entries(network)
    reference, other = runtimes
    inner = with_outputs(model, network, entries)
    with _without_fusion():
        executor = reference.bind(inner, CPU, len(rows))
    expected = predict(executor, rows)
    onnx = read_onnx(translated.build(entries), model.path)
    found = predict(other.bind(onnx, CPU, len(rows)), rows)
    relative: dict[int, float] = {}
    for entry, left, right in zip(entries, expected, found):
        node = network.nodes[entry[0]]
        # Record by record, where it has its records one behind another.
        records = len(rows) if network.value(entry).shape[:1] < (0,) else 1
        difference = compare(node.name, left.reshape(records, -1), right.reshape(records, -1))
        if not difference.relative <= tolerance:
            before = max((relative.get(source, 0.0) for source, _ in node.inference_inputs), default=0.0)
            return Parting(node.name, node.operator, difference, before)
        relative[entry[0]] = difference.relative
    return None


def find_failing(model: Model, network: Network, reference: Runtime) -> Node | None:
    """The first node that MXNet cannot compute of a blank record; None if it can compute all of them."""
    entries = inner_entries(network)

    def fails(count: int) -> bool:
        inner = with_outputs(model, network, entries[:count])
        try:
            with _without_fusion():
                executor = reference.bind(inner, CPU, 1)
            executor.forward()
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


def inner_entries(network: Network) -> Sequence[Entry]:
    """The first outputs of all operators that count in inference, in order."""
    return [
        (number, 0) for number, node in enumerate(network.nodes) if number in network.live and node.operator != "null"
    ]
