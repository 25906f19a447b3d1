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
# The numbers of fields (onnx.proto): of a model; of a graph; of a function.
GRAPH, FUNCTION = 7, 25
NODE, FUNCTION_NODE = 1, 7


def random_nodes(content: bytes) -> tuple[str, ...]:
    """The names of the nodes that draw random numbers, those of graphs within nodes among them.

    Args:
        content: of a file that :func:`fastinfer.models.onnx.read_onnx` has read.
    """
    search = _Search(memoryview(content))
    for part in fields(search.view, 0, len(content)):
        if part.number == GRAPH:
            search.take_graph(part)
        elif part.number == FUNCTION:  # which knows nothing of other graphs
            search.take_nodes(part, FUNCTION_NODE, set())
    return (*search.samplers, *search.training)


class _Search:
    """Notes what it walks over: nodes that always draw, and those that may be in training."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.samplers: list[str] = []
        self.training: list[str] = []

    def take_graph(self, graph: Field, known: set[str] | frozenset[str] = frozenset()) -> None:
        """Walks over a graph; `known` is what is false around it."""
        false = set(known)
        for part in self._inside(graph):
            if part.number == DENSE:
                names = [text(self.view, each) for each in self._inside(part) if each.number == 8]
                (false.update if self._is_false(part) else false.difference_update)(names)
        self.take_nodes(graph, NODE, false)

    def take_nodes(self, graph: Field, number: int, false: set[str]) -> None:
        """Walks over the nodes of a graph or a function, in their order; adds to what is false there."""
        for part in self._inside(graph):
            if part.number == number:
                self._take_node(part, false)

    def _take_node(self, node: Field, false: set[str]) -> None:
        inputs, outputs, said, inner = [], [], {3: "", 4: ""}, []
        is_false = False
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
                        inner.append(value)
                    elif value.number == 5 and self._is_false(value):
                        is_false = True
        for graph in inner:
            self.take_graph(graph, false)
        (false.update if is_false and said[4] == "Constant" else false.difference_update)(outputs)
        name = said[3] or said[4]
        if said[4] in SAMPLERS:
            self.samplers.append(name)
        # What is not known to be false may be true.
        elif said[4] == DROPOUT and "".join(inputs[TRAINING:]) and inputs[TRAINING] not in false:
            self.training.append(name)

    def _is_false(self, tensor: Field) -> bool:
        parts = list(self._inside(tensor))
        if not any(part.number == 2 and part.value == BOOL for part in parts):
            return False
        values = [self.view[part.first : part.last] for part in parts if part.number in (5, 9)]  # packed; raw
        return bool(values) and not any(map(any, values))

    def _inside(self, field: Field) -> Iterator[Field]:
        return fields(self.view, field.first, field.last)
