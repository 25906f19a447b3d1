"""Graphs that hold a batch size: which of the numbers in them are that size, so that they can be read at any other.

A shape such as (8, 4) says of neither number what it is. Each number that may be the batch size is tried in turn, the first
of a shape before the others, and the first choice with which the whole graph takes batches of other sizes is taken. That it
means what the saved graph means is not known by that; it is for the certificate to show, at the size that the graph holds
and at others.
"""

from __future__ import annotations

import re
import time
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
# At most so many choices are tried, and no other one after so many seconds.
MOST_TRIED, MOST_S = 300, 20.0

Nodes = Sequence[Mapping[str, Any]]
# Is told what begins, as "finding the batch size of the graph".
Tell = Callable[[str], object]


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
    """No numbers that can be the batch size were found.

    Attributes:
        node: as far as which there is one; None if there are no numbers.
        tried: how many choices were tried, where the search was given up; None where all were tried.
    """

    def __init__(self, node: int | None, tried: int | None = None) -> None:
        super().__init__(node, tried)
        self.node, self.tried = node, tried


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
        NotReplaceable: there is no such choice of numbers, or it was not found in time.
    """
    return _Choices(nodes, held, fits).find()


class _Choices:
    """The choices of numbers, in order: of each node that has some, one of them or none.

    Args:
        nodes, held, fits: see :func:`find_held`.
    """

    def __init__(self, nodes: Nodes, held: int, fits: Fits) -> None:
        self._fits = fits
        found = {number: _candidates(number, node, held) for number, node in enumerate(nodes)}
        self._nodes = [number for number, places in found.items() if places]
        self._options = [[[place] for place in found[number]] + [[]] for number in self._nodes]
        # For each of these nodes, which of its options is chosen.
        self._picks = [0] * len(self._nodes)

    def find(self) -> list[Place]:
        """The first choice that fits. Raises NotReplaceable."""
        started, tried, furthest, level = time.monotonic(), 0, 0, 1
        while True:
            misfit = self._find_misfit(level)
            if misfit is None:
                return self._chosen(len(self._nodes))
            level = min(misfit, len(self._nodes))
            furthest, tried = max(furthest, level), tried + 1
            while level and self._picks[level - 1] + 1 == len(self._options[level - 1]):
                self._picks[level - 1] = 0
                level -= 1
            if level == 0:
                raise NotReplaceable(self._nodes[furthest - 1] if self._nodes else None)
            if tried == MOST_TRIED or time.monotonic() - started > MOST_S:
                raise NotReplaceable(self._nodes[furthest - 1], tried)
            self._picks[level - 1] += 1

    def _find_misfit(self, level: int) -> int | None:
        """The least number of nodes with which the choice does not fit; one more than there are: it fits with all of them, but
        not in the end; None: it fits.

        What does not fit with some nodes does not fit with more: the steps double until it does not fit, then they are halved.

        Args:
            level: with fewer nodes than that it is known to fit.
        """
        fitting, step, end = level - 1, 1, len(self._nodes) + 1
        while self._fits_with(misfit := min(fitting + step, end)):
            if misfit == end:
                return None
            fitting, step = misfit, 2 * step
        while misfit - fitting > 1:
            middle = (fitting + misfit) // 2
            if self._fits_with(middle):
                fitting = middle
            else:
                misfit = middle
        return misfit

    def _fits_with(self, level: int) -> bool:
        """Whether the choice fits with the first nodes; with one more than there are in the end as well."""
        return self._fits(self._chosen(level), self._nodes[level - 1] if level <= len(self._nodes) else None)

    def _chosen(self, level: int) -> list[Place]:
        return [place for options, pick in zip(self._options[:level], self._picks) for place in options[pick]]


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


def tell_nobody(what: str) -> None:
    """See :data:`Tell`."""


def read_values(model: Model, graph: dict[str, Any], tell: Tell = tell_nobody) -> tuple[Values, int | None]:
    """The values of all nodes of a graph; and the batch size that it holds, None if it takes any.

    Args:
        model: whose inputs the graph has.
        graph: the graph, as MXNet prints it. Shapes of states that are not saved are removed from it where they hold a size.
        tell: see :data:`Tell`.

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
    tell(f"finding the batch size {held} in the graph")
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
        tried = "" if error.tried is None else f" ({error.tried:,} choices of its numbers were tried)"
        raise ModelError(
            f"the graph holds batch size {held}, and {quote(node['name'])} ({node['op']}) takes no other{tried}: "
            f"{first_line(found)}",
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
