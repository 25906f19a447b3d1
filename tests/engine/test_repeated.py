"""Warnings of another process are given here, each text once in a run."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

from fastinfer.engine.job import Job, ShardReport
from fastinfer.engine.plan import Shard
from fastinfer.engine.repeated import Repeater, record
from tests.runs import make_job


def warn(shard: Shard, job: Job) -> ShardReport:  # noqa: ARG001
    warnings.warn("a record is odd", RuntimeWarning, stacklevel=1)
    return ShardReport(shard.number)


def test_warnings_travel_with_reports_and_are_given_once(linear: Path, tmp_path: Path) -> None:
    job = make_job(linear, tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recorded = [pickle.loads(pickle.dumps(record(warn, Shard(number, []), job))) for number in range(2)]
    assert not caught
    repeat = Repeater()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert [repeat(each).number for each in recorded] == [0, 1]
    assert [str(each.message) for each in caught] == ["a record is odd"]
