"""Graphs that hold a batch size: which of the numbers in them are that size, so that they can be read at any other.

A shape such as (8, 4) says of neither number what it is. Each number that may be the batch size is tried in turn, the first
of a shape before the others, and the first choice with which the whole graph takes batches of other sizes is taken. That it
means what the saved graph means is not known by that; it is for the certificate to show, at the size that the graph holds
and at others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, NamedTuple, Optional

from numpy.typing import NDArray

from ..errors import ModelError, quote
from ..models.graph import read_graph, write_graph
from ..models.module import Model
from ..models.params import bare
from ..runtimes.invariance import is_invariant, nearly_same, probe_rows
from ..runtimes.mxnet.graph import MXNetExecutor, held_batch
from ..runtimes.mxnet.libmxnet import MXNetError, first_line
from ..runtimes.mxnet.symbol import load_arrays
from .running import predict
from .shapes import BATCHES, NodesAt, Undetermined, Values, infer_values

CPU = ("cpu", 0)
# The attributes that say how large something is.
SIZES = ("shape", "size", "end")
# One that is not negative, not a part of a word or of a number with a point.
_NUMBER = re.compile(r"(?<![-.\w])[0-9]+(?![.\w])")
# So many choices are tried.
MOST_TRIED = 1000

Nodes = Sequence[Mapping[str, Any]]


class Place(NamedTuple):
    """A number in a graph.

    Attributes:
        node: the number of the node.
        attribute: which attribute.
        place: which number of it.
    """

    node: int
    attribute: str
    place: int


# Whether a graph with some of its numbers replaced takes batches of several sizes, as far as a node; None: all of it.
Fits = Callable[[Sequence[Place], Optional[int]], bool]


class NotReplaceable(Exception):
    """There are no numbers that can be the batch size; `node`: as far as which there are some, None if there are no numbers."""

    def __init__(self, node: int | None) -> None:
        super().__init__(node)
        self.node = node


def replace_held(nodes: Nodes, places: Sequence[Place], held: int, batch: int) -> list[dict[str, Any]]:
    """The nodes of a graph with another batch size, or its multiple, at some places."""
    found = [dict(node) for node in nodes]
    for node, attribute, place in places:
        attributes = dict(found[node]["attrs"])
        numbers = list(_NUMBER.finditer(attributes[attribute]))
        match, text = numbers[place], attributes[attribute]
        attributes[attribute] = f"{text[: match.start()]}{int(match[0]) // held * batch}{text[match.end() :]}"
        found[node]["attrs"] = attributes
    return found


def find_held(nodes: Nodes, held: int, fits: Fits) -> list[Place]:
    """The numbers of a graph that are the batch size that it holds.

    Args:
        nodes: of the graph.
        held: the batch size.
        fits: see :data:`Fits`.

    Raises:
        NotReplaceable: there is no such choice of numbers.
    """
    choices = [(number, places) for number, node in enumerate(nodes) if (places := _candidates(number, node, held))]
    furthest, tried = 0, 0

    def search(chosen: list[Place], level: int) -> list[Place] | None:
        nonlocal furthest, tried
        furthest = max(furthest, level)
        if level == len(choices):
            return chosen if fits(chosen, None) else None
        node, places = choices[level]
        for extended in (*([*chosen, place] for place in places), chosen):
            tried += 1
            if tried > MOST_TRIED:
                return None
            if fits(extended, node):
                found = search(extended, level + 1)
                if found is not None:
                    return found
        return None

    found = search([], 0)
    if found is None:
        raise NotReplaceable(choices[min(furthest, len(choices) - 1)][0] if choices else None)
    return found


def _candidates(number: int, node: Mapping[str, Any], held: int) -> list[Place]:
    """The numbers of a node that may be the batch size, the likelier ones first: a multiple of it where there are several rows
    for each record, which is always the first number where it is a multiple of 1."""
    found = []
    for attribute in SIZES if node["op"] != "null" else ():
        for place, match in enumerate(_NUMBER.finditer(node.get("attrs", {}).get(attribute, ""))):
            size = int(match[0])
            if size == held or (size and size % held == 0 and (held > 1 or match.start() <= 1)):
                found.append(Place(number, attribute, place))
    return found


def read_values(model: Model, graph: dict[str, Any]) -> tuple[Values, int | None]:
    """The values of all nodes of a graph; and the batch size that it holds, None if it takes any.

    Args:
        model: whose inputs the graph has.
        graph: the graph, as MXNet prints it. Shapes of states that are not saved are removed from it where they hold a size.

    Raises:
        ModelError: ``no_translation``, with the node that takes no other batch size.
        MXNetError, ValueError: the graph does not take batches of several sizes, whatever its numbers are.
    """
    try:
        return infer_values(model, graph), None
    except (MXNetError, ValueError) as error:
        found = error
    if _open_states(model, graph):
        try:
            return infer_values(model, graph), None
        except (MXNetError, ValueError) as error:
            found = error
    held = held_batch(model)
    saved = {bare(name): array.shape for name, array in load_arrays(model.params).items()}
    expected = _answers_at(model, held)

    def nodes_at(places: Sequence[Place]) -> NodesAt:
        return lambda batch: replace_held(graph["nodes"], places, held, batch)

    def fits(places: Sequence[Place], last: int | None) -> bool:
        try:
            infer_values(model, graph, nodes_at(places), saved, last)
            return (
                last is not None
                or expected is None
                or _gives(model, graph, nodes_at(places), _other_than(held), expected)
            )
        except Undetermined:
            return last is not None  # what comes behind it may say more
        except (MXNetError, ValueError, ModelError):
            return False

    try:
        places = find_held(graph["nodes"], held, fits)
    except NotReplaceable as error:
        if error.node is None:
            raise found from error
        node = graph["nodes"][error.node]
        raise ModelError(
            f"the graph holds batch size {held}, and {quote(node['name'])} ({node['op']}) takes no other: {first_line(found)}",
            code="no_translation",
            path=model.path,
            hint="save the model for batches of any size",
        ) from found
    return infer_values(model, graph, nodes_at(places), saved), held


def _answers_at(model: Model, held: int) -> list[NDArray[Any]] | None:
    """What the graph gives for rows of the probe; None where it refuses them, or records of a batch influence each other."""
    executor = MXNetExecutor(model, CPU, held)
    try:
        if held > 1 and not is_invariant(executor, nearly=True):
            return None
        return predict(executor, probe_rows(_other_than(held), model.row_values))
    except ModelError:
        return None


def _other_than(held: int) -> int:
    """The batch size at which a graph is tried whose own was replaced."""
    return next(batch for batch in BATCHES if batch != held)


def _gives(model: Model, graph: Mapping[str, Any], nodes_at: NodesAt, batch: int, expected: list[NDArray[Any]]) -> bool:
    """Whether the graph at another batch size gives the rows of the probe what they have in the saved one."""
    text = write_graph(list(nodes_at(batch)), graph["heads"], graph.get("attrs", {}))
    executor = MXNetExecutor(replace(model, graph=read_graph(text, model.path)), CPU, batch)
    found = predict(executor, probe_rows(batch, model.row_values))
    pairs = zip(expected, found)
    return all(left.shape == right.shape and nearly_same([left], [right]) for left, right in pairs)


def _open_states(model: Model, graph: Mapping[str, Any]) -> bool:
    """Takes the shape away from variables that are not saved, such as states, where it holds the batch size; whether there were
    any. MXNet finds the shape that fits the batch."""
    known = {*(each.name for each in model.inputs), *map(bare, load_arrays(model.params))}
    found = [
        node["attrs"]
        for node in graph["nodes"]
        if node["op"] == "null" and node["name"] not in known and "__shape__" in node.get("attrs", {})
    ]
    for attributes in found:
        del attributes["__shape__"]
    return bool(found)
