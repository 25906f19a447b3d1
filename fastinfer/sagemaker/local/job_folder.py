"""The folder of a local job: what was requested, its status, its log, and the process that carries it out.

``request.json`` is the request, ``status.json`` the status, ``log.txt`` what the process printed, ``process`` its number and
start time. The process outlives the one that started it, so that any later process can wait for the job by its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...storage.atomic import make_folder, replacing
from ..logs import JobKind
from ..session import local_root

REQUEST, STATUS, LOG, PROCESS = "request.json", "status.json", "log.txt", "process"

# A new job's process is started within this time of its folder's creation.
STARTING_S = 10


class JobFolder:
    """A local job's folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / LOG

    @classmethod
    def of(cls, kind: JobKind, name: str) -> JobFolder:
        """The folder of a job, which need not exist.

        Raises:
            ConfigError: ``bad_name``.
        """
        if not name or "/" in name or name.startswith("."):
            raise ConfigError(f"{name!r} is not a valid name of a job", code="bad_name")
        return cls(local_root() / f"{kind.word.split()[0]}-jobs" / name)

    def create(self, request: Mapping[str, Any]) -> None:
        """Creates the folder with the job's request; the job is then starting.

        Raises:
            FileExistsError: there is a job of that name.
            OutputError: ``cannot_write``.
        """
        make_folder(self.path.parent)
        self.path.mkdir()
        (self.path / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        self.write_status("InProgress", "Starting")

    def read_request(self) -> dict[str, Any]:
        """The request. Raises FileNotFoundError where there is no such job."""
        return dict(json.loads((self.path / REQUEST).read_text(encoding="utf-8")))

    def write_status(
        self, status: str, secondary: str, *, reason: str | None = None, artifacts: str | None = None
    ) -> None:
        """Writes the job's status, whole or not at all.

        Args:
            status: ``InProgress``, ``Completed``, ``Failed`` or ``Stopped``.
            secondary: the API's ``SecondaryStatus``.
            reason: why the job failed.
            artifacts: the URI of the model that a training made.
        """
        created = self.read_status()["created"] if (self.path / STATUS).exists() else time.time()
        facts = {"status": status, "secondary": secondary, "reason": reason, "artifacts": artifacts, "created": created}
        with replacing(self.path / STATUS) as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")

    def read_status(self) -> dict[str, Any]:
        """The job's status, as it was last written."""
        return dict(json.loads((self.path / STATUS).read_text(encoding="utf-8")))

    def start(self, kind: JobKind, environment: Mapping[str, str]) -> None:
        """Starts the process that carries out the job."""
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fastinfer.sagemaker.local", kind.word.split()[0], str(self.path)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C interrupts the process that waits, not the job.
                start_new_session=True,
            )
        (self.path / PROCESS).write_text(f"{process.pid} {_start_time(process.pid)}")
        # The system keeps a process that has ended until somebody asks how it did.
        threading.Thread(target=process.wait, name="fastinfer-job", daemon=True).start()

    def is_running(self) -> bool:
        """Whether the job's process runs, or is just being started."""
        with contextlib.suppress(OSError, ValueError):
            pid, started = (self.path / PROCESS).read_text().split()
            # The system may have reused the number: the start time distinguishes the processes.
            return _start_time(int(pid)) == started
        return time.time() - self.path.stat().st_mtime < STARTING_S

    def kill(self) -> None:
        """Kills the job's process and its children."""
        pid = int((self.path / PROCESS).read_text().split()[0])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _start_time(pid: int) -> str:
    """When a process was started, in clock ticks; empty for one that does not exist or has ended and awaits reaping."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
