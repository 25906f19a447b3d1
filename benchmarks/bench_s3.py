"""A run from S3 to S3 beside its parts: obstore alone, and boto3 with `Module.predict`; on loopback.

A user's server is another machine. A real one on the same cores takes more of them than its client, so that it is the server
that is measured. All but the figures of SeaweedFS come from a server that takes a few microseconds for an object
(object_server.cpp); how many is among the figures. All sides of a ratio talk to the same server, in turns, and what they
wrote is compared. The turns of two sides change their order, and Python's collector passes over all that was there before the
first turn: in this process, with pytest, boto3 and mxnet, one full collection takes as long as a thousand objects, and falls to
one side or the other.
"""

from __future__ import annotations

import gc
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pytest

from benchmarks.conftest import Keep
from benchmarks.object_server import Server, object_server
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.run import transform
from fastinfer.engine.source import Listing, name_source
from fastinfer.machine import cores
from fastinfer.mnist.dataset import read_idx
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import Options
from fastinfer.storage.crew import the_crew
from fastinfer.storage.remote_reader import AHEAD_BYTES, RANGE_BYTES
from fastinfer.storage.s3_client import Bucket, open_bucket
from fastinfer.storage.width import MOST_THREADS
from tests import s3
from tests.conftest import csv

ROOT = Path(__file__).parent.parent
OBJECTS = 4000
SEAWEED_OBJECTS = 1000
LARGER_OBJECTS = 400
BOTO_OBJECTS = 200
BOTO_THREADS = 16
LATENCY_S = 0.02
# As S3's: some answers take much longer than others.
VARYING_S, SPREAD_S = 0.01, 0.02
TURNS = 5
SMALL_TURNS = 12
# The loop of boto3 takes its turn once in so many.
BOTO_EVERY = 3
LONG_TURNS = 11
# The long object: so many times the 10,000 images.
LONG_COPIES = 6
LONG_RECORDS = 10_000 * LONG_COPIES
# What a result of a small object weighs.
RESULT = b"[" + b", ".join([b"0.12345678901"] * 10) + b"]"


@pytest.fixture(scope="module")
def digits() -> Any:
    return read_idx(ROOT / "examples" / "mnist" / "test" / "images.gz", rank=3).reshape(-1, 784)


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with object_server() as found:
        enter(monkeypatch, found.endpoint)
        yield found


@pytest.fixture
def seaweedfs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3.seaweedfs() as found:
        enter(monkeypatch, found)
        yield found


def freeze() -> None:
    """From now on the collector looks at new objects only."""
    gc.collect()
    gc.freeze()


def enter(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in s3.environment(endpoint).items():
        patch.setenv(name, value)
    s3.client(endpoint).create_bucket(Bucket="bench")


def fill(bucket: Bucket, digits: Any, count: int) -> list[str]:
    """Writes small objects; returns their keys."""
    keys = [f"in/{number:06}.csv" for number in range(count)]
    bodies = [csv(digits[number % len(digits)][None]) for number in range(count)]
    with ThreadPoolExecutor(BOTO_THREADS) as pool:
        list(pool.map(bucket.put, keys, bodies))
    return keys


def bench_small_objects(server: Server, digits: Any, keep: Keep) -> None:
    compare_small("small", "S3, objects of an image", server.endpoint, digits, keep, OBJECTS)
    bucket = open_bucket("bench")
    keys = [f"in/{number:06}.csv" for number in range(OBJECTS)]
    served = server.processor_seconds()
    obstore_alone(bucket, keys, "served")
    served = (server.processor_seconds() - served) / OBJECTS
    keep(
        "small/server",
        "processor time of the server for an object read and one written",
        served * 1e6,
        "us",
        better="lower",
    )


def bench_small_objects_of_seaweedfs(seaweedfs: str, digits: Any, keep: Keep) -> None:
    compare_small(
        "seaweedfs", "SeaweedFS on the same cores, objects of an image", seaweedfs, digits, keep, SEAWEED_OBJECTS
    )


def compare_small(group: str, what: str, endpoint: str, digits: Any, keep: Keep, count: int) -> None:
    bucket = open_bucket("bench")
    keys = fill(bucket, digits, count)
    loop = BotoLoop(endpoint)
    ours, alone = [], []
    boto: dict[int, Cost] = {}
    freeze()
    for turn in range(SMALL_TURNS):
        for is_ours in (turn % 2 == 0, turn % 2 == 1):
            if is_ours:
                ours.append(run("s3://bench/in/", f"s3://bench/out-{turn}", count).each(count))
            else:
                alone.append(cost_of(partial(obstore_alone, bucket, keys, f"alone-{turn}")).each(count))
        if turn % BOTO_EVERY == 0:
            boto[turn] = cost_of(partial(loop.run, keys[:BOTO_OBJECTS])).each(BOTO_OBJECTS)
            compare_results(bucket, f"out-{turn}", keys[:BOTO_OBJECTS])
    keep(f"{group}/rate", what, [1 / each.seconds for each in ours], "images/s")
    for name, theirs, other in (
        ("obstore", dict(enumerate(alone)), "obstore alone with the same threads"),
        ("boto", boto, f"boto3 in {BOTO_THREADS} threads, Module.predict"),
    ):
        seconds = [each.seconds / ours[turn].seconds for turn, each in theirs.items()]
        keep(f"{group}/{name}", f"{what}: over {other}", seconds, "times")
        processor = [each.processor / ours[turn].processor for turn, each in theirs.items()]
        keep(
            f"{group}/{name}-processor", f"{what}: processor time of the client, {other} over ours", processor, "times"
        )
    processor = [each.processor * 1e6 for each in ours]
    keep(
        f"{group}/processor",
        f"{what}: processor time of the client, the start with it",
        processor,
        "us",
        better="lower",
    )


def compare_results(bucket: Bucket, prefix: str, keys: list[str]) -> None:
    """Our results are those of the loop, up to the last bits of a sum."""
    for key in keys:
        ours, theirs = (
            np.array(json.loads(bytes(bucket.get(name)))) for name in (f"{prefix}/{key[3:]}.out", f"boto/{key}.out")
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def bench_latency(server: Server, digits: Any, keep: Keep) -> None:
    bucket = open_bucket("bench")
    keys = fill(bucket, digits, OBJECTS)
    near, far, alone, alone_near = [], [], [], []
    freeze()
    for turn in range(TURNS):
        server.delay(0.0)
        near.append(run("s3://bench/in/", f"s3://bench/near-{turn}", OBJECTS))
        alone_near.append(cost_of(partial(obstore_alone, bucket, keys, f"alone-near-{turn}")))
        server.delay(LATENCY_S)
        far.append(run("s3://bench/in/", f"s3://bench/far-{turn}", OBJECTS))
        alone.append(cost_of(partial(obstore_alone, bucket, keys, f"alone-far-{turn}")))
    title = f"S3, {OBJECTS:,} objects of an image, {LATENCY_S * 1000:.0f} ms more for every request"
    for name, ours, theirs, what in (
        ("latency", far, near, "none"),
        ("latency-obstore", far, alone, "obstore alone with the same threads"),
        ("latency-alone", alone, alone_near, "none, for obstore alone with the same threads"),
    ):
        keep(
            f"small/{name}",
            f"{title}: over {what}",
            [other.seconds / each.seconds for each, other in zip(ours, theirs)],
            "times",
        )


def bench_latency_that_varies(server: Server, digits: Any, keep: Keep) -> None:
    bucket = open_bucket("bench")
    keys = fill(bucket, digits, OBJECTS)
    ratios = []
    freeze()
    server.delay(VARYING_S, SPREAD_S)
    for turn in range(TURNS):
        ours = run("s3://bench/in/", f"s3://bench/varying-{turn}", OBJECTS)
        alone = cost_of(partial(obstore_alone, bucket, keys, f"alone-varying-{turn}", MOST_THREADS))
        ratios.append(alone.seconds / ours.seconds)
    title = f"S3, {OBJECTS:,} objects of an image, {VARYING_S * 1000:.0f} ms more for every request"
    title += f" and {SPREAD_S * 1000:.0f} more in the mean"
    keep("small/varying", f"{title}: over obstore alone in {MOST_THREADS} threads", ratios, "times")


def bench_latency_of_larger_objects(server: Server, digits: Any, keep: Keep) -> None:
    """Objects that are too large for groups; as rows, and where the payloads are answered one by one."""
    bucket = open_bucket("bench")
    for number in range(LARGER_OBJECTS):
        bucket.put(f"larger/{number:04}.csv", csv(digits[number % 1000 * 10 :][:10]))
    freeze()
    for name, accept, what in (("rows", None, "as rows"), ("payloads", "application/x-npy", "payload by payload")):
        ratios = []
        for turn in range(TURNS):
            seconds = []
            for delay in (0.0, LATENCY_S):
                server.delay(delay)
                output = f"s3://bench/larger-{name}-{turn}-{delay}"
                seconds.append(run("s3://bench/larger/", output, 10 * LARGER_OBJECTS, accept=accept).seconds)
            ratios.append(seconds[0] / seconds[1])
        title = f"S3, {LARGER_OBJECTS} objects of 100 kB {what}, {LATENCY_S * 1000:.0f} ms more for every request"
        keep(f"larger/{name}", f"{title}: over none", ratios, "times")


def bench_long_object(server: Server, digits: Any, keep: Keep) -> None:
    text = long_text(digits)
    bucket = open_bucket("bench")
    bucket.put("long/long.csv", text)
    disk, ranges, alone, floors = [], [], [], []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        file, line = Path(folder, "long.csv"), Path(folder, "line.csv")
        file.write_bytes(text)
        line.write_bytes(text[: text.index(b"\n")])
        freeze()
        for turn in range(LONG_TURNS):
            start = run(str(line), f"{folder}/line-{turn}", 1)
            disk.append(run(str(file), f"{folder}/disk-{turn}", LONG_RECORDS))
            ranges.append(run("s3://bench/long/", f"{folder}/ranges-{turn}", LONG_RECORDS))
            served = server.processor_seconds()
            alone.append(cost_of(partial(ranges_alone, bucket, len(text))))
            served = server.processor_seconds() - served
            floors.append((disk[-1].processor - start.processor + alone[-1].processor + served) / cores())
            for name in (f"disk-{turn}/long.csv.out", f"ranges-{turn}/long.csv.out"):
                assert Path(folder, name).read_bytes() == Path(folder, "disk-0/long.csv.out").read_bytes()
    title = f"S3, a long object ({len(text) >> 20} MiB) by ranges"
    for name, theirs, what in (
        ("disk", [each.seconds for each in disk], "the disk"),
        ("alone", [each.seconds for each in alone], "obstore alone reading the same ranges in as many threads"),
        ("floor", floors, "what all cores could do in the processor time of disk, obstore alone and the server"),
    ):
        keep(
            f"long/{name}", f"{title}: over {what}", [each / own.seconds for each, own in zip(theirs, ranges)], "times"
        )
    processor = [each.processor / own.processor for each, own in zip(disk, ranges)]
    keep("long/processor", f"{title}: processor time of the client, from the disk over ours", processor, "times")


@pytest.mark.usefixtures("server")
def bench_long_object_beside_a_server_that_keeps_up(digits: Any, keep: Keep) -> None:
    """One worker, so that the server and the client's requests have the other cores."""
    text = long_text(digits)
    open_bucket("bench").put("long/long.csv", text)
    rates = []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        file = Path(folder, "long.csv")
        file.write_bytes(text)
        freeze()
        for turn in range(LONG_TURNS):
            disk = run(str(file), f"{folder}/disk-{turn}", LONG_RECORDS, workers=1)
            ranges = run("s3://bench/long/", f"{folder}/ranges-{turn}", LONG_RECORDS, workers=1)
            rates.append(disk.seconds / ranges.seconds)
    title = f"S3, a long object ({len(text) >> 20} MiB) by ranges, one worker"
    keep("long/one-worker", f"{title}: over the disk", rates, "times")


def long_text(digits: Any) -> bytes:
    """A long object: the digits several times."""
    return b"".join(csv(digits[first : first + 1000], "integers") for first in range(0, 10_000, 1000)) * LONG_COPIES


class Cost(NamedTuple):
    """What something took: seconds, and processor time of this process."""

    seconds: float
    processor: float

    def each(self, count: int) -> Cost:
        return Cost(self.seconds / count, self.processor / count)


def cost_of(action: Callable[[], object]) -> Cost:
    started, processor = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - started, time.process_time() - processor)


def run(source: str, output: str, records: int, workers: int | None = None, accept: str | None = None) -> Cost:
    """Transforms; the seconds are without the start, the processor time is with it."""
    processor = time.process_time()
    options = Options(workers=workers)
    listing = Listing(source, output=output)
    request = TransformRequest(accept=accept)
    summary = transform(
        load_model(SHIPPED_MODEL), listing, output, options, request=request, source=name_source(source)
    )
    assert (summary.records, summary.rejected, summary.skipped) == (records, 0, 0)
    return Cost(summary.seconds, time.process_time() - processor)


def obstore_alone(bucket: Bucket, keys: list[str], prefix: str, threads: int | None = None) -> None:
    """Reads and writes the same objects by obstore, in so many threads; None: as many as our requests have at the moment."""
    import obstore

    store = bucket._connection.stores[False]

    def both(key: str) -> None:
        bytes(obstore.get(store, key).bytes())
        obstore.put(store, f"{prefix}/{key}", RESULT, use_multipart=False)

    with ThreadPoolExecutor(threads or the_crew().width) as pool:
        list(pool.map(both, keys))


def ranges_alone(bucket: Bucket, size: int) -> None:
    """Reads an object by obstore, in ranges as large as most of a run's, as many at a time as all workers have under way."""
    import obstore

    store = bucket._connection.stores[True]

    def read(start: int) -> int:
        options: Any = {"range": (start, min(start + RANGE_BYTES, size))}
        return len(obstore.get(store, "long/long.csv", options=options).bytes())

    with ThreadPoolExecutor(cores() * AHEAD_BYTES // RANGE_BYTES) as pool:
        assert sum(pool.map(read, range(0, size, RANGE_BYTES))) == size


class BotoLoop:
    """What one would write: boto3 in threads around `Module.predict`, one at a time. The start is not measured."""

    def __init__(self, endpoint: str) -> None:
        from fastinfer.runtimes.mxnet.library import load_mxnet

        self._mx, self._boto = load_mxnet(), s3.client(endpoint)
        symbol, arguments, auxiliary = self._mx.model.load_checkpoint(str(SHIPPED_MODEL / "model"), 0)
        self._module = self._mx.mod.Module(symbol, label_names=None)
        self._module.bind(for_training=False, data_shapes=[("data", (1, 1, 28, 28))])
        self._module.set_params(arguments, auxiliary, allow_missing=True)
        self._lock = threading.Lock()

    def run(self, keys: list[str]) -> None:
        with ThreadPoolExecutor(BOTO_THREADS) as pool:
            list(pool.map(self._one, keys))

    def _one(self, key: str) -> None:
        text = self._boto.get_object(Bucket="bench", Key=key)["Body"].read().decode()
        rows = np.array([[float(cell) for cell in line.split(",")] for line in text.split()], dtype=np.float32)
        with self._lock:
            data = self._mx.io.NDArrayIter(rows.reshape(-1, 1, 28, 28), batch_size=1)
            answer = self._module.predict(data).asnumpy()
        self._boto.put_object(Bucket="bench", Key=f"boto/{key}.out", Body=json.dumps(answer.tolist()).encode())
