"""Records, which are float32, for graphs in ONNX that take another type: which values fit it; made-up rows that fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .base import Executor

if TYPE_CHECKING:
    from ..models.onnx import OnnxInput

# Up to here float32 has every whole number; larger ones are not told apart.
MOST_WHOLE = (1 << 24) - 1
MOST_HALF = 65504.0


def limits(kind: str) -> tuple[float, float]:
    """The least and the largest number that a type takes from float32; infinite where every number fits."""
    import numpy as np

    if kind == "float16":
        return -MOST_HALF, MOST_HALF
    if kind == "bool":
        return 0, 1
    if kind.startswith("float"):
        return -math.inf, math.inf
    info = np.iinfo(kind)
    return max(info.min, -MOST_WHOLE), min(info.max, MOST_WHOLE)


def misfits(kind: str, array: Any) -> Any:
    """Which values a type does not take: numbers beyond its limits; for whole numbers also fractions, infinities and NaN."""
    import numpy as np

    least, most = limits(kind)
    if kind.startswith("float"):
        return (np.abs(array) > most) & np.isfinite(array)
    return ~((array >= least) & (array <= most) & (np.rint(array) == array))


def fit(values: Any, kind: str) -> None:
    """Makes each value of a float32 array the nearest one that a type takes."""
    import numpy as np

    np.clip(values, *limits(kind), out=values)
    if not kind.startswith("float"):
        np.rint(values, out=values)


def fitted(executor: Executor, given: tuple[OnnxInput, ...]) -> Executor:
    """The executor for rows that are made up: each value becomes the nearest one that its input takes."""
    return executor if all(each.type == "float32" for each in given) else _Fitted(executor, given)


class _Fitted:
    """See :func:`fitted`, and :class:`fastinfer.runtimes.base.Executor`."""

    def __init__(self, executor: Executor, given: tuple[OnnxInput, ...]) -> None:
        self._executor, self._kinds = executor, [each.type for each in given]
        self.batch_size = executor.batch_size
        self.inputs, self.outputs = executor.inputs, executor.outputs
        self.gives_a_row_each = executor.gives_a_row_each

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`; the memory of `inputs` holds what was computed."""
        import numpy as np

        for kind, each in zip(self._kinds, self.inputs):
            fit(np.frombuffer(each.memory, np.float32), kind)
        return self._executor.forward()
