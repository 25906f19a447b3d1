"""The folder of a local job: its status is whole or not there, and its process is recognized."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker.local import job_folder
from fastinfer.sagemaker.local.job_folder import PROCESS, JobFolder
from fastinfer.sagemaker.logs import TRAINING, TRANSFORM
from tests.conftest import wait_until


@pytest.fixture
def folder(local_root: Path) -> JobFolder:
    folder = JobFolder.of(TRAINING, "job")
    assert folder.path == local_root / "training-jobs" / "job"
    folder.create({"TrainingJobName": "job"})
    return folder


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", ".."])
def test_names_that_would_leave_the_folder_of_jobs_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid name of a job") as caught:
        JobFolder.of(TRANSFORM, name)
    assert caught.value.code == "bad_name"


def test_a_name_is_used_once(folder: JobFolder) -> None:
    with pytest.raises(FileExistsError):
        folder.create({})
    assert folder.read_request() == {"TrainingJobName": "job"}


def test_the_status_changes_and_the_time_of_creation_stays(folder: JobFolder) -> None:
    created = folder.read_status()["created"]
    assert (folder.read_status()["status"], folder.read_status()["secondary"]) == ("InProgress", "Starting")
    folder.write_status("Failed", "Failed", reason="no luck")
    assert folder.read_status() == {
        "status": "Failed",
        "secondary": "Failed",
        "reason": "no luck",
        "artifacts": None,
        "created": created,
    }
    assert sorted(path.name for path in folder.path.iterdir()) == ["request.json", "status.json"]


def test_a_job_runs_while_it_is_started_and_while_its_process_lives(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.is_running()  # its process is about to be started
    monkeypatch.setattr(job_folder, "STARTING_S", 0)
    assert not folder.is_running()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    started = job_folder._start_time(process.pid)
    (folder.path / PROCESS).write_text(f"{process.pid} {started}")
    assert folder.is_running()
    # The number of an ended process that another one has now.
    (folder.path / PROCESS).write_text(f"{os.getpid()} {int(job_folder._start_time(os.getpid())) - 1}")
    assert not folder.is_running()
    (folder.path / PROCESS).write_text(f"{process.pid} {started}")
    folder.kill()
    process.communicate()
    assert process.returncode < 0
    assert not folder.is_running()
    folder.kill()  # a job that has ended


def test_a_process_that_has_ended_is_reaped_though_nobody_asks(folder: JobFolder) -> None:
    # Without its files it ends at once.
    (folder.path / "request.json").unlink()
    folder.start(TRAINING, os.environ)
    child = int((folder.path / PROCESS).read_text().split()[0])
    wait_until(lambda: not Path(f"/proc/{child}").exists(), every_s=0.01)
    assert not folder.is_running()
