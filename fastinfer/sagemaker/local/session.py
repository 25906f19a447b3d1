"""A session whose jobs run on this machine, and the choice of the session for an instance type."""

from __future__ import annotations

from typing import IO, Any

from ...errors import ConfigError
from ...storage.uri import LOCAL_BUCKET
from ..logs import FileLogs, JobKind, Logs
from ..session import Session
from .client import LocalClient
from .job_folder import JobFolder

POLL_S = 0.2

LOCAL_TYPES = ("local", "local_gpu")


class LocalSession(Session):
    """A session whose jobs run on this machine; S3 is accessed with the credentials of another session.

    The default bucket, ``s3://sagemaker_local/``, is a folder: ``$FASTINFER_LOCAL_ROOT``, else below ``~/.local/share``.

    Args:
        remote: the session whose credentials and clients access S3; None: a new one, which is used only where needed.
        stream: where progress and logs are printed; None: where `remote` prints them.
    """

    local_mode = True
    late_logs = False

    def __init__(self, remote: Session | None = None, *, stream: IO[str] | None = None) -> None:
        self._remote = remote or Session()
        self._local_client = LocalClient(self)
        super().__init__(
            profile=self._remote.profile,
            region=self._remote.region,
            poll_seconds=POLL_S,
            stop_on_interrupt=self._remote.stop_on_interrupt,
            stream=stream or self._remote.stream,
        )

    @property
    def boto_session(self) -> Any:
        return self._remote.boto_session

    def environment(self) -> dict[str, str]:
        return self._remote.environment()

    def client(self, service: str) -> Any:
        return self._local_client if service == "sagemaker" else self._remote.client(service)

    def default_bucket(self) -> str:
        return LOCAL_BUCKET

    def logs(self, kind: JobKind, name: str) -> Logs:
        return FileLogs(JobFolder.of(kind, name).log)


def run_locally(instance_type: str) -> bool:
    """Whether jobs of an instance type run on this machine."""
    return instance_type in LOCAL_TYPES


def choose_session(session: Session | None, instance_type: str) -> Session:
    """The session for jobs of an instance type: a local one for ``local``, else `session` or a new one.

    Raises:
        ConfigError: ``bad_instance_type`` for a local session with an instance type of AWS.
    """
    if run_locally(instance_type):
        return session if isinstance(session, LocalSession) else LocalSession(session)
    if isinstance(session, LocalSession) and instance_type:
        raise ConfigError(
            f"a local session cannot run jobs on {instance_type}",
            code="bad_instance_type",
            hint="use instance_type='local', or Session()",
        )
    return session or Session()
