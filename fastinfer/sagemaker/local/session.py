"""A session whose jobs run on this machine."""

from __future__ import annotations

from typing import IO

from ...storage.uri import LOCAL_BUCKET
from ..logs import FileLogs, JobKind, Logs
from ..session import Session
from .client import LocalClient
from .job_folder import LOG, job_folder

POLL_S = 0.2


class LocalSession(Session):
    """A session whose jobs run on this machine; places in S3 are reached with the credentials of another session.

    Its default bucket, ``s3://sagemaker_local/``, is a folder: ``$FASTINFER_LOCAL_ROOT``, else below ``~/.local/share``.

    Args:
        remote: the session whose credentials reach S3; None: a new one, made when S3 is needed.
        stream: where progress and logs are printed; None: stdout.
    """

    local_mode = True
    late_logs = False

    def __init__(self, remote: Session | None = None, *, stream: IO[str] | None = None) -> None:
        remote = remote or Session()
        super().__init__(
            remote._boto_session,
            profile=remote.profile,
            region=remote.region,
            poll_seconds=POLL_S,
            stop_on_interrupt=remote.stop_on_interrupt,
            stream=stream or remote.stream,
        )
        self._given_boto_session = remote._given_boto_session
        self._clients.update(remote._clients)
        self._clients["sagemaker"] = LocalClient(self)

    def default_bucket(self) -> str:
        return LOCAL_BUCKET

    def logs(self, kind: JobKind, name: str) -> Logs:
        return FileLogs(job_folder(kind, name) / LOG)
