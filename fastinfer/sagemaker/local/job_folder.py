"""The folder of a local job: its request, its status, its log, and the process that carries it out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...storage.atomic import replacing
from ..logs import JobKind
from ..session import local_root

REQUEST, STATUS, LOG, PROCESS = "request.json", "status.json", "log.txt", "process"


def job_folder(kind: JobKind, name: str) -> Path:
    """Where a local job is.

    Raises:
        ConfigError: ``bad_name``.
    """
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"{name!r} is no name of a job", code="bad_name")
    return local_root() / f"{kind.word.split()[0]}-jobs" / name


def write_status(
    folder: Path, *, status: str, secondary: str, reason: str | None = None, artifacts: str | None = None
) -> None:
    """Says what has become of a job, whole or not at all."""
    created = read_status(folder)["created"] if (folder / STATUS).exists() else time.time()
    facts = {"status": status, "secondary": secondary, "reason": reason, "artifacts": artifacts, "created": created}
    with replacing(folder / STATUS) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def read_status(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / STATUS).read_text(encoding="utf-8")))


def start_time(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is none, or it has ended and waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
