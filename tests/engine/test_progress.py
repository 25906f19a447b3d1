"""What a run tells while it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.engine.progress import Progress
from fastinfer.options import Options
from tests.conftest import csv
from tests.runs import transform


class Log(Progress):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.size = 0
        self.batches: list[tuple[int, int]] = []

    def starting(self, what: str) -> None:
        self.steps.append(what)

    def found(self, size: int) -> None:
        self.size += size

    def advance(self, records: int, size: int) -> None:
        self.batches.append((records, size))


@pytest.mark.parametrize("rows_per_file", [1, 3000])
def test_every_step_of_the_start_and_every_batch_is_told(rows_per_file: int, linear: Path, tmp_path: Path) -> None:
    rows = np.random.RandomState(0).randint(0, 9, (3000, 2))
    source = tmp_path / "in"
    source.mkdir()
    for number, first in enumerate(range(0, 3000, rows_per_file)):
        (source / f"{number:04}.csv").write_bytes(csv(rows[first : first + rows_per_file], "integers"))
    log = Log()
    summary = transform(linear, source, tmp_path / "out", Options(workers=1), progress=log)
    assert log.steps == ["loading MXNet", "choosing a batch size", "starting the workers"]
    assert log.size == summary.bytes_read
    assert sum(records for records, _ in log.batches) == summary.records == 3000
    assert sum(size for _, size in log.batches) == summary.bytes_read
    assert len(log.batches) == -(-3000 // summary.batch_size)  # after each batch, not only at the end of a shard

    again = Log()
    transform(linear, source, tmp_path / "out", Options(workers=1), progress=again)
    assert (again.size, again.batches) == (0, [])  # what is finished is not to be done
