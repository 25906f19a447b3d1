"""The model alone: time per row of the shipped network at the probe's batch sizes, and of row-wise graphs.

The container's way, `Module.forward` at batch size 1, is measured beside them.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.runtimes.batch_size import SIZES
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.libmxnet import load_libmxnet
from fastinfer.runtimes.mxnet.library import load_mxnet
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS
from fastinfer.runtimes.views import predict_rows, rows_of

ROWS = 960
MODEL = load_model(SHIPPED_MODEL)


def run(executor: MXNetExecutor, rows: Any) -> Any:
    size = executor.batch_size
    for first in range(0, ROWS, size):
        part = rows[first : first + size]
        rows_of(executor)[: len(part)] = part
        output = predict_rows(executor)
    return output


@pytest.mark.parametrize("batch_size", SIZES)
def bench_batched(batch_size: int, benchmark: Any) -> None:
    load_libmxnet(INFERENCE_SETTINGS)
    executor = MXNetExecutor(MODEL, ("cpu", 0), batch_size)
    benchmark(run, executor, probe_rows(ROWS, MODEL.row_values))
    benchmark.extra_info["rows_per_second"] = ROWS / benchmark.stats.stats.median


@pytest.mark.parametrize("copies", [1, 4, 8, 16, 32])
def bench_row_wise(copies: int, benchmark: Any) -> None:
    load_libmxnet(INFERENCE_SETTINGS)
    rows = probe_rows(ROWS, MODEL.row_values)
    executor = MXNetExecutor(MODEL, ("cpu", 0), copies, row_wise=True)
    single = MXNetExecutor(MODEL, ("cpu", 0), 1, row_wise=True)
    assert run(executor, rows)[-1].tobytes() == run(single, rows)[-1].tobytes()
    benchmark(run, executor, rows)
    benchmark.extra_info["rows_per_second"] = ROWS / benchmark.stats.stats.median


def bench_module_forward(benchmark: Any) -> None:
    """The container's loop."""
    mxnet = load_mxnet(INFERENCE_SETTINGS)
    symbol, arguments, auxiliary = mxnet.model.load_checkpoint(str(SHIPPED_MODEL / "model"), 0)
    module = mxnet.mod.Module(symbol, context=mxnet.cpu(), data_names=[MODEL.data_name], label_names=None)
    module.bind(for_training=False, data_shapes=[(MODEL.data_name, (1, *MODEL.row_shape))])
    module.set_params(arguments, auxiliary, allow_missing=True)
    rows = mxnet.nd.array(probe_rows(ROWS, MODEL.row_values)).reshape((ROWS, *MODEL.row_shape))

    def loop() -> None:
        for number in range(ROWS):
            module.forward(mxnet.io.DataBatch([rows[number : number + 1]]), is_train=False)
            module.get_outputs()[0].asnumpy()

    benchmark(loop)
    benchmark.extra_info["rows_per_second"] = ROWS / benchmark.stats.stats.median
