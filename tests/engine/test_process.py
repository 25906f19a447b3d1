"""What the workers of a process share is made once for a job, and a process does not outlive its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fastinfer.codecs.csv import CsvCodec
from fastinfer.engine.job import Job
from fastinfer.engine.process import end_if_orphaned, prepare, release
from fastinfer.errors import ConfigError
from fastinfer.models.module import load_model
from fastinfer.outputs.layout import OutputLayout
from fastinfer.runtimes.batch_size import Batching
from tests.conftest import wait_until


@pytest.fixture
def job(linear: Path) -> Job:
    return Job("one", load_model(linear), (("cpu", 0),), Batching(4, False, True), CsvCodec(), OutputLayout("out"))


def test_workspaces_are_made_once_for_a_job_and_replaced_by_another_jobs(job: Job) -> None:
    process = prepare(job, 2)
    assert prepare(job) is process
    with process.workspaces.lend() as first, process.workspaces.lend() as second:
        assert "ladder" in vars(first)
        assert "ladder" not in vars(second)  # a short run does not need it
        assert first.ladder is not second.ladder
        assert len({id(buffer) for buffer in (*first.buffers, *second.buffers)}) == 4
    other = replace(job, token="two")
    assert prepare(other) is not process
    assert prepare(job) is not process
    release(job)
    release(other)


def test_a_job_of_another_machine_is_refused(job: Job) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(replace(job, token="three", depends_on={"fastinfer": "0", "cpu_isa": None}))
    assert caught.value.code == "other_machine"


def test_a_process_whose_parent_is_alive_continues(job: Job) -> None:
    for parent in (None, os.getpid(), os.getppid()):
        end_if_orphaned(replace(job, parent=parent))


CHILD = """
import os, subprocess, sys, time
from fastinfer.engine.process import end_with_parent
end_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(1000)
"""


def test_a_process_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def has_ended() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(has_ended)
