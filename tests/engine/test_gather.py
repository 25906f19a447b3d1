"""The gatherer: what is left to do, what has come back, and which error is raised of several."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastinfer.codecs.csv import CsvCodec
from fastinfer.engine.gather import Gatherer
from fastinfer.engine.job import Job, ShardReport
from fastinfer.engine.source import find_objects
from fastinfer.engine.summary import Summary
from fastinfer.errors import FastinferError, InputError, OutputError, WorkerDied
from fastinfer.models.module import load_model
from fastinfer.options import Limits, Options
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.label import Label
from fastinfer.outputs.rejects import Reject
from fastinfer.outputs.writer import Result
from fastinfer.records.spans import Span
from fastinfer.runtimes.batch_size import Batching
from tests import networks
from tests.networks import mx
from tests.runs import transform

LIMITS = Limits(large_object_bytes=64, span_bytes_least=32, span_bytes_most=32)


class Run:
    """A gatherer over a folder of results, without workers."""

    def __init__(self, model: Path, output: Path, limits: Limits = LIMITS, **options: Any) -> None:
        self.folder = OutputFolder(str(output))
        self.options = Options(**options)
        self.stop = threading.Event()
        self.summary = Summary(workers=2)
        self.job = Job(
            "t",
            load_model(model),
            (("cpu", 0),),
            Batching(8, False, True),
            CsvCodec(),
            self.folder.layout,
            quarantine=self.options.quarantine,
            limits=limits,
        )
        self.gatherer = Gatherer(self.job, self.options, self.folder, self.summary, self.stop)

    def write(self, span: Span) -> None:
        """A span's result, as a worker leaves it."""
        upload = self.folder.store.begin(self.folder.layout.span(span))
        upload.write(b"[1.0]")
        upload.commit(Label(bytes.fromhex(self.folder.layout.run), 0, span.item.version).pack())


@pytest.fixture
def run(linear: Path, tmp_path: Path) -> Iterator[Run]:
    made = Run(linear, tmp_path / "out")
    with made.folder.open_run({"depends_on": {}}, overwrite=False):
        yield made


def source(folder: Path) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "large.csv").write_bytes(b"1,2\n" * 32)
    (folder / "in" / "small.csv").write_bytes(b"1,2\n")
    return folder / "in"


def test_large_objects_come_as_spans_and_are_joined_when_all_are_finished(run: Run, tmp_path: Path) -> None:
    spans, small = run.gatherer.unfinished(find_objects(str(source(tmp_path))))
    assert isinstance(spans, list)
    assert small.key == "small.csv"
    assert [(span.start, span.stop) for span in spans] == [(0, 32), (32, 64), (64, 96), (96, 128)]
    for number, span in enumerate(reversed(spans)):
        run.write(span)
        assert run.summary.inputs == 0
        run.gatherer.add(ShardReport(number, records=8, bytes_read=32, spans=[(span, 0)]))
    assert (run.summary.inputs, run.summary.records, run.summary.bytes_read) == (1, 32, 128)
    assert (tmp_path / "out" / "large.csv.out").read_bytes() == b"[[1.0], [1.0], [1.0], [1.0]]"


def test_spans_that_are_finished_are_not_done_again(linear: Path, tmp_path: Path) -> None:
    objects = list(find_objects(str(source(tmp_path))))
    for attempt in range(2):
        run = Run(linear, tmp_path / "out")
        with run.folder.open_run({"depends_on": {}}, overwrite=False):
            spans = next(iter(run.gatherer.unfinished(objects)))
            assert isinstance(spans, list)
            assert len(spans) == 4 - attempt
            run.write(spans[0])
            (tmp_path / "out" / "small.csv.out").touch()
            run.gatherer.close()


@pytest.mark.parametrize(("hidden", "spans"), [(3, 0), (100, 4)])
def test_a_smaller_object_is_divided_where_a_record_is_much_work(hidden: int, spans: int, tmp_path: Path) -> None:
    def network() -> tuple[Any, tuple[int, ...]]:
        layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=hidden)
        return mx.sym.FullyConnected(layer, num_hidden=1), (2,)

    limits = Limits(costly_object_bytes=64, span_bytes_least=32, span_bytes_most=32)
    run = Run(networks.save(network, tmp_path / "model"), tmp_path / "out", limits)
    with run.folder.open_run({"depends_on": {}}, overwrite=False):
        large, small = run.gatherer.unfinished(find_objects(str(source(tmp_path))))
    assert (len(large) if isinstance(large, list) else 0) == spans
    assert not isinstance(small, list)


def test_an_error_is_not_hidden_by_what_cannot_be_settled(linear: Path, tmp_path: Path) -> None:
    run = Run(linear, tmp_path / "out", on_error="quarantine")
    with run.folder.open_run({"depends_on": {}}, overwrite=False):
        *_, item = find_objects(str(source(tmp_path)))
        run.folder.rejects.append([Reject.of_object(run.folder.layout.run, item, InputError("no rows"))])
        (tmp_path / "out" / "_rejects.jsonl").mkdir()
        run.gatherer.add(ShardReport(1, error=InputError("the first"), failed_at=0))
        with (
            pytest.warns(RuntimeWarning, match="the next run puts in order"),
            pytest.raises(InputError, match="the first"),
        ):
            run.gatherer.finish(1.0)


def test_the_first_error_in_the_order_of_the_inputs_is_raised(run: Run) -> None:
    errors: list[FastinferError] = [InputError(str(number)) for number in range(3)]
    for number, failed_at, error in ((7, 0, errors[2]), (2, 9, errors[1]), (2, 3, errors[0])):
        run.gatherer.add(ShardReport(number, error=error, failed_at=failed_at))
    assert run.stop.is_set()
    with pytest.raises(InputError) as caught:
        run.gatherer.finish(1.0)
    assert caught.value is errors[0]


def test_a_shard_that_kills_its_worker_does_not_stop_the_others(run: Run) -> None:
    run.gatherer.add(ShardReport(0, error=WorkerDied("died")))
    assert not run.stop.is_set()
    run.gatherer.add(ShardReport(1, inputs=5))
    with pytest.raises(WorkerDied):
        run.gatherer.finish(1.0)
    assert run.summary.inputs == 5


def test_what_is_left_of_the_workers_time_is_waiting(run: Run) -> None:
    run.gatherer.add(ShardReport(0, seconds={"read": 0.5, "parse": 0.0, "forward": 1.0, "format": 0.0, "write": 0.0}))
    run.gatherer.finish(2.0)
    assert run.summary.stage_seconds == {
        "read": 0.5,
        "parse": 0.0,
        "forward": 1.0,
        "format": 0.0,
        "write": 0.0,
        "wait": 2.5,
    }


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["in-order", "reversed"])
def test_an_object_of_which_spans_fail_is_rejected_once_by_the_first_of_them(
    order: list[int], linear: Path, tmp_path: Path
) -> None:
    run = Run(linear, tmp_path / "out", on_error="quarantine")
    with run.folder.open_run({"depends_on": {}}, overwrite=False):
        spans = next(iter(run.gatherer.unfinished(find_objects(str(source(tmp_path))))))
        assert isinstance(spans, list)
        errors = [InputError(str(number), code="cannot_read", path="x") for number in range(2)]
        refused = [(spans[number], errors[number]) for number in order]
        run.gatherer.add(ShardReport(0, refused=refused))
        run.write(spans[2])
        run.gatherer.add(ShardReport(1, spans=[(spans[2], 0)]))
        run.gatherer.close()
    assert (run.summary.rejected, run.summary.inputs, run.stop.is_set()) == (1, 0, False)
    (reject,) = map(json.loads, Path(run.folder.layout.rejects).read_text().splitlines())
    assert reject["message"] == "0"


def test_more_rejects_than_are_allowed_stop_the_run(linear: Path, tmp_path: Path) -> None:
    run = Run(linear, tmp_path / "out", on_error="quarantine", max_errors=3)
    run.gatherer.add(ShardReport(0, rejected=3))
    assert not run.stop.is_set()
    run.gatherer.add(ShardReport(1, rejected=1))
    with pytest.raises(InputError, match="4 rejects, at most 3 allowed"):
        run.gatherer.finish(1.0)


def test_a_run_whose_account_does_not_balance_fails(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    add_rows = Result.add_rows
    monkeypatch.setattr(Result, "add_rows", lambda self, text, count: add_rows(self, text, count - 1))
    with pytest.raises(OutputError, match=r"2 records were read, but the outputs have 1") as caught:
        transform(linear, tmp_path / "x.csv", tmp_path / "out", Options(skip_header=True))
    assert caught.value.code == "account"
