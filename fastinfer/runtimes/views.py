"""NumPy's view of what goes into a bound graph and comes out of it, for callers that compute with it.

A run needs none: kernels take the buffers themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Executor
from .ladder import Ladder


def rows_of(executor: Executor | Ladder, number: int = 0) -> NDArray[np.float32]:
    """The memory of an input as an array of shape (batch_size, values of a record): to write there is to write the input."""
    return np.frombuffer(executor.inputs[number].memory, np.float32).reshape(executor.batch_size, -1)


def predict_all(executor: Executor) -> list[NDArray[Any]]:
    """Predicts what the inputs hold: for each output an array of shape (batch_size * rows, *shape). Raises ModelError."""
    return [
        np.frombuffer(values, output.dtype).reshape(-1, *output.shape)
        for output, values in zip(executor.outputs, executor.forward())
    ]


def predict_rows(executor: Executor) -> NDArray[np.float32]:
    """Predicts with a graph of one output of float32: an array of shape (batch_size, values). Raises ModelError."""
    (predictions,) = executor.forward()
    return np.frombuffer(predictions, np.float32).reshape(executor.batch_size, -1)
