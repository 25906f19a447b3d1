"""Waiting for a job: what is printed, what is raised, and which errors a wait survives."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import JobFailed, LocalSession, Session, jobs
from fastinfer.sagemaker.logs import TRAINING, TRANSFORM, JobKind

THROTTLED = ServiceError("Rate exceeded", code="aws_throttled")
MISSING = ServiceError("Requested resource not found", code="aws_missing")


class Client:
    """A service that gives these answers in turn, the last one again and again."""

    def __init__(self, *answers: dict[str, Any] | BaseException) -> None:
        self.answers = list(answers)
        self.stopped: list[str] = []

    def describe_training_job(self, *, TrainingJobName: str) -> dict[str, Any]:
        assert TrainingJobName == "job"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def describe_transform_job(self, **_: str) -> dict[str, Any]:
        raise MISSING

    def stop_training_job(self, *, TrainingJobName: str) -> None:
        self.stopped.append(TrainingJobName)


class Lines(Session):
    """A session whose jobs log a line at each request, and whose output is kept."""

    late_logs = False

    def __init__(self, *answers: dict[str, Any] | BaseException, **options: Any) -> None:
        self.shown = io.StringIO()
        super().__init__(None, Client(*answers), poll_seconds=0.001, stream=self.shown, **options)

    def logs(self, kind: JobKind, name: str) -> Any:
        assert (kind, name) == (TRAINING, "job")

        class Log:
            def lines(self) -> Iterator[str]:
                yield "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\n"

        return Log()


def status(status: str, **more: str) -> dict[str, Any]:
    return {"TrainingJobStatus": status, **more}


def test_a_wait_prints_each_status_once_and_the_log_without_secrets() -> None:
    session = Lines(
        status("InProgress", SecondaryStatus="Starting"),
        status("InProgress", SecondaryStatus="Training"),
        status("InProgress", SecondaryStatus="Training"),
        status("Completed", SecondaryStatus="Completed"),
    )
    assert jobs.wait(session, TRAINING, "job")["TrainingJobStatus"] == "Completed"
    shown = session.shown.getvalue().splitlines()
    assert [line for line in shown if line.startswith("training job")] == [
        f"training job job: {word}" for word in ("Starting", "Training", "Completed")
    ]
    assert shown.count("AWS_SECRET_ACCESS_KEY=(hidden)") == 4


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (status("Failed", FailureReason="no luck"), "job_failed", "job: the training job failed: no luck"),
        (status("Failed"), "job_failed", "job: the training job failed: no reason was given"),
        (status("Stopped"), "job_stopped", "job: the training job was stopped"),
    ],
)
def test_a_job_without_its_result_raises_the_services_reason(end: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(JobFailed) as caught:
        jobs.wait(Lines(end), TRAINING, "job")
    assert (caught.value.code, str(caught.value), caught.value.exit_code) == (code, message, 1)


def test_a_wait_survives_transient_errors_and_no_others() -> None:
    many = [THROTTLED] * (jobs.FAILED_REQUESTS_LIMIT - 1)
    jobs.wait(Lines(*many, status("InProgress"), *many, status("Completed")), TRAINING, "job")
    with pytest.raises(ServiceError, match="Rate exceeded"):
        jobs.wait(Lines(THROTTLED), TRAINING, "job")
    with pytest.raises(ServiceError, match="denied"):
        jobs.wait(Lines(ServiceError("denied", code="aws_denied"), status("Completed")), TRAINING, "job")


def test_an_interrupted_wait_says_how_to_wait_again_or_stops_the_job() -> None:
    session = Lines(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        jobs.wait(session, TRAINING, "job")
    again = "fastinfer sagemaker status job --wait"
    assert session.shown.getvalue() == f"training job job continues; to wait for it again: {again}\n"
    assert session.sagemaker_client.stopped == []
    session = Lines(KeyboardInterrupt(), stop_on_interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        jobs.wait(session, TRAINING, "job")
    assert session.shown.getvalue() == "training job job: stop requested\n"
    assert session.sagemaker_client.stopped == ["job"]


def test_a_job_is_found_by_its_name_whatever_its_kind() -> None:
    assert jobs.find(Lines(status("Completed")), "job")[0] is TRAINING
    with pytest.raises(ConfigError, match="there is no training or transform job job") as caught:
        jobs.find(Lines(MISSING), "job")
    assert caught.value.code == "no_such_job"
    with pytest.raises(ConfigError, match="not found") as caught:
        jobs.describe(Lines(MISSING), TRANSFORM, "job")
    assert caught.value.code == "no_such_job"


def test_a_names_base_is_found_again() -> None:
    assert jobs.base_of(jobs.make_name("mxnet-training")) == "mxnet-training"
    assert jobs.base_of("by-hand") == "by-hand"


@pytest.mark.parametrize("base", ["b", "mxnet-training", "x" * 100, "ends-with-hyphens" + "-" * 40])
def test_names_fit(base: str) -> None:
    name = jobs.make_name(base)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", name)
    assert re.search(r"-\d{4}(-\d\d){5}-\d{3}$", name)


def test_a_jobs_name_is_the_job() -> None:
    name = jobs.JobName("a-job", LocalSession(), TRAINING)
    assert (name, name.name, name.job_name) == ("a-job", "a-job", "a-job")
    assert json.dumps(name) == '"a-job"'
    with pytest.raises(ConfigError, match="there is no local training job a-job") as caught:
        name.describe()
    assert caught.value.code == "no_such_job"
