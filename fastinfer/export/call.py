"""One operator of a model, as its translation sees it: attributes, inputs, shapes; and the nodes it emits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Union

import numpy as np

from .attributes import Attributes
from .graph_writer import GraphWriter, onnx_type
from .network import Entry, Network, Shape, Value, is_fixed, values_of


class Untranslatable(Exception):
    """An operator, or a use of it, that has no translation; the text says what."""


class Call:
    """One operator of the model.

    Attributes:
        attributes: its attributes.
        outputs: shapes and types of what it gives.
        count: how many inputs it has.
    """

    def __init__(
        self,
        network: Network,
        number: int,
        writer: GraphWriter,
        names: Mapping[Entry, str],
    ) -> None:
        node = network.nodes[number]
        self.attributes: Attributes = node.attributes
        self.outputs: tuple[Value, ...] = node.outputs
        self.count = len(node.inputs)
        self._network = network
        self._node = node
        self._number = number
        self._writer = writer
        self._names = names

    # What it reads.

    def input(self, number: int = 0) -> str:
        """The name of an input."""
        return self._names[self._node.inputs[number]]

    def inputs(self) -> list[str]:
        return [self.input(number) for number in range(self.count)]

    def shape(self, number: int = 0) -> Shape:
        """The shape of an input."""
        return self._network.value(self._node.inputs[number]).shape

    def dtype(self, number: int = 0) -> str:
        """The type of an input."""
        return self._network.value(self._node.inputs[number]).dtype

    def fixed(self, number: int = 0, axes: Sequence[int] | None = None) -> tuple[int, ...]:
        """Sizes of an input that must not depend on the batch: all of them, or those of some axes."""
        shape = self.shape(number)
        sizes = shape if axes is None else tuple(shape[axis] for axis in axes)
        if not is_fixed(sizes):
            raise Untranslatable("a size in it depends on the batch")
        return sizes

    def axis(self, name: str = "axis", rank: int | None = None) -> int:
        """An attribute that names an axis, counted from the front."""
        rank = len(self.shape()) if rank is None else rank
        axis = self.attributes.integer(name)
        return axis + rank if axis < 0 else axis

    def is_read(self, output: int) -> bool:
        """Whether something depends on one of its outputs."""
        return self._network.is_read((self._number, output))

    # What it emits. Operators are those of ONNX.

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.emit_many(operator, *inputs, outputs=1, **attributes)[0]

    def emit_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        return self._writer.emit(self._node.name, operator, *inputs, outputs=outputs, **attributes)

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Constant values; without a type they have that of the first input."""
        return self._writer.constant(values, self.dtype() if dtype is None else dtype)

    def indices(self, values: Sequence[int] | int) -> str:
        """Constant sizes, axes or places."""
        return self._writer.constant(values, np.int64)

    def cast(self, value: str, dtype: str) -> str:
        return self.emit("Cast", value, to=onnx_type(dtype))

    def cast_to_output(self, value: str, found: str) -> str:
        """A value of the type `found` in the type of the output."""
        wanted = self.outputs[0].dtype
        return value if found == wanted else self.cast(value, wanted)

    def reshape(self, value: str, shape: Shape) -> str:
        """Values in another shape, in the same order."""
        if sum(size < 0 for size in shape) > 1:
            target = self._writer.shape(shape)
        else:
            target = self.indices([max(size, -1) for size in shape])
        return self.emit("Reshape", value, target)

    def expand(self, value: str, shape: Shape) -> str:
        """Values, repeated along axes of size 1."""
        return self.emit("Expand", value, self._writer.shape(shape))

    def filled(self, shape: Shape, value: float, dtype: str) -> str:
        """One value everywhere."""
        if is_fixed(shape) and values_of(shape) <= 1 << 16:
            return self._writer.constant(np.full(shape, value, dtype))
        return self.expand(self._writer.constant(np.full([1] * len(shape), value, dtype)), shape)

    def transpose(self, value: str, axes: Sequence[int]) -> str:
        return value if list(axes) == sorted(axes) else self.emit("Transpose", value, perm=list(axes))

    def slice(self, value: str, axis: int, begin: int, end: int, step: int = 1) -> str:
        parts = (self.indices([number]) for number in (begin, end, axis, step))
        return self.emit("Slice", value, *parts)

    def reduce_sum(self, value: str, axes: Sequence[int], *, keepdims: bool) -> str:
        return self.emit("ReduceSum", value, self.indices(list(axes)), keepdims=int(keepdims))

    def along_channels(self, number: int, axis: int = 1, rank: int | None = None) -> str:
        """A vector that is an input, (C,), in a shape that is broadcast along the channels of the first input."""
        rank = len(self.shape()) if rank is None else rank
        shape = [1] * rank
        shape[axis] = values_of(self.shape(number))
        return self.reshape(self.input(number), tuple(shape))


# What a translation gives: the value of its first output, or of all of them.
Translation = Callable[[Call], Union[str, list[str]]]


def require(condition: bool, what: str) -> None:
    """Raises Untranslatable, with `what` it was, unless the condition holds."""
    if not condition:
        raise Untranslatable(what)
