"""One worker and its shard: what is finished, counted and reported, with objects in hand and no backend."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine.job import STAGES, ShardReport
from fastinfer.engine.plan import Shard
from fastinfer.engine.process import prepare, release
from fastinfer.engine.source import find_objects
from fastinfer.engine.worker import run_shard
from fastinfer.errors import InputError, ModelError
from fastinfer.options import Limits
from fastinfer.outputs import writer
from fastinfer.outputs.rejects import Rejects
from fastinfer.records.reading import read_chunks
from fastinfer.records.spans import Span
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.storage.base import Object
from tests.conftest import read_tree
from tests.runs import make_job


class Worker:
    """Runs shards of one job on a model of two features and one number out."""

    def __init__(self, model: Path, output: Path, **rest: Any) -> None:
        output.mkdir(exist_ok=True)
        self.job = make_job(model, output, **rest)

    def __call__(self, items: list[Object] | list[Span]) -> ShardReport:
        return run_shard(Shard(3, items), self.job)

    def reject_lines(self) -> list[int]:
        """The lines of the records that were rejected."""
        Rejects(self.job.layout, self.job.store).finish()
        return [json.loads(line)["line"] for line in Path(self.job.layout.rejects).read_text().splitlines()]


@pytest.fixture
def worker(linear: Path, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(linear, tmp_path / "out")
    yield made
    release(made.job)


@pytest.fixture
def quarantine(linear: Path, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(linear, tmp_path / "out", quarantine=True)
    yield made
    release(made.job)


def write(folder: Path, **bodies: bytes) -> list[Object]:
    source = folder / "in"
    source.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (source / f"{name}.csv").write_bytes(body)
    return list(find_objects(str(source)))


def rows_of(folder: Path, name: str) -> list[Any]:
    return json.loads((folder / "out" / f"{name}.csv.out").read_text())


def test_a_shard_is_reported_with_what_was_done(worker: Worker, tmp_path: Path) -> None:
    report = worker(write(tmp_path, a=b"1,2\n", b=b"1,2\n3,4\n" * 10))
    assert (report.number, report.inputs, report.records, report.rejected) == (3, 2, 21, 0)
    assert (report.bytes_read, report.error, report.failed_at) == (84, None, 2)
    assert list(report.seconds) == list(STAGES)
    assert [len(rows_of(tmp_path, name)) for name in "ab"] == [1, 20]


def test_objects_of_every_kind_share_batches(worker: Worker, tmp_path: Path) -> None:
    large = b"".join(b"%d,1\n" % number for number in range(30_000))
    bodies = {f"n{number:02d}": b"%d,1\n" % number * (1 + number % 5) for number in range(30)}
    report = worker(write(tmp_path, **{**bodies, "n07": large, "n20": large}))
    assert (report.inputs, report.error) == (30, None)
    rows = rows_of(tmp_path, "n07")
    assert len(rows) == 30_000
    assert rows_of(tmp_path, "n20") == rows
    for number in {*range(30)} - {7, 20}:
        # Each record gives its row wherever it is.
        assert rows_of(tmp_path, f"n{number:02d}") == [rows[number]] * (1 + number % 5)


def test_what_comes_before_an_error_is_finished_and_what_comes_after_is_not(worker: Worker, tmp_path: Path) -> None:
    report = worker(write(tmp_path, a=b"1,2\n", b=b"1,2\n" * 20 + b"1,x\n", c=b"1,2\n"))
    assert isinstance(report.error, InputError)
    assert (report.error.code, report.error.line, report.error.column) == ("expected_number", 21, 3)
    assert (report.error.path, report.failed_at) == (str(tmp_path / "in" / "b.csv"), 1)
    assert list(read_tree(tmp_path / "out")) == ["a.csv.out"]


def test_bad_records_leave_their_places_empty(quarantine: Worker, tmp_path: Path) -> None:
    lines = [b"x,1" if number % 3 == 0 else b"%d,1" % number for number in range(100)]
    report = quarantine(write(tmp_path, a=b"\n".join(lines), b=b"1,1\n"))
    assert (report.inputs, report.records, report.rejected) == (2, 101, 34)
    rows = rows_of(tmp_path, "a")
    assert [row is None for row in rows] == [number % 3 == 0 for number in range(100)]
    assert rows[1] == rows_of(tmp_path, "b")[0]
    assert quarantine.reject_lines() == list(range(1, 101, 3))


def test_an_object_that_fails_after_batches_were_run_gives_no_rows(quarantine: Worker, tmp_path: Path) -> None:
    items = write(tmp_path, a=b"1,2\n", b=b"1,2\n" * 100_000, c=b"3,4\n")
    with open(tmp_path / "in" / "b.csv", "ab") as file:
        file.write(b"5,6\n")
    report = quarantine(items)
    assert (report.inputs, report.records, report.rejected, report.error) == (2, 2, 1, None)
    assert sorted(read_tree(tmp_path / "out")) == ["a.csv.out", "c.csv.out"]
    quarantine.reject_lines()
    assert list((tmp_path / "out").glob(".*")) == []


def test_lines_are_counted_over_chunks(linear: Path, tmp_path: Path) -> None:
    worker = Worker(linear, tmp_path / "out", limits=Limits(chunk_bytes=64), quarantine=True)
    lines = [b"1,2"] * 3000
    for number in (0, 17, 18, 1500, 2999):
        lines[number] = b"1,2,3"
    try:
        # Behind a small object, so that it is read into the buffer that no group is read into.
        report = worker(write(tmp_path, a=b"1,2\n", b=b"\r\n".join(lines) + b"\n" * 66_000))
    finally:
        release(worker.job)
    assert (report.error, report.rejected) == (None, 5)
    assert worker.reject_lines() == [1, 18, 19, 1501, 3000]


def test_spans_are_results_without_brackets(worker: Worker, tmp_path: Path) -> None:
    (item,) = write(tmp_path, a=b"1,2\n3,4\n5,6\n")
    spans = [Span(item, 0, 4, 2), Span(item, 4, 12, 2)]
    report = worker(spans)
    assert (report.inputs, report.spans, report.records, report.bytes_read) == (0, [(span, 0) for span in spans], 3, 12)
    texts = [Path(worker.job.layout.span(span)).read_bytes() for span in spans]
    assert len(json.loads(b"[" + b", ".join(texts) + b"]")) == 3


def test_a_span_that_cannot_be_used_is_left_to_the_run(quarantine: Worker, tmp_path: Path) -> None:
    (item,) = write(tmp_path, a=b"1,2\n3,4\n5,6\n")
    (tmp_path / "in" / "a.csv").unlink()
    spans = [Span(item, 0, 4, 2), Span(item, 4, 12, 2)]
    report = quarantine(spans)
    assert [span for span, _ in report.refused] == spans
    assert (report.rejected, report.spans, report.error) == (0, [], None)


def test_a_worker_that_is_to_stop_finishes_what_it_has(worker: Worker, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    prepare(worker.job).stop = stop
    report = worker(write(tmp_path, a=b"1,2\n"))
    assert (report.inputs, report.error) == (0, None)
    assert read_tree(tmp_path / "out") == {}


def test_a_problem_of_the_listing_is_raised_when_it_is_its_turn(worker: Worker, tmp_path: Path) -> None:
    problem = InputError("is not a regular file", code="cannot_read", path="/in/b")
    items = [*write(tmp_path, a=b"1,2\n"), Object("/in/b", "b.csv", 0, b"", problem)]
    report = worker(items)
    assert report.error is problem
    assert (report.inputs, report.failed_at) == (1, 1)


@pytest.mark.parametrize("together", [True, False])
def test_lines_are_counted_on_from_span_to_span_and_from_shard_to_shard(
    together: bool, quarantine: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [b"1,2\n"] * 100
    for number in (10, 40, 41, 99):
        lines[number] = b"1,x\n"
    (item,) = write(tmp_path, a=b"".join(lines))
    spans = [Span(item, first, first + 100, 2) for first in range(0, 400, 100)]
    counted = []

    def read(store: Any, span: Span, *rest: Any, **named: Any) -> Any:
        counted.append((span.start, span.stop))
        return read_chunks(store, span, *rest, **named)

    monkeypatch.setattr("fastinfer.records.line_counts.read_chunks", read)
    reports = [quarantine(spans)] if together else [quarantine([span]) for span in spans]
    assert [report.error for report in reports] == [None] * len(reports)
    assert [report.rejected for report in reports] == ([4] if together else [1, 2, 0, 1])
    assert quarantine.reject_lines() == [11, 41, 42, 100]
    # The lines before a span are read once, from where the last count ended.
    assert counted == [(0, 100), (100, 300)]


def test_an_error_of_the_model_leaves_no_unfinished_result(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = MXNetExecutor.forward, []

    def fail_late(executor: MXNetExecutor) -> Any:
        calls.append(1)
        if len(calls) > 100:
            raise ModelError("it broke")
        return forward(executor)

    monkeypatch.setattr(MXNetExecutor, "forward", fail_late)
    monkeypatch.setattr(writer, "BUFFER_BYTES", 64)
    # The end of the first is in the batch in which the model breaks.
    report = worker(write(tmp_path, a=b"1,2\n" * 804, b=b"1,2\n" * 10_000))
    assert str(report.error) == "it broke"
    assert [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
