"""The bound graphs of a predictor: for the model's own shape of a row, and for other shapes that bodies bring along."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..models.load import AnyModel
from ..models.module import Model
from ..runtimes.base import Executor, Runtime
from ..runtimes.batch_size import bind_executors
from ..runtimes.invariance import find_smaller
from ..runtimes.mxnet.graph import errors_of
from ..runtimes.mxnet.inner_shapes import load_symbol
from ..runtimes.mxnet.libmxnet import binding
from ..runtimes.pool import Pool
from ..runtimes.views import predict_rows, rows_of

# What the values within one bound graph of another shape may need, and what all such graphs keep together.
GRAPH_BYTES_LIMIT = 512 << 20
ALL_BYTES_LIMIT = 512 << 20
GRAPHS_LIMIT = 8


class Graphs:
    """A model's bound graphs, each used by one thread at a time.

    Each is paired with a smaller one that gives rows the same bits, so that a request of a few rows need not wait until a
    whole batch is computed. For a row-wise graph of eight rows it has one row. A row takes 1.2 times as long there as in a
    full batch of the other (benchmarks/bench_forward.py), so the smaller graph is faster up to half a batch.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: AnyModel,
        devices: Sequence[tuple[str, int]],
        count: int,
        batch_size: int,
        *,
        row_wise: bool,
        invariant: bool,
    ) -> None:
        def bind(count: int, size: int, *, row_wise: bool = False) -> list[Executor]:
            return bind_executors(runtime, model, devices, count, size, row_wise=row_wise)

        large = small = bind(count, batch_size, row_wise=row_wise)
        if not large[0].gives_a_row_each:
            raise ModelError(
                f"at batch size {batch_size} it does not give a row for each record",
                code="mixed_batch",
                path=model.path,
            )
        size: int | None = None
        if row_wise:
            size = 1
        elif invariant:
            size = find_smaller(lambda size: bind(1, size)[0], large[0])
        if size is not None and size < batch_size:
            small = bind(count, size, row_wise=row_wise)
        self.output_shape = large[0].outputs[0].shape
        self._pairs = Pool(zip(small, large))

    def run(self, rows: NDArray[np.float32], *, blank: bool) -> NDArray[np.float32]:
        """Predictions of rows, (rows, values) to (rows, *output_shape).

        They are copied into the graph's memory, in about a tenth of the time that reading them from CSV took; so decoding
        needs no graph, and each request is decoded by itself.

        Args:
            rows: what to predict.
            blank: whether to clear what an earlier batch left behind the last row, which may influence the rows' bits.
        """
        count, first = len(rows), 0
        parts = []
        with self._pairs.lend() as (small, large):
            while first < count:
                executor = small if count - first <= large.batch_size // 2 else large
                part = rows[first : first + executor.batch_size]
                read = rows_of(executor)
                read[: len(part)] = part
                if blank:
                    read[len(part) :] = 0
                parts.append(predict_rows(executor)[: len(part)])
                first += len(part)
        predictions = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return predictions.reshape(count, *self.output_shape)


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
        model = self._model.reshaped(row_shape)
        size = bytes_of_values(model)
        if size > self._graph_bytes:
            raise InputError(
                f"a row of shape {row_shape} needs {size >> 20:,} MiB in the model, "
                f"the limit is {self._graph_bytes >> 20:,} MiB",
                code="bad_shape",
            )
        graphs = Graphs(self._runtime, model, self._devices, 1, 1, row_wise=self._row_wise, invariant=False)
        return size + len(model.params), graphs

    def _give_up(self) -> None:
        while len(self._bound) > 1 and (
            len(self._bound) > GRAPHS_LIMIT or sum(size for size, _ in self._bound.values()) > self._all_bytes
        ):
            del self._bound[next(iter(self._bound))]


def bytes_of_values(model: Model) -> int:
    """At most so many bytes do the values within a model's graph take for one row, its parameters left out.

    MXNet lets values share memory that are not needed at the same time, so it mostly takes less.

    Raises:
        ModelError: the graph does not accept the rows.
    """
    with binding, errors_of("the graph does not accept the rows", model.path):
        inner = load_symbol(model.graph.text).internals()
        shapes = inner.infer_shapes({each.name: (1, *each.shape) for each in model.inputs})
    if shapes is None:
        raise ModelError("the graph does not determine the shapes of its values", path=model.path)
    parameters = {*inner.arguments(), *inner.auxiliary()} - {each.name for each in model.inputs}
    values: list[int] = [
        math.prod(shape) for name, shape in zip(inner.outputs(), shapes.outputs) if name not in parameters
    ]
    return 4 * sum(values)
