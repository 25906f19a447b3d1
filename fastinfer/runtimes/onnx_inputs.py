"""What a graph in ONNX is given: the memory of its inputs, records in the types that it takes, and blank ones that it takes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from ..errors import ModelError, quote
from ..models.onnx import OnnxInput, OnnxModel
from .libonnxruntime import OnnxRuntimeError, Session, Tensor, zeros
from .number_types import fit, limits, misfits


class OnnxInputs:
    """The memory of a graph's inputs.

    Args:
        model: the model.
        records: how many the memory holds.

    Attributes:
        memory: of each input, float32; blank records at first.
    """

    def __init__(self, model: OnnxModel, records: int) -> None:
        self._model = model
        self.memory: list[Any] = [zeros(4 * records * math.prod(each.shape)).cast("f") for each in model.graph_inputs]
        # What stands where there is no record, for each input.
        self._blank = [bytes(4 * math.prod(each.shape)) for each in model.graph_inputs]

    def given(self, first: int, own: int) -> dict[str, Tensor]:
        """What a pass reads: `own` records from the first on, and blank ones behind them where the graph takes more.

        Raises:
            ModelError: ``failed_pass``: a value does not fit the type of an input.
        """
        width = self._model.batch or own
        tensors = {}
        for each, memory, blank in zip(self._model.graph_inputs, self.memory, self._blank):
            size = math.prod(each.shape)
            records: Any = memory[first * size : (first + own) * size]
            if width > own:
                padded = zeros(4 * width * size)
                padded[: 4 * own * size] = records.cast("B")
                padded[4 * own * size :] = (width - own) * blank
                records = padded.cast("f")
            tensors[each.name] = Tensor.over(self._converted(each, records), (width, *each.shape), each.type)
        return tensors

    def run_blank(self, session: Session, names: Sequence[str]) -> list[Tensor]:
        """A pass over as few blank records as the graph takes: of zeros, or where an operator refuses those of a row made up
        that it takes, which is what the memory holds then.

        Args:
            session: of the model, or of one with the same inputs.
            names: of the outputs.

        Raises:
            ModelError: ``failed_pass``: it refuses all of them.
        """
        records = self._model.batch or 1
        try:
            return run(session, self.given(0, records), names, self._model.path)
        except ModelError as error:
            refused = error
        from .invariance import tried_rows  # and NumPy with it: most graphs take zeros

        for rows in tried_rows([math.prod(each.shape) for each in self._model.graph_inputs]):
            for each, values in zip(self._model.graph_inputs, rows):
                fit(values, each.type)
            self._blank = [values.tobytes() for values in rows]
            for memory, blank in zip(self.memory, self._blank):
                memory.cast("B")[:] = blank * (memory.nbytes // len(blank))
            with contextlib.suppress(ModelError):
                return run(session, self.given(0, records), names, self._model.path)
        raise refused

    def _converted(self, given: OnnxInput, records: memoryview) -> Any:
        """Records in the type that the graph takes."""
        if given.type == "float32":
            return records
        import numpy as np

        array = np.frombuffer(records, np.float32)
        if given.type != "float64":
            wrong = misfits(given.type, array)
            if wrong.any():
                least, most = limits(given.type)
                numbers = "numbers" if given.type.startswith("float") else "whole numbers"
                raise ModelError(
                    f"the input {quote(given.name)} takes {given.type}: {numbers} from {least:,.0f} to {most:,.0f}, found "
                    f"{array[wrong][0]:.9g}",
                    code="failed_pass",
                    path=self._model.path,
                )
        return array.astype(given.type).view(np.uint8)


def run(session: Session, given: dict[str, Tensor], names: Sequence[str], path: str) -> list[Tensor]:
    """A pass. Raises ModelError, ``failed_pass``; `path` is the model's."""
    try:
        return session.run(given, names)
    except OnnxRuntimeError as error:
        raise failed(error, path) from error


def failed(error: OnnxRuntimeError, path: str) -> ModelError:
    """The error of a pass."""
    return ModelError(f"onnxruntime cannot run it: {error}", code="failed_pass", path=path)
