"""Peak memory of whole runs, each in a process of its own, over inputs that grow a hundredfold: to 20 GB, to a million files.

The file is on the disk, where its bytes do not count as memory; the small files on the memory file system where there is
one, as a disk takes minutes to make a million. What there is no room for is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench_engine import MEMORY, MNIST, run
from benchmarks.conftest import Keep
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import format_rows

LARGE_BYTES = 20_000_000_000
MANY_FILES = 1_000_000
STEPS = (100, 10, 1)  # what the largest input is divided by


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with so much room, by itself."""
    where, room = request.param
    folder = tmp_path if where is None or not where.is_dir() else Path(where, f"fastinfer-{tmp_path.name}")
    folder.mkdir(exist_ok=True)
    if shutil.disk_usage(folder).free < room:
        folder.rmdir()
        pytest.skip(f"{folder} has not {room / 1e9:,.0f} GB of room")
    yield folder
    shutil.rmtree(folder)


def report(keep: Keep, name: str, what: str, summary: dict[str, Any]) -> None:
    keep(f"{name}/peak", f"{what}: peak memory", summary["peak_memory_bytes"] / (1 << 20), "MiB", better="lower")
    keep(f"{name}/rate", what, summary["records_per_second"], "images/s")


@pytest.mark.parametrize("place", [(None, 1.3 * LARGE_BYTES)], indirect=True, ids=["disk"])
def bench_one_file(place: Path, keep: Keep) -> None:
    body = b"".join(format_rows(read_images(MNIST / "test"), "integers"))
    path, peaks = place / "large.csv", []
    for step in STEPS:
        with open(path, "ab") as file:
            while file.tell() < LARGE_BYTES // step:
                file.write(body)
        summary = run(path, place / f"out-{step}")
        assert summary["records"] == path.stat().st_size // len(body) * 10_000
        report(keep, f"one_file_{step}", f"one file of {path.stat().st_size / 1e9:,.1f} GB", summary)
        peaks.append(summary["peak_memory_bytes"])
    assert max(peaks) < 1.5 * min(peaks)


@pytest.mark.parametrize("place", [(MEMORY, 12_000 * MANY_FILES)], indirect=True, ids=["memory"])
def bench_many_files(place: Path, keep: Keep) -> None:
    lines = format_rows(read_images(MNIST / "test"), "integers")
    source, made, peaks = place / "in", 0, []
    source.mkdir()
    for step in STEPS:
        for number in range(made, MANY_FILES // step):
            (source / f"data-{number}.csv").write_bytes(lines[number % len(lines)])
        made = MANY_FILES // step
        summary = run(source, place / "out")
        assert summary["inputs"] == made
        report(keep, f"many_files_{step}", f"{made:,} files", summary)
        peaks.append(summary["peak_memory_bytes"])
        shutil.rmtree(place / "out")
    # Names are held to be sorted, and nothing else.
    assert peaks[-1] - peaks[0] < 200 * MANY_FILES
