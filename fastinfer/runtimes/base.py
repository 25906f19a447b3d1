"""The contract of a runtime: a model is bound, rows go in, predictions come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..models.module import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Executor(Protocol):
    """A bound graph, for one thread at a time.

    Attributes:
        batch_size: rows of one forward pass.
        input: float32 array of shape (batch_size, row_values), the memory that the graph reads; write rows there, then call
            :meth:`forward`.
        output_shape: shape of one row's prediction, () for a scalar.
        gives_a_row_each: whether the graph gives one prediction per row; otherwise it cannot be used.
    """

    batch_size: int
    input: NDArray[np.float32]
    output_shape: tuple[int, ...]
    gives_a_row_each: bool

    def forward(self) -> NDArray[np.float32]:
        """Predicts the rows in `input`: a new float32 array of shape (batch_size, prod(output_shape)). Raises ModelError."""
        ...


class Runtime(Protocol):
    """A loaded framework. Devices are (kind, index), as :func:`fastinfer.options.parse_device` gives them.

    Attributes:
        advice: a message to the user about what makes it slow here; None if nothing does.
    """

    advice: str | None

    def identity(self) -> dict[str, Any]:
        """The framework's version and settings that the bits of a prediction depend on."""
        ...

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        """Raises ConfigError (``no_such_device``) if a device does not exist."""
        ...

    def bind(self, model: Model, device: tuple[str, int], batch_size: int, *, row_wise: bool = False) -> Executor:
        """Binds a model; `row_wise`: each row is computed as at batch size 1. Raises ModelError."""
        ...
