"""Whole runs beside what bounds them: the parts of a run alone, a copy of the same files, an import of MXNet, one core.

Each figure is the median of ratios whose two sides ran one after the other, so that both met the same machine. Files are on
the memory file system where there is one. What is timed is checked first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from benchmarks.bench_serve import Client, container_server, post
from benchmarks.conftest import Keep
from benchmarks.environment import AS_STARTED
from fastinfer import machine
from fastinfer.codecs.csv_errors import OUTPUT_FULL
from fastinfer.codecs.json_rows import encode_json
from fastinfer.kernels import CsvParser
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import format_rows, write_samples
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import Limits
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.libmxnet import load_libmxnet
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS
from fastinfer.runtimes.views import predict_rows

MNIST = Path(__file__).parent.parent / "examples" / "mnist"
MEMORY = Path("/dev/shm")
TURNS = 3
FILES = 100_000
LARGE = 1_000_000  # images in one file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = (MEMORY if MEMORY.is_dir() else tmp_path_factory.getbasetemp()) / f"fastinfer-bench-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def small_files(place: Path) -> Path:
    """100,000 one-image files as the sample set prints them: 1 GB."""
    folder = place / "small"
    folder.mkdir()
    lines = format_rows(read_images(MNIST / "test"))
    for number in range(FILES):
        (folder / f"data-{number}.csv").write_bytes(lines[number % len(lines)])
    return folder


@pytest.fixture(scope="module")
def integers() -> bytes:
    """The 10,000 images of the test set as lines of integers."""
    return b"".join(format_rows(read_images(MNIST / "test"), "integers"))


@pytest.fixture(scope="module")
def large_file(place: Path, integers: bytes) -> Path:
    """A million images in one file: 1.8 GB."""
    path = place / "large.csv"
    with open(path, "wb") as file:
        for _ in range(LARGE // 10_000):
            file.write(integers)
    return path


@pytest.fixture(scope="module")
def medium_file(place: Path, integers: bytes) -> Path:
    """100,000 images in one file, for what is slower."""
    path = place / "medium.csv"
    path.write_bytes(10 * integers)
    return path


def run(source: Path, output: Path, *options: object, cores: int | None = None) -> dict[str, Any]:
    """A run in a process of its own, its summary; on so many cores."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "fastinfer.transform", str(source), str(output), "--json", "--quiet"]
    allowed = sorted(os.sched_getaffinity(0))
    done = subprocess.run(
        [*command, *map(str, options)],
        check=True,
        stdout=subprocess.PIPE,
        env=AS_STARTED,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed[:cores]),
    )
    return dict(json.loads(done.stdout))


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def parts_alone(path: Path, rows: int, output: Path, executor: MXNetExecutor) -> dict[str, float]:
    """Seconds that each part of a run over ``path`` takes by itself, on one core: each over all the data, once."""
    buffer = bytearray(Limits().chunk_bytes)

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    with open(path, "rb") as file:
        head = file.read(Limits().chunk_bytes)
    head = head[: head.rfind(b"\n") + 1]
    parser, flat = CsvParser(), executor.inputs[0].memory

    def parse() -> None:
        for _ in range(-(-os.path.getsize(path) // len(head))):
            parser.reset(head)
            while not parser.done:
                parser.parse(flat)
                assert parser.code in (0, OUTPUT_FULL)

    parse()
    predictions, row_shape = predict_rows(executor), executor.outputs[0].shape
    batches = -(-rows // executor.batch_size)

    def forward() -> None:
        for _ in range(batches):
            executor.forward()

    def make_text() -> None:
        for _ in range(batches):
            encode_json(predictions, row_shape)

    text = encode_json(predictions, row_shape)

    def write() -> None:
        with open(output, "wb", buffering=0) as file:
            for _ in range(batches):
                file.write(text)
        output.unlink()

    stages = {"read": read, "parse": parse, "forward": forward, "format": make_text, "write": write}
    return {stage: timed(call) for stage, call in stages.items()}


def bench_a_large_file(large_file: Path, place: Path, keep: Keep) -> None:
    load_libmxnet(INFERENCE_SETTINGS)
    model, cores = load_model(SHIPPED_MODEL), machine.cores()
    batch = run(large_file, place / "out")["batch_size"]  # as the probe has it, for the rows of the shipped model
    executors = {size: MXNetExecutor(model, ("cpu", 0), size) for size in (batch, 240, 960)}
    over_parts, of_forward, rates = [], [], []
    for _ in range(TURNS):
        parts = parts_alone(large_file, LARGE, place / "text", executors[batch])
        best = max(forward_rate(executor) for executor in executors.values())
        summary = run(large_file, place / "out")
        assert (summary["records"], summary["batch_size"]) == (LARGE, batch)
        rates.append(summary["records_per_second"])
        over_parts.append(summary["seconds"] / (sum(parts.values()) / cores))
        of_forward.append(summary["records_per_second"] / (cores * best))
    with open(place / "out" / "large.csv.out", "rb") as file:
        assert file.read().count(b"[") == LARGE + 1
    title = f"one file of {LARGE:,} images"
    keep("large_file/rate", title, rates, "images/s")
    keep(
        "large_file/over_parts", f"{title}: wall time / (its parts alone / cores)", over_parts, "times", better="lower"
    )
    keep(
        "large_file/of_forward",
        f"{title}: images/s / (cores x the bare executor at its best size)",
        of_forward,
        "times",
    )
    for stage, seconds in parts.items():
        keep(f"large_file/{stage}", f"{title}: {stage} alone, one core", seconds, "s", better="lower")


def forward_rate(executor: MXNetExecutor) -> float:
    """Images/s of the bare executor."""
    batches = 100_000 // executor.batch_size
    seconds = timed(lambda: [executor.forward() for _ in range(batches)])
    return batches * executor.batch_size / seconds


@pytest.mark.parametrize("where", ["memory", "disk"])
def bench_small_files_beside_a_copy(where: str, small_files: Path, place: Path, tmp_path: Path, keep: Keep) -> None:
    source, folder, turns = small_files, place, TURNS
    if where == "disk":
        # One turn: what was deleted a moment ago would slow a disk down.
        source, folder, turns = tmp_path / "in", tmp_path, 1
        shutil.copytree(small_files, source)
    ratios, rates = [], []
    for turn in range(turns):
        copy = timed(lambda turn=turn: subprocess.run(["cp", "-r", source, folder / f"copy-{turn}"], check=True))
        if where == "memory":
            shutil.rmtree(folder / f"copy-{turn}")
        summary = run(source, folder / "out")
        assert (summary["inputs"], summary["records"]) == (FILES, FILES)
        ratios.append(summary["seconds"] / copy)
        rates.append(summary["records_per_second"])
    title = f"{FILES:,} one-image files, {where}"
    keep(f"small_files_{where}/rate", title, rates, "images/s")
    keep(
        f"small_files_{where}/over_copy", f"{title}: wall time, start-up apart / cp -r", ratios, "times", better="lower"
    )
    for stage, seconds in summary["stage_seconds"].items():
        keep(f"small_files_{where}/{stage}", f"{title}: workers, {stage}", seconds, "s", better="lower")


@pytest.mark.parametrize("shape", ["small_files", "large_file", "medium_file --exact"])
def bench_one_and_two_cores(shape: str, place: Path, keep: Keep, request: pytest.FixtureRequest) -> None:
    fixture, *mode = shape.split()
    source = request.getfixturevalue(fixture)
    workers, cores = [], []
    for _ in range(TURNS):
        two = run(source, place / "out", "--workers", 2, *mode, cores=2)["seconds"]
        workers.append(run(source, place / "out", "--workers", 1, *mode, cores=2)["seconds"] / two)
        cores.append(run(source, place / "out", "--workers", 1, *mode, cores=1)["seconds"] / two)
    keep(f"{shape}/two_cores", f"{shape}: two workers on two cores / one on one core", cores, "times")
    keep(f"{shape}/two_workers", f"{shape}: two workers / one, on two cores", workers, "times")


def bench_an_id_column_that_is_joined_back(integers: bytes, place: Path, keep: Keep) -> None:
    """The commonest filter, beside a plain run over the same rows."""
    source, output = place / "ids.csv", place / "out"
    lines = integers.splitlines(keepends=True)
    count = LARGE // 2
    with source.open("wb") as file, (place / "plain.csv").open("wb") as plain:
        for number in range(count):
            plain.write(lines[number % len(lines)])
            file.write(b"%06d,%b" % (number, lines[number % len(lines)]))
    ratios = []
    for _ in range(TURNS):
        seconds = run(place / "plain.csv", output)["seconds"]
        ratios.append(seconds / run(source, output, "--id-column", 0)["seconds"])
    answers = (output / "ids.csv.out").read_bytes().splitlines()
    assert [int(line.partition(b",")[0]) for line in answers] == list(range(count))
    source.unlink()
    (place / "plain.csv").unlink()
    title = "an ID column dropped and joined back, images/s over the plain run's"
    keep("filters/id_column", title, ratios, "times")


def bench_a_cold_command(small_files: Path, place: Path, keep: Keep) -> None:
    source = place / "thousand"
    source.mkdir()
    for number in range(1000):
        shutil.copy(small_files / f"data-{number}.csv", source)
    command = [sys.executable, "-m", "fastinfer.transform", str(source), str(place / "out"), "--quiet"]
    # NumPy's aliases are put back first where mxnet could not be imported without.
    bare = [sys.executable, "-c", "import numpy; numpy.bool = bool; import mxnet"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": AS_STARTED, "check": True}
    run(source, place / "out")
    ratios, helps, plans = [], [], []
    for _ in range(TURNS):
        shutil.rmtree(place / "out", ignore_errors=True)
        whole = timed(lambda: subprocess.run(command, **silent))
        assert len(list((place / "out").glob("*.out"))) == 1000
        ratios.append(whole / timed(lambda: subprocess.run(bare, **silent)))
        helps.append(timed(lambda: subprocess.run([*command, "--help"], **silent)))
        plans.append(timed(lambda: subprocess.run([*command, "--dry-run"], **silent)))
    title = "1,000 one-image files"
    keep("cold/over_import", f"{title}: the whole command / import mxnet", ratios, "times", better="lower")
    keep("cold/help", "--help", helps, "s", better="lower")
    keep("cold/dry_run", f"{title}: --dry-run", plans, "s", better="lower")


@pytest.mark.parametrize(("rows", "requests"), [(1, 96), (500, 16)])
def bench_files_beside_the_container(rows: int, requests: int, place: Path, tmp_path: Path, keep: Keep) -> None:
    """A folder of files beside a client that sends the same bodies to the container's server, as Batch Transform does."""
    images = np.resize(read_images(MNIST / "test"), (20_000, 28, 28))
    source = place / f"bodies-{rows}"
    write_samples(images, source, rows_per_file=rows)
    (tmp_path / "bodies").mkdir()
    for path in sorted(source.iterdir())[:40]:
        shutil.copy(path, tmp_path / "bodies")
    rates, over, over_exact, over_whole = [], [], [], []
    with container_server(tmp_path) as url, contextlib.closing(Client()) as client:
        expected = {path.name: post(url, path.read_bytes()) for path in (tmp_path / "bodies").iterdir()}
        for _ in range(TURNS):
            # As many at a time as the server has workers for.
            seconds = client.ask(url, tmp_path / "bodies", requests, machine.cores())
            rate = requests * rows / seconds
            rates.append(rate)
            exact = run(source, place / "out", "--exact")
            for name, answer in expected.items():
                assert (place / "out" / f"{name}.out").read_bytes() == answer
            over_exact.append(exact["records_per_second"] / rate)
            started = time.perf_counter()
            summary = run(source, place / "out")
            over_whole.append(len(images) / (time.perf_counter() - started) / rate)
            over.append(summary["records_per_second"] / rate)
    title = f"{rows} images a file"
    keep(f"container_{rows}/rate", f"{title}: multi-model-server", rates, "images/s")
    keep(f"container_{rows}/default", f"{title}: transform / multi-model-server", over, "times")
    keep(f"container_{rows}/exact", f"{title}: transform --exact / multi-model-server", over_exact, "times")
    keep(f"container_{rows}/whole", f"{title}: transform, start-up included / multi-model-server", over_whole, "times")
