"""One run by workers of each kind, beside threads in turns: processes, and clusters of dask and ray on this machine.

What is compared is the time without the start; what the start of each takes is kept beside it. The results are the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench_engine import MEMORY, MNIST, run
from benchmarks.conftest import Keep
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import format_rows

TURNS = 3
COPIES = 20  # of the 10,000 test images
PACKAGES = {"processes": "joblib", "dask": "distributed", "ray": "ray"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory, with the inputs: one file that is cut into parts."""
    folder = (MEMORY if MEMORY.is_dir() else tmp_path_factory.getbasetemp()) / f"fastinfer-backends-{os.getpid()}"
    folder.mkdir()
    (folder / "long.csv").write_bytes(COPIES * b"".join(format_rows(read_images(MNIST / "test"), "integers")))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("backend", PACKAGES)
def bench_beside_threads(backend: str, place: Path, keep: Keep) -> None:
    pytest.importorskip(PACKAGES[backend])
    source = place / "long.csv"
    ratios, starts = [], []
    for _ in range(TURNS):
        threads = run(source, place / "threads", "--workers", 2)
        other = run(source, place / "other", "--workers", 2, "--backend", backend)
        assert (place / "other" / "long.csv.out").read_bytes() == (place / "threads" / "long.csv.out").read_bytes()
        ratios.append(other["seconds"] / threads["seconds"])
        starts.append(other["startup_seconds"])
    title = f"one file of {10_000 * COPIES:,} images, two workers: --backend {backend}"
    keep(f"{backend}/over_threads", f"{title} / threads, start-up apart", ratios, "times", better="lower")
    keep(f"{backend}/start", f"{title}: its start", starts, "s", better="lower")
