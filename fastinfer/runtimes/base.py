"""The contract of a runtime: a model is bound, records go in, predictions come out. No NumPy: see views.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ..errors import ModelError

if TYPE_CHECKING:
    from ..models.load import AnyModel


class RefusedValueError(ModelError):
    """A pass that failed (``failed_pass``) for the value of a record, which says so by itself: the model takes others."""


class BoundInput(NamedTuple):
    """An input of a bound graph.

    Attributes:
        name: its name in the graph.
        shape: of one record.
        memory: a flat, writable buffer of batch_size * prod(shape) float32 values, record after record. The graph reads it, so
            values are written there without a copy. Whatever type the graph itself takes, this is float32.
    """

    name: str
    shape: tuple[int, ...]
    memory: memoryview


class BoundOutput(NamedTuple):
    """An output of a bound graph.

    Attributes:
        name: its name in the graph.
        rows: how many rows it has for each record; 1 for most models.
        shape: of one row, () for a scalar.
        dtype: NumPy's name of the type of its values, as float32, int32 or float16.
    """

    name: str
    rows: int
    shape: tuple[int, ...]
    dtype: str


class Executor(Protocol):
    """A bound graph, for one thread at a time.

    Attributes:
        batch_size: records of one forward pass.
        inputs: what the graph reads, in the order of :attr:`fastinfer.models.module.Model.inputs`; most models have one.
        outputs: what it computes, in the order of the graph's; most models have one.
        gives_a_row_each: whether every output has its rows for each record, one record's behind another's; otherwise the
            graph cannot be used at this batch size.
    """

    batch_size: int
    inputs: tuple[BoundInput, ...]
    outputs: tuple[BoundOutput, ...]
    gives_a_row_each: bool

    def forward(self) -> tuple[memoryview, ...]:
        """Predicts the records in the memory of `inputs`.

        Returns:
            for each output a new flat buffer of batch_size * rows * prod(shape) values of its dtype; those of float16 are
            held as uint16.

        Raises:
            ModelError: ``failed_pass``: an operator fails, perhaps on the values of a record. The executor can be used again.
        """
        ...


@runtime_checkable
class OwnThread(Protocol):
    """What an :class:`Executor` has besides if it computes in a thread of its own, not in the one that calls it."""

    def processor_s(self) -> float:
        """Seconds of processor time of that thread, so far."""
        ...


class DenseLayers(NamedTuple):
    """How fully connected layers are computed whose bits depend on the number of rows.

    Attributes:
        rows: as on so many rows at least.
        chained: whether by operators that sum as many rows are summed, where there are such; else the rows are repeated.
        products: whether products of matrices are among these operators.
    """

    rows: int = 1
    chained: bool = False
    products: bool = True


AS_IT_IS = DenseLayers()


class Runtime(Protocol):
    """A loaded framework. Devices are (kind, index), as :func:`fastinfer.options.parse_device` gives them.

    Attributes:
        advice: a message to the user about what makes it slow here; None if nothing does.
        many_rows: of a batch where a row is little work, so that what a pass costs besides its rows is shared by many.
        divides: whether :meth:`bind` can divide operators among threads here.
    """

    advice: str | None
    divides: bool
    many_rows: int

    def identity(self) -> dict[str, Any]:
        """The framework's version and settings that the bits of a prediction depend on."""
        ...

    def value_bytes(self, model: AnyModel) -> list[int]:
        """The bytes of each value that the graph takes or computes for one record, parameters left out. Raises ModelError."""
        ...

    def held_batch(self, model: AnyModel) -> int:
        """The only batch size that the graph takes; 1 where it takes one record, as most do. Raises ModelError."""
        ...

    def outputs_of(self, model: AnyModel, batch_size: int) -> tuple[BoundOutput, ...]:
        """What an executor of that size has as :attr:`Executor.outputs`. Raises ModelError."""
        ...

    def layers_alone(self, model: AnyModel) -> tuple[AnyModel | None, bool]:
        """A model of its fully connected layers, each by itself and without its bias, which hides differences of last bits.

        Returns:
            the model, None where there are none or the runtime does not know them; and whether all layers are in it.
        """
        ...

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        """Raises ConfigError (``no_such_device``) if a device does not exist."""
        ...

    def make_resources(self) -> object:
        """What the operators of executors use while they run; for executors that never run at the same time."""
        ...

    def bind(
        self,
        model: AnyModel,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,
        threads: int = 1,
        lenient: bool = False,
        resources: object = None,
    ) -> Executor:
        """Binds a model. Raises ModelError.

        Args:
            model: the model.
            device: where it runs.
            batch_size: records of one forward pass.
            row_wise: whether each record is computed as at batch size 1 in the container, to the bit.
            dense: how fully connected layers are computed, where the runtime has a way to do that.
            threads: among how many threads operators are divided, which may change bits; more than 1 only on the CPU and where
                :attr:`divides`.
            lenient: whether a value that an operator does not take, and does not check itself, gives way to one that it takes
                and is not refused: for rows that are made up.
            resources: of :meth:`make_resources`, where operators are not divided; None: its own.
        """
        ...
