"""What MXNet says of a model: its graph with all attributes, every shape and type, and its parameters."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..models.graph import read_graph, write_graph
from ..models.module import Model
from ..models.params import bare
from ..runtimes.mxnet.graph import errors_of
from ..runtimes.mxnet.inner_shapes import load_symbol
from ..runtimes.mxnet.libmxnet import binding, check, load_libmxnet
from ..runtimes.mxnet.symbol import TYPES, load_arrays
from .attributes import Attributes, default_of
from .held import Tell, read_values, tell_nobody
from .network import Entry, Network, Node


def read_network(model: Model, tell: Tell = tell_nobody) -> Network:
    """The graph of a model, with what MXNet knows of it; `tell` is told what takes time.

    Raises:
        ModelError: the graph cannot be loaded, or a shape does not grow in proportion to the batch.
    """
    with binding, errors_of("MXNet cannot load it", model.path):
        symbol = load_symbol(model.graph.text)
        graph = json.loads(symbol.to_json())
        names = symbol.outputs()
        values, held = read_values(model, graph, tell)
        nodes = []
        for node, outputs in zip(graph["nodes"], values):
            operator, defaults = ("null", {}) if node["op"] == "null" else describe(node["op"])
            inputs = tuple((source, output) for source, output, *_ in node["inputs"])
            nodes.append(Node(node["name"], operator, Attributes(node.get("attrs", {}), defaults), inputs, outputs))
    variables = {node.name: number for number, node in enumerate(nodes) if node.operator == "null"}
    heads = tuple((source, output) for source, output, *_ in graph["heads"])
    given = tuple(variables[each.name] for each in model.inputs)
    text = write_graph(graph["nodes"], graph["heads"], graph.get("attrs", {}))
    return Network(tuple(nodes), heads, tuple(names), given, text, held)


def read_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """The saved parameters, by the names in the graph."""
    found = {}
    with errors_of("MXNet cannot load its parameters", model.path):
        for name, array in load_arrays(model.params).items():
            if array.kind not in TYPES:
                raise ModelError(
                    f"{bare(name)} has MXNet's type {array.kind}, which has no translation", path=model.path
                )
            values = np.frombuffer(array.memory(), TYPES[array.kind][0])
            found[bare(name)] = values.reshape(array.shape).copy()
    return found


def with_outputs(model: Model, network: Network, entries: Sequence[Entry]) -> Model:
    """The model with other outputs."""
    graph = json.loads(network.text)
    text = write_graph(graph["nodes"], [[*entry, 0] for entry in entries], graph.get("attrs", {}))
    return replace(model, graph=read_graph(text, model.path), all_outputs=True)


def describe(operator: str) -> tuple[str, dict[str, str]]:
    """MXNet's own name of an operator, and the defaults of its attributes.

    Raises:
        MXNetError: there is no such operator.
    """
    library = load_libmxnet()
    handle, count = ctypes.c_void_p(), ctypes.c_uint32()
    check(library.NNGetOpHandle(operator.encode(), ctypes.byref(handle)))
    name, about, variable, returned = (ctypes.c_char_p() for _ in range(4))
    names, types, texts = (ctypes.POINTER(ctypes.c_char_p)() for _ in range(3))
    places = (name, about, count, names, types, texts, variable, returned)
    check(library.MXSymbolGetAtomicSymbolInfo(handle, *(ctypes.byref(place) for place in places)))
    defaults = {}
    for number in range(count.value):
        default = default_of((types[number] or b"").decode())
        if default is not None:
            defaults[(names[number] or b"").decode()] = default
    return (name.value or b"").decode(), defaults
