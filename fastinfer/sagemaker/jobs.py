"""Running jobs: their names and status, waiting for them while printing their logs, and the reasons of failures.

boto3's own waiter asks every two minutes and prints nothing; this one asks every few seconds.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ..errors import ConfigError, FastinferError, ServiceError
from ..storage.aws import scrub, translating_errors
from .logs import TRAINING, TRANSFORM, JobKind, Logs
from .session import Session

# How many status requests in a row may fail with a transient error before waiting is given up.
FAILED_REQUESTS_LIMIT = 20
# Pauses between status requests begin with the first value, for short jobs, and grow by the factor.
FIRST_PAUSE_S, BACKOFF_FACTOR = 0.5, 1.5
# SageMaker's limit for a name.
NAME_CHARACTERS = 63


class JobFailed(FastinferError):
    """A job failed or was stopped.

    Attributes:
        code: ``job_failed``, or ``job_stopped``.
        path: the job's name.
    """

    code = "job_failed"
    exit_code = 1


KINDS = (TRAINING, TRANSFORM)


class JobName(str):
    """A job's name with the attributes of the job object that SageMaker's SDK has in its place.

    Args:
        name: the job's name.
        session: the session that started the job.
        kind: :data:`TRAINING` or :data:`TRANSFORM`.
    """

    _session: Session
    _kind: JobKind

    def __new__(cls, name: str, session: Session, kind: JobKind) -> JobName:
        job = super().__new__(cls, name)
        job._session, job._kind = session, kind
        return job

    @property
    def name(self) -> str:
        """The name."""
        return str(self)

    @property
    def job_name(self) -> str:
        """The name."""
        return str(self)

    def describe(self) -> dict[str, Any]:
        """The service's description of the job."""
        return describe(self._session, self._kind, str(self))

    def wait(self, logs: bool = True) -> None:
        """Waits until the job ends; see :func:`wait`."""
        wait(self._session, self._kind, str(self), logs=logs)

    def stop(self) -> None:
        """Asks the service to stop the job."""
        stop(self._session, self._kind, str(self))


def make_name(base: str) -> str:
    """A unique name for a job or model: `base`, shortened where needed, and the time."""
    now = time.time()
    # The suffix of SageMaker's SDK: UTC to the millisecond.
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S-", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}"
    return f"{base[: NAME_CHARACTERS - len(stamp) - 1].rstrip('-')}-{stamp}"


def base_of(name: str) -> str:
    """The `base` of a name that :func:`make_name` made; any other name unchanged."""
    stamped = re.match(r"^(.+)-\d{4}(?:-\d\d){5}-\d{3}$", name)
    return stamped[1] if stamped else name


def failure(kind: JobKind, name: str, facts: dict[str, Any]) -> JobFailed:
    """The error for a job that failed, with its reason."""
    reason = scrub(str(facts.get("FailureReason") or "no reason was given"))
    return JobFailed(f"the {kind.word} failed: {reason}", path=name)


def describe(session: Session, kind: JobKind, name: str) -> dict[str, Any]:
    """The service's description of a job.

    Raises:
        ConfigError: ``no_such_job``.
        ServiceError: AWS refused.
    """
    call = getattr(session.sagemaker_client, kind.describe)
    try:
        with translating_errors(f"the {kind.word} {name}"):
            return dict(call(**{kind.name: name}))
    except ServiceError as error:
        if error.code != "aws_missing":
            raise
        raise ConfigError(error.message, code="no_such_job") from error


def find(session: Session, name: str) -> tuple[JobKind, dict[str, Any]]:
    """A job of either kind, by its name.

    Raises:
        ConfigError: ``no_such_job``.
    """
    for kind in KINDS:
        try:
            return kind, describe(session, kind, name)
        except ConfigError as error:
            if error.code != "no_such_job":
                raise
        except ServiceError as error:
            if error.service_code != "ValidationException":
                raise
    raise ConfigError(f"there is no training or transform job {name}", code="no_such_job")


def stop(session: Session, kind: JobKind, name: str) -> None:
    """Asks the service to stop a job."""
    call = getattr(session.sagemaker_client, kind.stop)
    with translating_errors(f"stopping the {kind.word} {name}"):
        call(**{kind.name: name})


def wait(session: Session, kind: JobKind, name: str, *, logs: bool = True) -> dict[str, Any]:
    """Waits until a job ends and prints its progress.

    Args:
        session: the session that started the job; ``session.poll_seconds`` is the longest pause between status requests.
        kind: the job's kind.
        name: the job's name.
        logs: whether its log is printed as well.

    Returns:
        The service's description of the ended job.

    Raises:
        JobFailed: with the service's reason.
        ConfigError: ``no_such_job``.
        KeyboardInterrupt: the job continues unless ``session.stop_on_interrupt`` is set.
    """
    source = session.logs(kind, name) if logs else None
    shown, failed_requests, pause = "", 0, min(FIRST_PAUSE_S, session.poll_seconds)
    try:
        while True:
            try:
                facts = describe(session, kind, name)
                failed_requests = 0
            except ServiceError as error:
                failed_requests += 1
                if not error.transient or failed_requests >= FAILED_REQUESTS_LIMIT:
                    raise
                time.sleep(session.poll_seconds)
                continue
            status = str(facts[kind.status])
            ended = status in ("Completed", "Failed", "Stopped")
            if source is not None and ended and session.late_logs:
                # The last lines arrive in CloudWatch after the job's end.
                _print_logs(session, source)
                time.sleep(session.poll_seconds)
            if source is not None:
                _print_logs(session, source)
            word = str(facts.get("SecondaryStatus") or status)
            if word != shown:
                session.say(f"{kind.word} {name}: {word}")
                shown = word
            if ended:
                return _result(kind, name, status, facts)
            time.sleep(pause)
            pause = min(pause * BACKOFF_FACTOR, session.poll_seconds)
    except KeyboardInterrupt:
        if session.stop_on_interrupt:
            stop(session, kind, name)
            session.say(f"{kind.word} {name}: stop requested")
        else:
            again = f"fastinfer sagemaker status {name} --wait{' --local' if session.local_mode else ''}"
            session.say(f"{kind.word} {name} continues; to wait for it again: {again}")
        raise


def _print_logs(session: Session, source: Logs) -> None:
    try:
        for line in source.lines():
            session.say(scrub(line.rstrip("\n")))
    except ServiceError as error:
        # An unreadable log does not end the wait.
        if not error.transient:
            session.say(f"the logs cannot be read: {error}")


def _result(kind: JobKind, name: str, status: str, facts: dict[str, Any]) -> dict[str, Any]:
    if status == "Completed":
        return facts
    if status == "Stopped":
        reason = facts.get("FailureReason")
        why = f": {scrub(str(reason))}" if reason else ""
        raise JobFailed(f"the {kind.word} was stopped{why}", code="job_stopped", path=name)
    raise failure(kind, name, facts)
