"""The model alone, on MXNet and on ONNX Runtime in turns: `python -m benchmarks.bench_onnx [NETWORK ...]`, or with all other
benchmarks, which keeps the figures.

Both run one thread on the same rows at the batch size that each would choose for a run. What is compared is the processor's
time, the least of several passes, so that other work of the machine matters little.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from benchmarks.conftest import Keep
from benchmarks.networks import NETWORKS, save
from fastinfer.export.convert import export_model
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime, runtime_of
from fastinfer.runtimes.base import Executor
from fastinfer.runtimes.batch_size import choose_batching
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.views import rows_of

if TYPE_CHECKING:
    from fastinfer.models.load import AnyModel

LEAST_SECONDS, LEAST_PASSES = 3.0, 5


def bind(model: AnyModel) -> tuple[Executor, Any]:
    runtime = load_runtime(runtime_of(model))
    batching = choose_batching(runtime, model, Options())
    executor = runtime.bind(model, ("cpu", 0), batching.batch_size, row_wise=batching.row_wise)
    rows_of(executor)[:] = probe_rows(batching.batch_size, model.row_values)
    return executor, batching


def measure(executors: list[Executor]) -> list[float]:
    """Microseconds of the processor for a row, of each."""
    best = [float("inf")] * len(executors)
    started, passes = time.perf_counter(), 0
    while passes < LEAST_PASSES or time.perf_counter() - started < LEAST_SECONDS:
        for number, executor in enumerate(executors):
            before = time.process_time()
            executor.forward()
            best[number] = min(best[number], (time.process_time() - before) / executor.batch_size * 1e6)
        passes += 1
    return best


class Found(NamedTuple):
    """A network on both.

    Attributes:
        mxnet_us, onnx_us: of the processor for a row.
        sizes: at which batch sizes, in words.
        reasons: why it is not certified; empty if it is.
    """

    mxnet_us: float
    onnx_us: float
    sizes: list[str]
    reasons: tuple[str, ...]


def run(name: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(save(name, Path(folder)))
    exported = export_model(model, f"{name}.onnx")
    bound = [bind(each) for each in (model, exported.onnx)]
    left, right = measure([executor for executor, _ in bound])
    sizes = ["one by one" if batching.row_wise else f"at {batching.batch_size}" for _, batching in bound]
    return Found(left, right, sizes, exported.reasons)


@pytest.mark.parametrize("name", NETWORKS)
def bench_onnx_runtime(name: str, keep: Keep) -> None:
    found = run(name)
    assert not found.reasons
    ratio = found.mxnet_us / found.onnx_us
    keep(f"{name}/onnx", f"{name}, rows of a forward pass: ONNX Runtime / MXNet", ratio, "times")


def main(names: list[str]) -> None:
    print(f"{'network':<20} {'MXNet':>16} {'ONNX Runtime':>16} {'faster':>8}   (µs a row at a batch size)")
    for name in names or NETWORKS:
        found = run(name)
        certified = f"   not certified: {found.reasons[0]}" if found.reasons else ""
        columns = f"{found.mxnet_us:>9.2f} {found.sizes[0]} {found.onnx_us:>9.2f} {found.sizes[1]}"
        print(f"{name:<20} {columns} {found.mxnet_us / found.onnx_us:>7.2f}x{certified}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
