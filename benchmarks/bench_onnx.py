"""MXNet and ONNX Runtime in turns: the model alone, and a whole run over one long file of integers.

    python -m benchmarks.bench_onnx [NETWORK | long-file ...]

or with all other benchmarks, which keeps the figures. Both run one thread on the same rows at the batch size that each would
choose for a run. What is compared is the processor's time, the least of several turns, so that other work of the machine
matters little.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from benchmarks import inputs
from benchmarks.conftest import Keep
from benchmarks.networks import NETWORKS, save
from fastinfer.engine.run import transform
from fastinfer.engine.source import find_objects
from fastinfer.export.convert import export_model
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime, runtime_of
from fastinfer.runtimes.base import Executor
from fastinfer.runtimes.batch_size import choose_batching
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.views import rows_of

if TYPE_CHECKING:
    from fastinfer.models.load import AnyModel

LEAST_SECONDS, LEAST_PASSES = 3.0, 5
LONG_FILE, LONG_FILE_COPIES, LONG_FILE_TURNS = "long-file", 50, 15
MEMORY = Path("/dev/shm")


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


def run_long_file() -> tuple[float, float]:
    """Microseconds of the processor for an image of one long file of integers, from the file to its result, by one worker: with
    MXNet, and with ONNX Runtime."""
    model = load_model(SHIPPED_MODEL)
    models: list[AnyModel] = [model, export_model(model, "model.onnx").onnx]
    best = [float("inf")] * len(models)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        source, output = f"{folder}/images.csv", f"{folder}/out"
        content = LONG_FILE_COPIES * inputs.text("integers")
        Path(source).write_bytes(content)
        for _ in range(LONG_FILE_TURNS):
            for number, each in enumerate(models):
                before = time.process_time()
                summary = transform(
                    each, find_objects(source), output, Options(workers=1, overwrite=True), source=source
                )
                seconds = time.process_time() - before
                assert summary.records == content.count(b"\n")
                best[number] = min(best[number], seconds / summary.records * 1e6)
    left, right = best
    return left, right


def bench_one_long_file(keep: Keep) -> None:
    left, right = run_long_file()
    keep(
        f"{LONG_FILE}/onnx",
        "one long file of integers, images/s by one worker: ONNX Runtime / MXNet",
        left / right,
        "times",
    )


def main(names: list[str]) -> None:
    print(f"{'network':<20} {'MXNet':>16} {'ONNX Runtime':>16} {'faster':>8}   (µs a row at a batch size)")
    for name in names or [*NETWORKS, LONG_FILE]:
        if name == LONG_FILE:
            left, right = run_long_file()
            print(f"{name:<20} {left:>9.2f} an image {right:>8.2f} an image {left / right:>7.2f}x", flush=True)
            continue
        found = run(name)
        certified = f"   not certified: {found.reasons[0]}" if found.reasons else ""
        columns = f"{found.mxnet_us:>9.2f} {found.sizes[0]} {found.onnx_us:>9.2f} {found.sizes[1]}"
        print(f"{name:<20} {columns} {found.mxnet_us / found.onnx_us:>7.2f}x{certified}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
