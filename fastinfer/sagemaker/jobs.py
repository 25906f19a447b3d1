"""Jobs under way: what they are called, waiting for them, their logs as they come, and why they failed.

boto3's own waiter looks every two minutes and says nothing meanwhile; this one looks every few seconds.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ..errors import ConfigError, FastinferError
from ..storage.aws import ServiceError, scrub, told
from .logs import TRAINING, TRANSFORM, JobKind, Logs
from .session import Session

# Looks in a row that may fail while the job itself goes on.
LOST_LOOKS = 20
# The first looks come sooner, for jobs that are short: after this, and each time so many times later.
FIRST_LOOK_S, LATER = 0.5, 1.5
# SageMaker's limit for a name.
NAME_CHARACTERS = 63


class JobFailed(FastinferError):
    """A job ended without its result.

    Attributes:
        code: ``job_failed``, or ``job_stopped``.
        path: the job's name.
    """

    code = "job_failed"


KINDS = (TRAINING, TRANSFORM)


class JobName(str):
    """A job's name that is the job as well: SageMaker's SDK has an object here, with these attributes.

    Args:
        name: the job's.
        session: whose job.
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
        """What the service says of the job."""
        return describe(self._session, self._kind, str(self))

    def wait(self, logs: bool = True) -> None:
        """Waits for the job's end; see :func:`wait`."""
        wait(self._session, self._kind, str(self), logs=logs)

    def stop(self) -> None:
        """Asks for the job's end."""
        stop(self._session, self._kind, str(self))


def make_name(base: str) -> str:
    """A name for a job or model that no other has: `base`, cut to fit, and the time."""
    now = time.time()
    # As SageMaker's SDK puts it behind names: UTC to the millisecond.
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S-", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}"
    return f"{base[: NAME_CHARACTERS - len(stamp) - 1].rstrip('-')}-{stamp}"


def base_of(name: str) -> str:
    """What :func:`make_name` made a name of; a name that it did not make."""
    stamped = re.match(r"^(.+)-\d{4}(?:-\d\d){5}-\d{3}$", name)
    return stamped[1] if stamped else name


def failure(kind: JobKind, name: str, facts: dict[str, Any]) -> JobFailed:
    """The error for a job that failed, with its reason."""
    reason = scrub(str(facts.get("FailureReason") or "no reason is told"))
    return JobFailed(f"the {kind.word} failed: {reason}", path=name)


def describe(session: Session, kind: JobKind, name: str) -> dict[str, Any]:
    """What the service says of a job.

    Raises:
        ServiceError: ``aws_missing`` where there is none of that name.
    """
    call = getattr(session.sagemaker_client, kind.describe)
    with told(f"the {kind.word} {name}"):
        return dict(call(**{kind.name: name}))


def find(session: Session, name: str) -> tuple[JobKind, dict[str, Any]]:
    """A job of either kind, by its name.

    Raises:
        ConfigError: ``no_such_job``.
    """
    for kind in KINDS:
        try:
            return kind, describe(session, kind, name)
        except ServiceError as error:
            if error.code != "aws_missing" and error.service_code != "ValidationException":
                raise
    raise ConfigError(f"there is no training or transform job {name}", code="no_such_job")


def stop(session: Session, kind: JobKind, name: str) -> None:
    """Asks the service to end a job."""
    call = getattr(session.sagemaker_client, kind.stop)
    with told(f"stopping the {kind.word} {name}"):
        call(**{kind.name: name})


def wait(session: Session, kind: JobKind, name: str, *, logs: bool = True) -> dict[str, Any]:
    """Waits for a job to end, printing what it does.

    Args:
        session: whose job; at most ``session.poll_seconds`` lie between two looks.
        kind: of the job.
        name: the job's.
        logs: whether its logs are printed as they come.

    Returns:
        What the service says of the job that has ended.

    Raises:
        JobFailed: with the service's reason.
        KeyboardInterrupt: the job goes on, unless the session stops jobs then.
    """
    source = session.logs(kind, name) if logs else None
    said, lost, pause = "", 0, min(FIRST_LOOK_S, session.poll_seconds)
    try:
        while True:
            try:
                facts = describe(session, kind, name)
                lost = 0
            except ServiceError as error:
                lost += 1
                if not error.transient or lost >= LOST_LOOKS:
                    raise
                time.sleep(session.poll_seconds)
                continue
            status = str(facts[kind.status])
            ended = status in ("Completed", "Failed", "Stopped")
            if source is not None and ended and session.late_logs:
                # The last lines reach CloudWatch after the job's end.
                _print_logs(session, source)
                time.sleep(session.poll_seconds)
            if source is not None:
                _print_logs(session, source)
            word = str(facts.get("SecondaryStatus") or status)
            if word != said:
                session.say(f"{kind.word} {name}: {word}")
                said = word
            if ended:
                return _result(kind, name, status, facts)
            time.sleep(pause)
            pause = min(pause * LATER, session.poll_seconds)
    except KeyboardInterrupt:
        if session.stop_on_interrupt:
            stop(session, kind, name)
            session.say(f"{kind.word} {name}: asked to stop")
        else:
            again = f"python -m fastinfer.sagemaker status {name} --wait{' --local' if session.local_mode else ''}"
            session.say(f"{kind.word} {name} goes on; {again} waits for it again")
        raise


def _print_logs(session: Session, source: Logs) -> None:
    try:
        for line in source.lines():
            session.say(scrub(line.rstrip("\n")))
    except ServiceError as error:
        # Logs are for the reader; the job does not depend on them.
        if not error.transient:
            session.say(f"its logs cannot be read: {error}")


def _result(kind: JobKind, name: str, status: str, facts: dict[str, Any]) -> dict[str, Any]:
    if status == "Completed":
        return facts
    if status == "Stopped":
        reason = facts.get("FailureReason")
        why = f": {scrub(str(reason))}" if reason else ""
        raise JobFailed(f"the {kind.word} was stopped{why}", code="job_stopped", path=name)
    raise failure(kind, name, facts)
