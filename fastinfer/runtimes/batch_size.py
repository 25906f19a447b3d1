"""Chooses the rows of a forward pass, and the graph; binds the graphs of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ConfigError, ModelError
from ..models.load import AnyModel
from ..models.onnx import OnnxModel
from ..models.params import VALUES_LIMIT
from ..options import Options, parse_device
from .base import Executor, Runtime
from .invariance import CANDIDATES, cached, find_batch_size, is_invariant
from .provenance import of_model

# Copies of the network in one row-wise graph; benchmarks/bench_forward.py found that more gain little.
ROWS_PER_EXACT_GRAPH = 8
# Many more make a graph that takes minutes and gigabytes to bind.
MOST_ROWS_PER_EXACT_GRAPH = 1024


class Batching(NamedTuple):
    """How rows are computed.

    Attributes:
        batch_size: rows of one forward pass.
        row_wise: whether each row is computed as at batch size 1.
        invariant: whether a row's bits depend on that row alone.
    """

    batch_size: int
    row_wise: bool
    invariant: bool


def choose_batching(runtime: Runtime, model: AnyModel, options: Options) -> Batching:
    """How to compute rows, found on the first of the devices.

    Raises:
        ModelError: ``mixed_batch`` if the model does not give one row per record at the given batch size; or it cannot be
            bound.
        ConfigError: ``no_such_device``; ``bad_option`` for a batch that is too large.
    """
    if options.batch_size is not None:
        most = MOST_ROWS_PER_EXACT_GRAPH if options.exact else VALUES_LIMIT // model.row_values
        if options.batch_size > most:
            what = "rows computed one by one" if options.exact else f"records of {model.row_values:,} values"
            raise ConfigError(f"the batch size must be at most {most:,} for {what}, found {options.batch_size:,}")
    if options.exact and isinstance(model, OnnxModel):
        raise ConfigError(
            f"{model.path} is a model in ONNX, which never gives the container's bytes",
            code="not_exact",
            hint="leave exact out, or use the model of MXNet",
        )
    device = parse_device(options.device)[0]
    runtime.check_devices([device])

    def bind(batch_size: int) -> Executor:
        return check_served(runtime.bind(model, device, batch_size), model)

    if options.exact:
        return Batching(options.batch_size or ROWS_PER_EXACT_GRAPH, row_wise=True, invariant=True)
    if options.batch_size is not None:
        executor = bind(options.batch_size)
        if not executor.gives_a_row_each:
            raise ModelError(
                f"at batch size {options.batch_size} it does not give a row for each record",
                code="mixed_batch",
                path=model.path,
                hint="without a batch size records are computed one by one",
            )
        return Batching(options.batch_size, row_wise=False, invariant=is_invariant(executor))
    depends_on = {**of_model(model, options), **runtime.identity(), "candidates": CANDIDATES}
    batch_size = cached(depends_on, lambda: find_batch_size(bind, model.row_values))
    if batch_size is not None:
        return Batching(batch_size, row_wise=False, invariant=True)
    # Row by row, at the container's batch size, every model is invariant.
    return Batching(ROWS_PER_EXACT_GRAPH, row_wise=True, invariant=True)


def bind_executors(
    runtime: Runtime,
    model: AnyModel,
    devices: Sequence[tuple[str, int]],
    count: int,
    batch_size: int,
    *,
    row_wise: bool,
) -> list[Executor]:
    """The bound graphs of a run, all bound before any of them runs.

    Args:
        runtime: the runtime.
        model: the model.
        devices: (kind, index) of each device; graphs are bound to them in turn.
        count: the number of graphs.
        batch_size: rows of one forward pass.
        row_wise: whether each row is computed as at batch size 1.
    """
    runtime.check_devices(devices)
    return [
        check_served(runtime.bind(model, devices[number % len(devices)], batch_size, row_wise=row_wise), model)
        for number in range(count)
    ]


def check_served(executor: Executor, model: AnyModel) -> Executor:
    """The executor, if it gives what runs and requests can use: one output, with one row of float32 for each record.

    Raises:
        ModelError: it has other outputs.
    """
    outputs = executor.outputs
    if len(outputs) != 1:
        names = ", ".join(output.name for output in outputs)
        raise ModelError(f"the model has {len(outputs)} outputs ({names}); one is served", path=model.path)
    (output,) = outputs
    if output.dtype != "float32":
        # The container prints other types with other digits.
        raise ModelError(f"the output is {output.dtype}; float32 is served", path=model.path)
    if output.rows != 1:
        shape = (output.rows, *output.shape)
        raise ModelError(f"a batch of 1 record gives an output of shape {shape}, not one row", path=model.path)
    return executor
