"""A run from S3 to S3 beside its parts: obstore alone, and boto3 with `Module.predict`; SeaweedFS on loopback.

python benchmarks/bench_s3.py [--objects 2000] [--latency-ms 20]

Prints one line for each figure. The server shares the cores with its clients, so only the ratios mean something.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from fastinfer.engine.run import transform  # noqa: E402
from fastinfer.engine.source import Listing, name_source  # noqa: E402
from fastinfer.mnist.dataset import read_idx  # noqa: E402
from fastinfer.models.module import SHIPPED_MODEL, load_model  # noqa: E402
from fastinfer.storage.crew import the_crew  # noqa: E402
from fastinfer.storage.s3_client import open_bucket  # noqa: E402
from tests import s3  # noqa: E402
from tests.conftest import csv  # noqa: E402

BOTO_THREADS = 16
REPEATS = 3


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    arguments = parser.parse_args()
    count = arguments.objects
    digits = read_idx(ROOT / "examples" / "mnist" / "test" / "images.gz", rank=3).reshape(-1, 784)
    with s3.seaweedfs() as endpoint:
        os.environ.update(s3.environment(endpoint))
        boto: Any = s3.client(endpoint)
        boto.create_bucket(Bucket="bench")
        bucket = open_bucket("bench")
        bodies = [csv(digits[number % len(digits)][None]) for number in range(count)]
        keys = [f"in/{number:06}.csv" for number in range(count)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(bucket.put, keys, bodies))
        ours = best(lambda: run("s3://bench/in/", "s3://bench/out"), bucket)
        threads = the_crew().width
        alone = best(lambda: obstore_alone(keys, threads), bucket)
        say(
            f"{count} objects of an image: ours {count / ours:,.0f}/s; obstore alone, {threads} threads {count / alone:,.0f}/s"
        )
        say(f"ratio to obstore alone: {alone / ours:.2f} (wanted: 0.7)")
        part = keys[: max(100, count // 10)]
        theirs = timed(lambda: boto_loop(boto, part)) / len(part) * count
        say(f"ratio to boto3 in {BOTO_THREADS} threads and Module.predict: {theirs / ours:.1f} (wanted: 8)")
        long_object(bucket, digits)
    with s3.seaweedfs() as endpoint:
        proxy = s3.Proxy(endpoint)
        os.environ.update(s3.environment(proxy.endpoint))
        s3.client(endpoint).create_bucket(Bucket="far")
        far = open_bucket("far")
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(far.put, keys, bodies))
        near = best(lambda: run("s3://far/in/", "s3://far/out"), far)
        proxy.latency_s = arguments.latency_ms / 1000
        slow = best(lambda: run("s3://far/in/", "s3://far/out"), far)
        say(
            f"ratio with {arguments.latency_ms:.0f} ms added to every request: {near / slow:.2f} (through the proxy, both)"
        )
        proxy.close()


def run(source: str, output: str) -> float:
    """Transforms; returns the seconds without the start."""
    summary = transform(load_model(SHIPPED_MODEL), Listing(source, output=output), output, source=name_source(source))
    return summary.seconds


def obstore_alone(keys: list[str], threads: int) -> float:
    """Reads and writes the same objects by obstore, in as many threads."""
    import obstore

    store = open_bucket("bench")._connection.stores[False]
    result = b"[" + b", ".join([b"0.12345678901"] * 10) + b"]"

    def both(key: str) -> None:
        bytes(obstore.get(store, key).bytes())
        obstore.put(store, f"alone/{key}", result, use_multipart=False)

    def all_of_them() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(both, keys))

    return timed(all_of_them)


def boto_loop(boto: Any, keys: list[str]) -> None:
    """What one would write: boto3 in threads around `Module.predict`, one at a time."""
    import json
    import threading

    import numpy as np

    from fastinfer.runtimes.mxnet.library import load_mxnet

    mx = load_mxnet()

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


def long_object(bucket: Any, digits: Any) -> None:
    """One long object by ranges, and the same file from the disk."""
    folder = Path(tempfile.mkdtemp())
    try:
        with open(folder / "long.csv", "wb") as file:
            for first in range(0, 10_000, 1000):
                file.write(csv(digits[first : first + 1000], "integers"))
        bucket.put("long/long.csv", (folder / "long.csv").read_bytes())
        disk, ranges = [], []
        for number in range(REPEATS):
            disk.append(run(str(folder / "long.csv"), str(folder / f"disk-{number}")))
            ranges.append(run("s3://bench/long/", str(folder / f"ranges-{number}")))
        size = (folder / "long.csv").stat().st_size
        say(f"a long object ({size >> 20} MiB): ratio to the disk {min(disk) / min(ranges):.2f} (wanted: 0.8)")
    finally:
        shutil.rmtree(folder)


def best(measure: Callable[[], float], bucket: Any) -> float:
    """The least of some measurements, each into an empty folder."""
    seconds = []
    for _ in range(REPEATS):
        for prefix in ("out/", "alone/"):
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(bucket.delete, [entry.key for entry in bucket.entries(prefix)]))
        seconds.append(measure())
    return min(seconds)


def timed(action: Callable[[], object]) -> float:
    """The seconds of an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
