"""The values inside a graph in ONNX; and the file of the graph that gives them as outputs.

A protocol buffer may have a message in pieces, which readers join: an output is added by a piece behind the file.
"""

from __future__ import annotations

from collections.abc import Iterable

from .protobuf import BYTES, Field, fields, text

# The numbers of fields (onnx.proto): of a model; of a graph; of an output; of a node.
GRAPH = 7
NODES, OUTPUTS = 1, 12
NAME = 1
NODE_INPUTS, NODE_OUTPUTS = 1, 2


def giving_all(content: bytes, inputs: Iterable[str]) -> tuple[bytes, list[str]]:
    """The file of a graph that also gives what its nodes compute from the inputs.

    What is computed of saved values alone is left out, and so are values in the graphs that nodes have, and in functions.

    Args:
        content: of a file that :func:`fastinfer.models.onnx.read_onnx` has read.
        inputs: the names of the graph's inputs.

    Returns:
        the file, and the names of the values.
    """
    view, known = memoryview(content), set(inputs)
    found: list[str] = []
    given: set[str] = set()
    for graph in fields(view, 0, len(content)):
        for part in fields(view, graph.first, graph.last) if graph.number == GRAPH else ():
            if part.number == OUTPUTS:
                given.update(_names(view, part, NAME))
            elif part.number == NODES and not known.isdisjoint(_names(view, part, NODE_INPUTS)):
                names = list(filter(None, _names(view, part, NODE_OUTPUTS)))  # one that is left out has an empty name
                known.update(names)
                found += names
    added = b"".join(_message(OUTPUTS, _message(NAME, name.encode())) for name in found if name not in given)
    return content + _message(GRAPH, added), found


def _names(view: memoryview, message: Field, number: int) -> list[str]:
    return [text(view, part) for part in fields(view, message.first, message.last) if part.number == number]


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
