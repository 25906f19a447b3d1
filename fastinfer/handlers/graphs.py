"""The bound graphs of a predictor: for the model's own shape of a row, and for other shapes that bodies bring along."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..models.module import Model
from ..options import Options
from ..runtimes.base import Runtime
from ..runtimes.batch_size import Batching, bind_ladder, copied_bytes
from ..runtimes.divided import bind_divided
from ..runtimes.ladder import Ladder
from ..runtimes.pool import Pool
from ..runtimes.predictions import as_array, named_records
from ..runtimes.refused import predict
from ..runtimes.views import rows_of

if TYPE_CHECKING:
    from ..models.load import AnyModel

# What the values within one bound graph of another shape may need, and what all such graphs keep together.
GRAPH_BYTES_LIMIT = 512 << 20
ALL_BYTES_LIMIT = 512 << 20
GRAPHS_LIMIT = 8
# Of a model with no more parameters, the graph for the fewest rows is bound before the first request needs it.
BOUND_AHEAD_BYTES = 64 << 20


class Graphs:
    """A model's bound graphs, each used by one thread at a time; a request of a few rows does not cost a whole batch.

    Args:
        runtime: the runtime.
        model: the model.
        devices: (kind, index) of each device.
        count: how many threads use them at a time.
        batching: how rows are computed.
        options: with which a graph may be chosen for lone rows, whose operators are divided among threads; None: there is none.

    Attributes:
        operator_threads: among how many threads the operators are divided for lone rows; 1: they are not.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: AnyModel,
        devices: Sequence[tuple[str, int]],
        count: int,
        batching: Batching,
        options: Options | None = None,
    ) -> None:
        runtime.check_devices(devices)
        ladders = [bind_ladder(runtime, model, devices[number % len(devices)], batching) for number in range(count)]
        if not ladders[0].gives_a_row_each:
            raise ModelError(
                f"at batch size {batching.batch_size} it does not give a row for each record",
                code="mixed_batch",
                path=model.path,
            )
        if copied_bytes(model) <= BOUND_AHEAD_BYTES:
            for each in ladders:  # no request waits for it
                each.bind_smallest()
        self.outputs = ladders[0].outputs
        self.output_shape = self.outputs[0].shape
        self.rows = self.outputs[0].rows if len(self.outputs) == 1 else 1  # for each record
        self._ladders = Pool(ladders)
        self._divided = None if options is None else bind_divided(runtime, model, batching, ladders[0], options)
        self.operator_threads = 1 if self._divided is None else self._divided.threads
        self._running = 0
        self._lock = threading.Lock()

    def run(self, rows: NDArray[np.float32], *, blank: bool) -> tuple[NDArray[Any], dict[int, ModelError]]:
        """Predictions of rows, (rows, values) to (rows * self.rows, *output_shape); of several outputs, a structured array.
        And why the model refuses a row, by its number: its predictions are not to be used.

        They are copied into the graph's memory, in about a tenth of the time that reading them from CSV took; so decoding
        needs no graph, and each request is decoded by itself.

        Args:
            rows: what to predict.
            blank: whether to clear what an earlier batch left behind the last row, which may influence the rows' bits.
        """
        parts: list[NDArray[Any]] = []
        refused: dict[int, ModelError] = {}
        with self._lend(len(rows)) as ladder:
            read = rows_of(ladder)
            for first in range(0, len(rows), ladder.batch_size):
                part = rows[first : first + ladder.batch_size]
                read[: len(part)] = part
                values, errors = predict(ladder, len(part), blank=blank)
                refused.update({first + number: error for number, error in errors.items()})
                values = values or self._blanks(len(part))
                parts.append(
                    as_array(self.outputs[0], values[0])[: len(part) * self.rows]
                    if len(self.outputs) == 1
                    else named_records(self.outputs, values)[: len(part)]
                )
        return parts[0] if len(parts) == 1 else np.concatenate(parts), refused

    @contextlib.contextmanager
    def _lend(self, count: int) -> Iterator[Ladder]:
        """Lends the graphs for so many rows: the divided one where nothing else is computed, which no other thread has then."""
        divided = self._divided
        if divided is None:
            with self._ladders.lend() as ladder:
                yield ladder
            return
        with self._lock:
            self._running += 1
            is_alone = self._running == 1 and divided.takes(count)
        try:
            if is_alone:
                started = perf_counter()
                yield divided.ladder
                divided.took((perf_counter() - started) / count)
            else:
                with self._ladders.lend() as ladder:
                    yield ladder
        finally:
            with self._lock:
                self._running -= 1

    def _blanks(self, count: int) -> tuple[memoryview, ...]:
        """Values in the place of the predictions of so many records, which are all refused."""
        sizes = [(count * each.rows * math.prod(each.shape), each.dtype) for each in self.outputs]
        return tuple(np.zeros(size, dtype).view(np.uint8).data for size, dtype in sizes)


class OtherShapes:
    """The graphs for rows of other shapes than the model's own; the container binds its Module again for them.

    A body decides how large such a graph is. So it is bound at one row, whose bits then depend on that row alone (the probe
    was for the model's own shape), and once for all threads; the longest bound ones are given up.

    Args:
        runtime: the runtime.
        model: the model.
        devices: (kind, index) of each device; the first one is used.
        row_wise: whether rows are computed as in the container, to the bit.
        graph_bytes: of the values in a graph; a larger one is refused.
        all_bytes: of all graphs that are kept, with their parameters; the newest one is kept in any case.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: AnyModel,
        devices: Sequence[tuple[str, int]],
        *,
        row_wise: bool = False,
        graph_bytes: int = GRAPH_BYTES_LIMIT,
        all_bytes: int = ALL_BYTES_LIMIT,
    ) -> None:
        self._runtime = runtime
        self._model = model
        self._devices = devices[:1]
        self._row_wise = row_wise
        self._graph_bytes = graph_bytes
        self._all_bytes = all_bytes
        self._bound: dict[tuple[int, ...], tuple[int, Graphs]] = {}  # with their bytes
        self._lock = threading.Lock()

    def graphs(self, row_shape: tuple[int, ...]) -> Graphs:
        """The graphs for rows of a shape.

        Raises:
            InputError: ``bad_shape`` where the model does not accept the rows, or needs too much memory for them.
        """
        with self._lock:
            if row_shape not in self._bound:
                try:
                    bound = self._bind(row_shape)
                except ModelError as error:
                    raise InputError(
                        f"expected rows of shape {self._model.row_shape}, found {row_shape}", code="bad_shape"
                    ) from error
                self._bound[row_shape] = bound
                self._give_up()
            return self._bound[row_shape][1]

    def _bind(self, row_shape: tuple[int, ...]) -> tuple[int, Graphs]:
        if 0 in row_shape:
            raise ModelError("a row has no value")
        if not isinstance(self._model, Model):
            raise ModelError("a graph in ONNX has one shape")
        if len(self._model.inputs) > 1:
            raise ModelError("a row of another shape does not say which of its inputs has another one")
        model = self._model.reshaped(row_shape)
        size = sum(self._runtime.value_bytes(model))
        if size > self._graph_bytes:
            raise InputError(
                f"a row of shape {row_shape} needs {size >> 20:,} MiB in the model, "
                f"the limit is {self._graph_bytes >> 20:,} MiB",
                code="bad_shape",
            )
        graphs = Graphs(self._runtime, model, self._devices, 1, Batching(1, self._row_wise, invariant=False))
        return size + len(model.params), graphs

    def _give_up(self) -> None:
        while len(self._bound) > 1 and (
            len(self._bound) > GRAPHS_LIMIT or sum(size for size, _ in self._bound.values()) > self._all_bytes
        ):
            del self._bound[next(iter(self._bound))]
