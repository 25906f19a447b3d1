"""A run from S3 to S3 beside its parts: obstore alone, and boto3 with `Module.predict`; SeaweedFS on loopback.

The server shares the cores with its clients, so only the ratios mean something. Both sides of a ratio run in turns.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from benchmarks.conftest import Keep
from fastinfer.engine.run import transform
from fastinfer.engine.source import Listing, name_source
from fastinfer.mnist.dataset import read_idx
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.storage.crew import the_crew
from fastinfer.storage.remote_reader import RANGE_BYTES
from fastinfer.storage.s3_client import Bucket, open_bucket
from tests import s3
from tests.conftest import csv

ROOT = Path(__file__).parent.parent
OBJECTS = 500
BOTO_OBJECTS = 100
BOTO_THREADS = 16
LATENCY_S = 0.02
ROUNDS = 3
LONG_TURNS = 5
# The long object: so many times the 10,000 images.
LONG_COPIES = 6
# What a result of a small object weighs.
RESULT = b"[" + b", ".join([b"0.12345678901"] * 10) + b"]"


@pytest.fixture(scope="module")
def digits() -> Any:
    return read_idx(ROOT / "examples" / "mnist" / "test" / "images.gz", rank=3).reshape(-1, 784)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One server for all: a process goes on with the endpoint at which it found a bucket."""
    with s3.seaweedfs() as found, pytest.MonkeyPatch.context() as patch:
        enter(patch, found)
        for name in ("bench", "far"):
            s3.client(found).create_bucket(Bucket=name)
        yield found


def enter(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in s3.environment(endpoint).items():
        patch.setenv(name, value)


def fill(bucket: Bucket, digits: Any) -> list[str]:
    """Writes the small objects; returns their keys."""
    keys = [f"in/{number:06}.csv" for number in range(OBJECTS)]
    bodies = [csv(digits[number % len(digits)][None]) for number in range(OBJECTS)]
    with ThreadPoolExecutor(BOTO_THREADS) as pool:
        list(pool.map(bucket.put, keys, bodies))
    return keys


def bench_small_objects(endpoint: str, digits: Any, keep: Keep) -> None:
    bucket = open_bucket("bench")
    keys = fill(bucket, digits)
    ours, alone, boto = [], [], []
    for turn in range(ROUNDS):
        ours.append(run("s3://bench/in/", f"s3://bench/out-{turn}", OBJECTS))
        alone.append(timed(partial(obstore_alone, bucket, keys, f"alone-{turn}")))
        boto.append(timed(lambda: boto_loop(endpoint, keys[:BOTO_OBJECTS])) / BOTO_OBJECTS * OBJECTS)
    keep("small/rate", "S3, objects of an image", [OBJECTS / each for each in ours], "images/s")
    ratios = [theirs / each for theirs, each in zip(alone, ours)]
    keep("small/obstore", "S3, objects of an image: over obstore alone with the same threads", ratios, "times")
    ratios = [theirs / each for theirs, each in zip(boto, ours)]
    keep(
        "small/boto", f"S3, objects of an image: over boto3 in {BOTO_THREADS} threads, Module.predict", ratios, "times"
    )


def bench_latency(endpoint: str, digits: Any, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = s3.Proxy(endpoint)
    try:
        enter(monkeypatch, proxy.endpoint)
        fill(open_bucket("far"), digits)
        ratios = []
        for turn in range(ROUNDS):
            proxy.latency_s = 0.0
            near = run("s3://far/in/", f"s3://far/near-{turn}", OBJECTS)
            proxy.latency_s = LATENCY_S
            ratios.append(near / run("s3://far/in/", f"s3://far/far-{turn}", OBJECTS))
    finally:
        proxy.close()
    title = f"S3, objects of an image: {LATENCY_S * 1000:.0f} ms more for every request, over none (by a proxy)"
    keep("small/latency", title, ratios, "times")


def bench_long_object(endpoint: str, digits: Any, keep: Keep) -> None:
    assert endpoint
    bucket = open_bucket("bench")
    text = b"".join(csv(digits[first : first + 1000], "integers") for first in range(0, 10_000, 1000)) * LONG_COPIES
    bucket.put("long/long.csv", text)
    rates: dict[str, list[float]] = {"disk": [], "ranges": [], "alone": []}
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        Path(folder, "long.csv").write_bytes(text)
        for turn in range(LONG_TURNS):
            records = 10_000 * LONG_COPIES
            seconds = run(f"{folder}/long.csv", f"{folder}/disk-{turn}", records)
            rates["disk"].append(len(text) / seconds)
            seconds = run("s3://bench/long/", f"{folder}/ranges-{turn}", records)
            rates["ranges"].append(len(text) / seconds)
            rates["alone"].append(len(text) / timed(lambda: ranges_alone(bucket, len(text))))
            for name in (f"disk-{turn}/long.csv.out", f"ranges-{turn}/long.csv.out"):
                assert Path(folder, name).read_bytes() == Path(folder, "disk-0/long.csv.out").read_bytes()
    title = f"S3, a long object ({len(text) >> 20} MiB) by ranges"
    for other, what in (("disk", "the disk"), ("alone", "obstore alone reading the same ranges in as many threads")):
        ratios = [each / theirs for each, theirs in zip(rates["ranges"], rates[other])]
        keep(f"long/{other}", f"{title}: over {what}", ratios, "times")


def run(source: str, output: str, records: int) -> float:
    """Transforms; returns the seconds without the start."""
    summary = transform(load_model(SHIPPED_MODEL), Listing(source, output=output), output, source=name_source(source))
    assert (summary.records, summary.rejected, summary.skipped) == (records, 0, 0)
    return summary.seconds


def obstore_alone(bucket: Bucket, keys: list[str], prefix: str) -> None:
    """Reads and writes the same objects by obstore, in as many threads."""
    import obstore

    store = bucket._connection.stores[False]

    def both(key: str) -> None:
        bytes(obstore.get(store, key).bytes())
        obstore.put(store, f"{prefix}/{key}", RESULT, use_multipart=False)

    with ThreadPoolExecutor(the_crew().width) as pool:
        list(pool.map(both, keys))


def ranges_alone(bucket: Bucket, size: int) -> None:
    """Reads the same ranges by obstore, as many at a time as two workers have under way."""
    import obstore

    store = bucket._connection.stores[True]
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(
            lambda start: len(
                obstore.get_range(store, "long/long.csv", start=start, end=min(start + RANGE_BYTES, size))
            ),
            range(0, size, RANGE_BYTES),
        )
        assert sum(read) == size


def boto_loop(endpoint: str, keys: list[str]) -> None:
    """What one would write: boto3 in threads around `Module.predict`, one at a time."""
    from fastinfer.runtimes.mxnet.library import load_mxnet

    mx, boto = load_mxnet(), s3.client(endpoint)
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(SHIPPED_MODEL / "model"), 0)
    module = mx.mod.Module(symbol, label_names=None)
    module.bind(for_training=False, data_shapes=[("data", (1, 1, 28, 28))])
    module.set_params(arguments, auxiliary, allow_missing=True)
    lock = threading.Lock()

    def one(key: str) -> None:
        text = boto.get_object(Bucket="bench", Key=key)["Body"].read().decode()
        rows = np.array([[float(cell) for cell in line.split(",")] for line in text.split()], dtype=np.float32)
        with lock:
            answer = module.predict(mx.io.NDArrayIter(rows.reshape(-1, 1, 28, 28), batch_size=1)).asnumpy()
        boto.put_object(Bucket="bench", Key=f"boto/{key}.out", Body=json.dumps(answer.tolist()).encode())

    with ThreadPoolExecutor(BOTO_THREADS) as pool:
        list(pool.map(one, keys))


def timed(action: Callable[[], object]) -> float:
    """The seconds of an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
