"""Who writes to a folder of S3: a lease, since S3 has no locks that end with a process.

The lease is an object that its holder writes again every few seconds, if it is still the holder's. A lease that was not
written again for LEASE_S seconds, by the server's clock, has ended with its holder, and is taken over; one whose holder was a
process of this machine that has ended is taken over at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, FastinferError, OutputError, escape
from .retry import beginning_within
from .s3_client import Bucket, Lease

LEASE_S = 60.0
# What is shorter or longer is taken for damage: a run never takes over at once, or waits for days.
LEAST_LEASE_S, MOST_LEASE_S = 1.0, 3600.0
# So often it is written again.
RENEWAL_S = 15.0
# A run that ends by an error or an interrupt waits no longer until it is given back.
RELEASE_S = 5.0
# A warning says that a run waits if it is longer.
SHORT_WAIT_S = 2.0


class Holder:
    """Holds the lease of a folder, and writes it again.

    Args:
        bucket: of the folder.
        key: of the lease.
        lease_s: how long it lasts.
        renewal_s: how often it is written again.
    """

    def __init__(self, bucket: Bucket, key: str, lease_s: float = LEASE_S, renewal_s: float = RENEWAL_S) -> None:
        self._bucket = bucket
        self._key = key
        self._lease_s = lease_s
        self._renewal_s = renewal_s
        self._count = 0
        self._version: str | None = None
        self._ended = threading.Event()
        self._renewed = time.monotonic()
        self._is_lost = False

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket.name}/{self._key}"

    def check(self) -> None:
        """Raises OutputError (``lease_lost``) if another run may be writing to the folder by now."""
        if self._is_lost or time.monotonic() - self._renewed > self._lease_s:
            raise OutputError(
                "the lease of the folder could not be kept: another run may write there",
                code="lease_lost",
                path=self.uri,
                hint="run again; finished outputs are kept",
            )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Takes the lease, keeps it, and gives it back; after an error it may end by itself, if the server is slow.

        Raises:
            ConfigError: ``output_in_use``.
            ServiceError: S3 refused.
        """
        self._take()
        thread = threading.Thread(target=self._keep, name="fastinfer-lease", daemon=True)
        thread.start()
        longest_s: float | None = RELEASE_S
        try:
            yield
            longest_s = None
        finally:
            self._ended.set()
            thread.join(longest_s)

    def _keep(self) -> None:
        """Renews the lease until the run has ended, and gives it back."""
        self._renew()
        if not self._is_lost:
            # It ends by itself, and may be another run's soon.
            with contextlib.suppress(OSError, FastinferError), beginning_within(RELEASE_S):
                self._bucket.delete(self._key)

    def _take(self) -> None:
        has_said = False
        seen: str | None = None
        while True:
            lease = self._bucket.read_lease(self._key)
            if lease is None or self._has_ended(lease):
                self._renewed = time.monotonic()
                self._version = self._bucket.write_lease(self._key, self._text(), lease.version if lease else None)
                if self._version is not None:
                    return
                seen = None  # somebody else was faster, or gave it back
                continue
            if seen not in (None, lease.version):
                raise self._in_use(lease)
            if self._is_alive(lease):
                raise self._in_use(lease)
            seen = lease.version
            wait = self._length(lease) - lease.age_s
            if wait > SHORT_WAIT_S and not has_said:
                has_said = True
                warnings.warn(
                    f"waiting until the lease of another run ends, {wait:.0f} s at most: {self.uri}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            time.sleep(max(0.05, min(wait + 0.05, self._renewal_s / 4)))

    def _renew(self) -> None:
        tried = time.monotonic()
        text, began = self._text(), 0.0
        while not self._ended.wait(max(0.0, tried + self._renewal_s - time.monotonic())):
            tried = time.monotonic()
            began = began or tried
            try:
                with beginning_within(self._renewal_s):
                    version = self._bucket.write_lease(self._key, text, self._version)
            except (OSError, FastinferError):
                continue  # the same text, which may be written by now; check() says when it is too late
            if version is None:
                self._is_lost = True
                return
            self._version, self._renewed = version, began
            text, began = self._text(), 0.0

    def _text(self) -> bytes:
        self._count += 1
        return json.dumps({**_process(), "renewal": self._count, "lease_s": self._lease_s}).encode()

    def _has_ended(self, lease: Lease) -> bool:
        return lease.age_s > self._length(lease) or facts_of(lease.text).is_here is False

    def _length(self, lease: Lease) -> float:
        """How long it lasts without a renewal, in seconds: as its holder says, or as here where that makes no sense."""
        return facts_of(lease.text).lease_s or self._lease_s

    def _is_alive(self, lease: Lease) -> bool:
        return facts_of(lease.text).is_here is True

    def _in_use(self, lease: Lease) -> ConfigError:
        return ConfigError(
            f"another program is writing to this folder{facts_of(lease.text).who}",
            code="output_in_use",
            path=self.uri,
            hint="wait until it ends, or name another folder",
        )


class Facts(NamedTuple):
    """What a lease says of its holder.

    Attributes:
        lease_s: how long it lasts without a renewal, in seconds; None where it says none within the bounds.
        who: the machine and the process, for a message; empty where it does not say so.
        is_here: whether its process of this machine runs; None if it is of another machine, or that is not known.
    """

    lease_s: float | None
    who: str
    is_here: bool | None


def facts_of(text: bytes) -> Facts:
    """What the text of a lease says, which may be damaged or written by anybody."""
    try:
        facts = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        facts = {}
    length, machine, process = facts.get("lease_s"), facts.get("machine"), facts.get("process")
    lease_s = float(length) if isinstance(length, (int, float)) and LEAST_LEASE_S <= length <= MOST_LEASE_S else None
    if type(process) is not int:
        return Facts(lease_s, "", None)
    who = f" ({escape(machine)}, process {escape(str(process))})" if isinstance(machine, str) else ""
    is_of_here = bool(facts.get("world")) and facts["world"] == _world()
    return Facts(lease_s, who, _start_time(process) == facts.get("started") if is_of_here else None)


def _process() -> dict[str, Any]:
    """What tells this process from all others."""
    return {"machine": platform.node(), "process": os.getpid(), "started": _start_time(os.getpid()), "world": _world()}


def _world() -> str:
    """This machine since its start, and the namespace of its processes; empty if they are not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(process: int) -> str:
    """When a process was started, in clock ticks; empty for one that has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
