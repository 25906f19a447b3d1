"""What a pass of a bound graph gave, so that it can be cut by records, whatever the graph's outputs are. NumPy is imported only
for what Python has no type for: float16, and several outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .base import BoundInput, BoundOutput, Executor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def by_record(outputs: Sequence[BoundOutput], values: Sequence[memoryview]) -> Any:
    """The values of a pass; ``[first:stop]`` of it are those of these records.

    Args:
        outputs: of the graph.
        values: as :meth:`fastinfer.runtimes.base.Executor.forward` gives them.

    Returns:
        of one output a buffer of shape (records, rows * prod(shape)); of several a structured array of NumPy, with a field
        for each output. Values of float16 are float32, which prints them with the same digits.
    """
    if len(outputs) > 1:
        return named_records(outputs, values)
    (output,) = outputs
    flat: Any = values[0]
    if output.dtype == "float16":
        flat = memoryview(as_array(output, flat).reshape(-1))  # type: ignore[arg-type]
    width = output.rows * math.prod(output.shape)
    return flat.cast("B").cast(flat.format, (len(flat) // width, width))


def as_array(output: BoundOutput, values: memoryview) -> NDArray[Any]:
    """The values of one output as an array of shape (records * rows, *shape); of float32, if they are float16."""
    import numpy as np

    array: NDArray[Any] = np.frombuffer(values, output.dtype)
    if output.dtype == "float16":
        array = array.astype(np.float32)
    return array.reshape(-1, *output.shape)


def named_records(outputs: Sequence[BoundOutput], values: Sequence[memoryview]) -> NDArray[Any]:
    """The values of several outputs as a structured array: a record with a field for each output."""
    import numpy as np

    fields = [as_array(output, each) for output, each in zip(outputs, values)]
    shapes = [output.shape if output.rows == 1 else (output.rows, *output.shape) for output in outputs]
    records = np.empty(
        len(fields[0]) // outputs[0].rows,
        np.dtype([(output.name, field.dtype, shape) for output, field, shape in zip(outputs, fields, shapes)]),
    )
    for output, field, shape in zip(outputs, fields, shapes):
        records[output.name] = field.reshape(len(records), *shape)
    return records


class JoinedInputs:
    """A graph of several inputs, whose records lie in one memory; see :class:`fastinfer.runtimes.base.Executor`.

    Before each pass the columns of the records are copied to the inputs.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.batch_size = executor.batch_size
        self.outputs = executor.outputs
        self.gives_a_row_each = executor.gives_a_row_each
        width = sum(math.prod(each.shape) for each in executor.inputs)
        memory: Any = memoryview(bytearray(4 * self.batch_size * width)).cast("f")
        self.inputs: tuple[BoundInput, ...] = (BoundInput("record", (width,), memory),)

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        import numpy as np

        records, first = np.frombuffer(self.inputs[0].memory, np.float32).reshape(self.batch_size, -1), 0
        for each in self._executor.inputs:
            stop = first + math.prod(each.shape)
            np.frombuffer(each.memory, np.float32).reshape(self.batch_size, -1)[:] = records[:, first:stop]
            first = stop
        return self._executor.forward()


def with_one_input(executor: Executor) -> Executor:
    """The executor with one input that takes whole records."""
    return executor if len(executor.inputs) == 1 else JoinedInputs(executor)
