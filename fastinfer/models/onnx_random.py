"""Which operators of a model in ONNX draw random numbers, so that the same record gives other values each time."""

from __future__ import annotations

from collections.abc import Iterator

from .onnx import DENSE
from .protobuf import Field, fields, text

SAMPLERS = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
# Draws where its third input says that it is in training.
DROPOUT, TRAINING = "Dropout", 2
BOOL = 9  # ONNX's type


def random_nodes(content: bytes) -> tuple[str, ...]:
    """The names of the nodes that draw random numbers, those of graphs within nodes among them.

    Args:
        content: of a file that :func:`fastinfer.models.onnx.read_onnx` has read.
    """
    search = _Search(memoryview(content))
    for part in fields(search.view, 0, len(content)):
        if part.number in (7, 25):  # the graph; functions
            search.take_graph(part, node=1 if part.number == 7 else 7)
    # What is not known to be false may be true.
    training = [name for name, decides in search.dropouts if decides not in search.false]
    return (*search.samplers, *training)


class _Search:
    """Notes what it walks over: nodes that always draw, those that draw in training, and what is known to be false."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.samplers: list[str] = []
        self.dropouts: list[tuple[str, str]] = []
        self.false: set[str] = set()

    def take_graph(self, graph: Field, node: int = 1) -> None:
        """Walks over a graph, whose nodes have that number."""
        for part in self._inside(graph):
            if part.number == node:
                self._take_node(part)
            elif part.number == DENSE and self._is_false(part):
                self.false.update(text(self.view, each) for each in self._inside(part) if each.number == 8)

    def _take_node(self, node: Field) -> None:
        inputs, outputs, said = [], [], {3: "", 4: ""}
        for part in self._inside(node):
            if part.number == 1:
                inputs.append(text(self.view, part))
            elif part.number == 2:
                outputs.append(text(self.view, part))
            elif part.number in said:
                said[part.number] = text(self.view, part)
            elif part.number == 5:
                for value in self._inside(part):
                    if value.number in (6, 11):
                        self.take_graph(value)
                    elif value.number == 5 and self._is_false(value):  # of a Constant
                        self.false.update(outputs)
        name = said[3] or said[4]
        if said[4] in SAMPLERS:
            self.samplers.append(name)
        elif said[4] == DROPOUT and "".join(inputs[TRAINING:]):
            self.dropouts.append((name, inputs[TRAINING]))

    def _is_false(self, tensor: Field) -> bool:
        parts = list(self._inside(tensor))
        if not any(part.number == 2 and part.value == BOOL for part in parts):
            return False
        values = [self.view[part.first : part.last] for part in parts if part.number in (5, 9)]  # packed; raw
        return bool(values) and not any(map(any, values))

    def _inside(self, field: Field) -> Iterator[Field]:
        return fields(self.view, field.first, field.last)
