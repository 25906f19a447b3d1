"""A model's graph (MXNet's JSON), checked whole before MXNet sees it, and written anew.

MXNet goes where the numbers in a graph point without a look, so a wrong one ends the process or does worse. Here every input
and output must be one of an earlier node, operators must be on a list, and everything else must have the type and size that
MXNet's own writer gives it. MXNet is then given :attr:`Graph.text`, which holds what was checked and nothing else: two
readers cannot understand it in two ways. How many inputs and outputs an operator has is known to MXNet alone:
runtimes/mxnet/inner_shapes.py asks it before the graph is used.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ModelError, quote
from .choice import same_name
from .operators import OPERATORS, find_wrong, name_output

NODES_LIMIT = 100_000
INPUTS_LIMIT = 10_000
# In characters. An attribute may list a shape for each of many inputs.
NAME_LIMIT = 1024
ATTRIBUTE_LIMIT = 1 << 16
VERSION_LIMIT = 1 << 20

# The operators whose second input is a label: set in training, zero in inference.
LOSS_OPERATORS = {
    "CTCLoss",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "SVMOutput",
    "Softmax",
    "SoftmaxOutput",
    "_contrib_CTCLoss",
    "_contrib_ctc_loss",
    "ctc_loss",
    "softmax_cross_entropy",
}
# Where an RNN takes its initial states; and what MXNet's cells, Gluon and Module's users call states and labels.
RNN_STATES = (2, 3)
ZERO_NAMES = re.compile(r".*label|.*begin_state_[0-9]+|.*(^|_)init_[ch]|.*(^|_)(state|state_cell)")

# The states of BatchNorm are no inputs in what was written before this version: MXNet adds them as it reads a graph.
STATES_SINCE = 900
BATCH_NORM_STATES = {3: "moving_mean", 4: "moving_var"}

# The operators that run a graph of their own, several times or not at all.
CONTROL_OPERATORS = {"_foreach", "_while_loop", "_cond"}

# Where a graph may hold a batch size; and the largest that is looked for.
SHAPE_ATTRIBUTES = {"shape", "__shape__", "target_shape", "end", "num_outputs", "size"}
MOST_HELD = 1024

GRAPH_KEYS = ("nodes", "arg_nodes", "heads", "node_row_ptr", "attrs")
# MXNet has written a node's attributes in these ways, and reads them all; the first yields to the others.
ATTRIBUTES = ("param", "attr", "attrs")
NODE_KEYS = ("op", "name", "inputs", "control_deps", "subgraphs", "backward_source_id", *ATTRIBUTES)

SAVE_AGAIN = "save the model again as Module does"
UNROLL = "unroll the loop, or compute both branches and choose with mx.sym.where; then save the model again"
REPLACE = "replace the operator by some of those that fastinfer/models/operators.py lists; then save the model again"


@dataclass(frozen=True)
class Graph:
    """A checked graph.

    Attributes:
        text: the graph, as JSON for MXNet.
        variables: its variables on which an output depends: their names, in their order, with their attributes; those
            that MXNet adds last.
        zeros: those of them that are zero where they have no values: labels, which are only used in training, and the
            initial states of recurrent layers.
        outputs: the names of its outputs, as MXNet makes them.
        version: of the MXNet that wrote it, such as 10901; None if it does not say.
        left_out: the variables that only outputs read which are not chosen.
    """

    text: str
    variables: dict[str, dict[str, str]] = field(repr=False)
    zeros: frozenset[str]
    outputs: tuple[str, ...]
    version: int | None
    left_out: frozenset[str] = frozenset()


def read_graph(symbol: str, path: str) -> Graph:
    """Checks a graph.

    Raises:
        ModelError: ``bad_model``, with the node.
    """
    nodes, heads, attributes = _Reader(path).read(symbol)
    return _make_graph(nodes, heads, attributes)


def choose_output(graph: Graph, name: str, path: str) -> Graph:
    """The same graph with one output: one of its own, or what a node inside it gives.

    Args:
        graph: the graph.
        name: of the output, as MXNet makes it, or of the node.
        path: of the graph, for the message.

    Raises:
        ModelError: ``no_such_output``.
    """
    text = json.loads(graph.text)
    nodes, heads = text["nodes"], text["heads"]
    own = [head for found, head in zip(graph.outputs, heads) if found == name]
    inner = [[number, 0, 0] for number, node in enumerate(nodes) if node["op"] != "null"]
    inside = [head for head in inner if name in (nodes[head[0]]["name"], _output_name(nodes[head[0]], 0))]
    found = own or inside
    if not found:
        raise ModelError(
            f"the graph has no output {quote(name)}",
            code="no_such_output",
            path=path,
            hint=f"its outputs are {', '.join(graph.outputs[:8])}",
        )
    if any(head != found[0] for head in found):
        raise same_name(name, path)
    chosen = _make_graph(nodes, found[:1], text.get("attrs", {}))
    return replace(chosen, left_out=frozenset(graph.variables) - frozenset(chosen.variables))


def _make_graph(nodes: list[dict[str, Any]], heads: list[list[int]], attributes: dict[str, Any]) -> Graph:
    nodes, heads = _used(nodes, heads)
    variables = {node["name"]: node.get("attrs", {}) for node in nodes if node["op"] == "null"}
    zeros = {name for name in variables if ZERO_NAMES.fullmatch(name)}
    for node in nodes:
        places = (1,) if node["op"] in LOSS_OPERATORS else RNN_STATES if node["op"] == "RNN" else ()
        sources = [nodes[node["inputs"][place][0]] for place in places if place < len(node["inputs"])]
        zeros |= {source["name"] for source in sources if source["op"] == "null"}
    version = attributes.get("mxnet_version")
    if version is None or version[1] < STATES_SINCE:
        variables.update({name: {} for name in _added_states(nodes)})
    return Graph(
        write_graph(nodes, heads, attributes),
        variables,
        frozenset(zeros),
        tuple(_output_name(nodes[number], output) for number, output, *_ in heads),
        version[1] if version else None,
    )


def _added_states(nodes: list[dict[str, Any]]) -> list[str]:
    """The names that MXNet gives to states which are no inputs yet."""
    return [
        f"{node['name']}_{state}" if node["name"] else state
        for node in nodes
        if node["op"] == "BatchNorm"
        for place, state in BATCH_NORM_STATES.items()
        if place >= len(node["inputs"])
    ]


def held_sizes(graph: Graph) -> list[int]:
    """The batch sizes that a graph may hold, in ascending order: the divisors of the numbers that are written in its nodes.

    A shape such as (32, 4) may be that of 8 records with 4 rows each.
    """
    numbers = {
        int(number)
        for node in json.loads(graph.text)["nodes"]
        for name, text in node.get("attrs", {}).items()
        if name in SHAPE_ATTRIBUTES
        for number in re.findall(r"[0-9]{1,9}", text)
    }
    return [size for size in range(2, MOST_HELD + 1) if any(number and number % size == 0 for number in numbers)]


def _used(nodes: list[dict[str, Any]], heads: list[list[int]]) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """The nodes on which an output depends, as MXNet keeps them, and the outputs; with the nodes' new numbers."""
    used = {node for node, *_ in heads}
    for number in range(len(nodes) - 1, -1, -1):
        if number in used:
            used.update(source for source, *_ in nodes[number]["inputs"])
    place = {number: index for index, number in enumerate(sorted(used))}

    def renumber(entries: list[list[int]]) -> list[list[int]]:
        return [[place[source], *rest] for source, *rest in entries]

    kept = [{**nodes[number], "inputs": renumber(nodes[number]["inputs"])} for number in sorted(used)]
    return kept, renumber(heads)


def _output_name(node: dict[str, Any], number: int) -> str:
    """The name that MXNet gives to an output of a node."""
    if node["op"] == "null":
        return str(node["name"])
    name = name_output(node["op"], node.get("attrs", {}), number)
    return f"{node['name']}_{name}" if node["name"] else name


def write_graph(nodes: list[dict[str, Any]], heads: list[list[int]], attributes: dict[str, Any]) -> str:
    """A graph as MXNet's JSON. MXNet does not know JSON's escapes, so text is written as it is."""
    variables = [number for number, node in enumerate(nodes) if node["op"] == "null"]
    graph = {"nodes": nodes, "arg_nodes": variables, "heads": heads}
    return json.dumps({**graph, **({"attrs": attributes} if attributes else {})}, ensure_ascii=False)


class _Reader:
    """Takes a graph apart; every method raises ModelError for what MXNet's own writer would not write."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, symbol: str) -> tuple[list[dict[str, Any]], list[list[int]], dict[str, Any]]:
        """The nodes, the outputs of the graph, and its version as an attribute."""
        try:
            graph = json.loads(symbol)
        except (ValueError, RecursionError) as error:
            raise self._bad(f"it is not JSON: {error}") from error
        self._check_keys(graph, GRAPH_KEYS, "it")
        if not isinstance(graph.get("nodes"), list):
            raise self._bad(f"its nodes are {show_value(graph.get('nodes'))}, expected a list")
        if len(graph["nodes"]) > NODES_LIMIT:
            raise self._bad(f"it has {len(graph['nodes']):,} nodes, expected at most {NODES_LIMIT:,}")
        nodes: list[dict[str, Any]] = []
        variables: set[str] = set()
        for found in graph["nodes"]:
            nodes.append(self._read_node(found, len(nodes)))
            self._check_fusion(nodes)
            if nodes[-1]["op"] == "null":
                name = nodes[-1]["name"]
                if name in variables:
                    raise self._bad(f"two inputs have the name {quote(name)}")
                variables.add(name)
        heads = self._read_entries(graph.get("heads"), "the graph's outputs", len(nodes))
        if not heads:
            raise self._bad("it has no output, expected at least one")
        return nodes, heads, self._read_version(graph.get("attrs", {}))

    def _read_node(self, node: Any, number: int) -> dict[str, Any]:
        what = f"node {number}"
        self._check_keys(node, NODE_KEYS, what)
        operator, name = self._read_text(node.get("op"), f"the op of {what}"), node.get("name")
        name = self._read_text(name, f"the name of {what}")
        what = f"node {number} ({quote(name)})"
        if operator in CONTROL_OPERATORS:
            raise self._bad(
                f"{what} has the operator {quote(operator)}, expected a graph without loops and conditions", UNROLL
            )
        if operator != "null" and operator not in OPERATORS:
            raise self._bad(
                f"{what} has the operator {quote(operator)}, which is not among those that are served", REPLACE
            )
        if node.get("control_deps") or node.get("subgraphs"):
            raise self._bad(f"{what} has graphs or dependencies of its own, which are not served")
        inputs = self._read_entries(node.get("inputs"), f"the inputs of {what}", number)
        if operator == "null" and inputs:
            raise self._bad(f"{what} is an input of the graph and has inputs itself")
        if node.get("attrs") and node.get("attr"):
            raise self._bad(f"{what} has two groups of attributes")
        attributes: dict[str, str] = {}
        for key in ATTRIBUTES:
            found = node.get(key, {})
            if not isinstance(found, dict):
                raise self._bad(f"the attributes of {what} are {show_value(found)}, expected an object")
            for attribute, value in found.items():
                attribute = self._read_text(attribute, f"an attribute of {what}")
                if not isinstance(value, str) or len(value) > ATTRIBUTE_LIMIT or not _is_plain(value):
                    raise self._bad(
                        f"the attribute {quote(attribute)} of {what} is {show_value(value)}, expected {_text(ATTRIBUTE_LIMIT)}"
                    )
                attributes[attribute] = value
        wrong = find_wrong(operator, attributes)
        if wrong is not None:
            raise self._bad(f"{what} ({operator}) cannot be run: {wrong}")
        return {"op": operator, "name": name, "inputs": inputs, **({"attrs": attributes} if attributes else {})}

    def _check_fusion(self, nodes: list[dict[str, Any]]) -> None:
        """MXNet makes one operator of a Convolution and the BatchNorm behind it, as if that had the axis of the filters."""
        node = nodes[-1]
        axis = node.get("attrs", {}).get("axis", "1")
        if node["op"] != "BatchNorm" or axis == "1" or not node["inputs"]:
            return
        if nodes[node["inputs"][0][0]]["op"] == "Convolution":
            name = quote(node["name"])
            raise self._bad(
                f"{name} follows a Convolution and normalizes axis {quote(axis)}, which MXNet cannot compute"
            )

    def _read_entries(self, entries: Any, what: str, nodes: int) -> list[list[int]]:
        """Outputs of earlier nodes: [node, output] or [node, output, version]."""
        if not isinstance(entries, list) or len(entries) > INPUTS_LIMIT:
            raise self._bad(f"{what} are {show_value(entries)}, expected a list of at most {INPUTS_LIMIT:,}")
        read = []
        for entry in entries:
            fits = isinstance(entry, list) and len(entry) in (2, 3) and all(type(number) is int for number in entry)
            limits = (nodes, INPUTS_LIMIT, VERSION_LIMIT)
            if not fits or not all(0 <= number < limit for number, limit in zip(entry, limits)):
                raise self._bad(f"{what} name {show_value(entry)}, expected [node, output] of an earlier node")
            read.append([*entry, 0][:3])
        return read

    def _read_text(self, text: Any, what: str) -> str:
        if not isinstance(text, str) or len(text) > NAME_LIMIT or not _is_plain(text):
            raise self._bad(f"{what} is {show_value(text)}, expected {_text(NAME_LIMIT)}")
        return text

    def _read_version(self, attributes: Any) -> dict[str, Any]:
        """MXNet's version, by which it reads older graphs; it reads nothing else there."""
        found = attributes.get("mxnet_version") if isinstance(attributes, dict) else None
        if not isinstance(attributes, dict) or (found is not None and not _is_version(found)):
            raise self._bad(
                f'its attributes are {show_value(attributes)}, expected {{"mxnet_version": ["int", number]}}'
            )
        return {} if found is None else {"mxnet_version": found}

    def _check_keys(self, value: Any, keys: tuple[str, ...], what: str) -> None:
        if not isinstance(value, dict):
            raise self._bad(f"{what} is {show_value(value)}, expected an object")
        unknown = next((key for key in value if key not in keys), None)
        if unknown is not None:
            raise self._bad(f"{what} has the key {quote(unknown)}, expected {', '.join(keys)}")

    def _bad(self, why: str, hint: str = SAVE_AGAIN) -> ModelError:
        return ModelError(f"is not a graph that can be served: {why}", path=self._path, hint=hint)


def show_value(value: Any) -> str:
    """What was found instead, shortened."""
    try:
        return quote(repr(value))
    except RecursionError:
        return "a deeply nested value"


def _text(limit: int) -> str:
    return f"text of at most {limit:,} characters, without control characters"


def _is_plain(text: str) -> bool:
    """Whether MXNet reads the text as it is written: UTF-8, no control characters but line ends and tabs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return all(character >= " " or character in "\t\n\r" for character in text)


def _is_version(found: Any) -> bool:
    return (
        isinstance(found, list)
        and len(found) == 2
        and found[0] == "int"
        and type(found[1]) is int
        and 0 <= found[1] < VERSION_LIMIT
    )


def flattens(symbol: str, data_name: str) -> bool:
    """Whether a graph (its checked text) first flattens the rows of an input, so that their shape does not matter."""
    nodes = json.loads(symbol)["nodes"]
    inputs = {index for index, node in enumerate(nodes) if node["op"] == "null" and node["name"] == data_name}
    first = [node for node in nodes if any(each[0] in inputs for each in node["inputs"])]
    return bool(first) and all(node["op"] == "Flatten" or _flattens_itself(node) for node in first)


def _flattens_itself(node: dict[str, Any]) -> bool:
    # Older versions of MXNet wrote other names for the attributes.
    attributes = node.get("attrs") or node.get("attr") or node.get("param") or {}
    return node["op"] == "FullyConnected" and attributes.get("flatten", "True") in ("True", "1")
