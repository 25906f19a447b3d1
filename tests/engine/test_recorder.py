"""What a worker reports: results that could not have their names are errors, or rejects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine.job import Job, ShardReport
from fastinfer.engine.recorder import Recorder
from fastinfer.errors import InputError, OutputError
from fastinfer.outputs.rejects import Rejects
from fastinfer.outputs.writer import Finished
from fastinfer.records.spans import Span, whole
from fastinfer.storage.base import Object
from fastinfer.storage.claim import Claim
from fastinfer.storage.local import LocalStore
from tests.runs import make_job

ITEM = Object("/in/a", "a", 10, b"v")
PROBLEM = InputError("no name", code="output_name", path="/in/a")


def recorder(model: Path, folder: Path, **rest: Any) -> tuple[Recorder, ShardReport, Job]:
    job = make_job(model, folder, **rest)
    report = ShardReport(0)
    return Recorder(job, report), report, job


def test_finished_objects_and_spans_are_counted(linear: Path, tmp_path: Path) -> None:
    made, report, _ = recorder(linear, tmp_path)
    span = Span(ITEM, 0, 4, 2)
    made.count([Finished(ITEM, None, 3), Finished(ITEM, span, 2, 1)])
    assert (report.inputs, report.records, report.bytes_read, report.spans) == (1, 5, 14, [(span, 1)])


def test_a_result_without_a_name_stops_the_shard_or_is_rejected(linear: Path, tmp_path: Path) -> None:
    made, _, _ = recorder(linear, tmp_path)
    with pytest.raises(InputError, match="no name"):
        made.count([Finished(ITEM, None, 3, 0, PROBLEM)])
    made, report, job = recorder(linear, tmp_path, quarantine=True)
    span = Span(ITEM, 0, 4, 2)
    made.count([Finished(ITEM, None, 3, 0, PROBLEM), Finished(ITEM, span, 1, 0, PROBLEM)])
    made.refuse(whole(ITEM), InputError("bad", path="/in/a").at(line=2, column=3))
    made.write_rejects()
    assert (report.rejected, report.refused) == (2, [(span, PROBLEM)])
    Rejects(job.layout, job.store).finish()
    found = [json.loads(line)["message"] for line in Path(job.layout.rejects).read_text().splitlines()]
    assert sorted(found) == ["bad", "no name"]


def test_rejects_are_not_written_to_a_folder_of_another_run(linear: Path, tmp_path: Path) -> None:
    claim = Claim(LocalStore(), str(tmp_path / "_run.json"), "0" * 32)
    made, _, _ = recorder(linear, tmp_path, quarantine=True, claim=claim)
    made.refuse(whole(ITEM), PROBLEM)
    with pytest.raises(OutputError, match="not this run's any more"):
        made.write_rejects()
    assert list(tmp_path.iterdir()) == []
