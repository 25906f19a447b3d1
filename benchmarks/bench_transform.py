"""From files to files: fastinfer beside what SageMaker's container runs, without its HTTP server.

The container's handler is called in this process on the same bodies, which flatters it: the service adds a server, a
request and an upload to every file.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from benchmarks.conftest import Keep
from fastinfer.engine.run import transform
from fastinfer.engine.source import find_objects
from fastinfer.engine.summary import Summary
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import write_samples
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import Options
from fastinfer.runtimes.mxnet.library import load_mxnet
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS

MNIST = Path(__file__).parent.parent / "examples" / "mnist"
MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on the memory file system where there is one: a disk's noise is larger than what is measured."""
    place = MEMORY / tmp_path.name if MEMORY.is_dir() else tmp_path
    place.mkdir(exist_ok=True)
    yield place
    shutil.rmtree(place)


def images(count: int) -> Any:
    return np.resize(read_images(MNIST / "test"), (count, 28, 28))


@pytest.fixture(scope="module")
def container() -> Callable[[bytes], bytes]:
    load_mxnet(INFERENCE_SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sagemaker_mxnet_serving_container.default_inference_handler import DefaultModuleInferenceHandler
    handler = DefaultModuleInferenceHandler()
    model = handler.default_model_fn(str(SHIPPED_MODEL))

    def answer(body: bytes) -> bytes:
        data = handler.default_input_fn(body.decode(), "text/csv", model)
        return handler.default_output_fn(handler.default_predict_fn(data, model), "application/json").encode()

    return answer


@pytest.mark.parametrize("mode", ["default", "exact"])
@pytest.mark.parametrize("shape", ["one-image-files", "one-file"])
def bench_fastinfer(
    mode: str, shape: str, folder: Path, benchmark: Any, container: Callable[[bytes], bytes], keep: Keep
) -> None:
    count = 10_000
    rows = 1 if shape == "one-image-files" else count
    write_samples(images(count), folder / "in", rows_per_file=rows)
    model, options = load_model(SHIPPED_MODEL), Options(exact=mode == "exact", overwrite=True)
    source, output = str(folder / "in"), folder / "out"

    def run() -> Summary:
        return transform(model, find_objects(source), str(output), options, source=source)

    run()
    if mode == "exact" and rows == 1:
        for number in range(50):
            body = (folder / "in" / f"data-{number}.csv").read_bytes()
            assert (output / f"data-{number}.csv.out").read_bytes() == container(body)

    summary = benchmark.pedantic(run, rounds=5)
    assert summary.records == count
    rates = [count / seconds for seconds in benchmark.stats.stats.data]
    keep(f"{shape}/{mode}", f"{count:,} images, {shape.replace('-', ' ')}, {mode}", rates, "images/s")


def bench_container_handler(folder: Path, benchmark: Any, container: Callable[[bytes], bytes], keep: Keep) -> None:
    count = 100
    write_samples(images(count), folder / "in")
    bodies = [path.read_bytes() for path in sorted((folder / "in").iterdir())]
    (folder / "out").mkdir()

    def run() -> None:
        for number, body in enumerate(bodies):
            (folder / "out" / f"{number}.out").write_bytes(container(body))

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    rates = [count / seconds for seconds in benchmark.stats.stats.data]
    keep("container", "the container's handler in process, one image a file", rates, "images/s")
