"""A job and a report go to other processes and machines as they are."""

from __future__ import annotations

import pickle
from pathlib import Path

from fastinfer.codecs.csv import CsvCodec, CsvOptions
from fastinfer.engine.job import STAGES, Job, ShardReport
from fastinfer.errors import InputError
from fastinfer.models.module import load_model
from fastinfer.options import Limits
from fastinfer.outputs.layout import OutputLayout
from fastinfer.runtimes.batch_size import Batching
from fastinfer.storage.local import LocalStore


def test_a_job_arrives_as_it_was_sent(linear: Path) -> None:
    job = Job(
        "token",
        load_model(linear),
        (("cpu", 0),),
        Batching(8, True, True),
        CsvCodec(CsvOptions("#", 0.5, True)),
        OutputLayout("out"),
        store=LocalStore(durable=True),
        quarantine=True,
        limits=Limits(chunk_bytes=7),
    )
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_report_arrives_with_its_error() -> None:
    report = ShardReport(4, inputs=2, error=InputError("no", code="empty_input", path="a", line=3))
    arrived = pickle.loads(pickle.dumps(report))
    assert (arrived.number, arrived.inputs, arrived.seconds) == (4, 2, dict.fromkeys(STAGES, 0.0))
    assert (str(arrived.error), arrived.error.code) == ("a:3: no", "empty_input")
