"""Who writes to a folder of S3: a lease, since S3 has no locks that end with a process.

The lease is an object that its holder writes again every few seconds, if it is still the holder's. A lease that was not
written again for LEASE_S seconds, by the server's clock, has ended with its holder, and is taken over; one whose holder was a
process of this machine that has ended is taken over at once.

What is written to the folder is written under its guard: each attempt at a request begins only if the lease lasts until the
attempt has ended, whatever becomes of it. Requests with a longer time limit get a longer lease first.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import secrets
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, FastinferError, OutputError, ServiceError, escape
from .retry import beginning_within, checked_by, seconds_left
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
# An attempt begins so long before it would be too late: the server's times are whole seconds, and a thread may be late.
MARGIN_S = 5.0


def now() -> float:
    """The time in seconds, which goes on while the machine sleeps, as the server's does; Python's own stands still then."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # only Linux has this clock, and perhaps not every sandbox
        return time.monotonic()


class Guard:
    """What allows a run to write to a folder: no lease is needed here.

    Attributes:
        uri: of the lease.
    """

    uri = ""

    def check(self, limit_s: float = 0.0) -> None:  # noqa: ARG002
        """Returns when another run cannot begin to write within so many seconds. Raises OutputError (``lease_lost``)."""
        return

    @contextlib.contextmanager
    def writing(self, limit_s: float) -> Iterator[None]:
        """Each attempt at a request of this thread begins only if it may.

        Args:
            limit_s: for how long each may be under way.
        """
        with checked_by(functools.partial(self.check, limit_s)):
            yield

    def _lost(self) -> OutputError:
        return OutputError(
            "the lease of the folder could not be kept: another run may write there",
            code="lease_lost",
            path=self.uri,
            hint="run again; finished outputs are kept",
        )


class Witness(Guard):
    """Guards what another process of the run writes: it looks at the lease when it does not know that it lasts long enough.

    It cannot make the lease longer: a request with a longer time limit begins when the lease has just been renewed.

    Args:
        bucket: of the folder.
        key: of the lease.
        holder: what the lease says of its holder.
    """

    def __init__(self, bucket: Bucket, key: str, holder: str) -> None:
        self.uri = f"s3://{bucket.name}/{key}"
        self._bucket = bucket
        self._key = key
        self._holder = holder
        self._until = float("-inf")
        self._length_s = LEASE_S
        self._lock = threading.Lock()

    def check(self, limit_s: float = 0.0) -> None:
        """As the guard's; raises also what reading the lease does."""
        if self._lasts(limit_s):
            return
        with self._lock:
            while not self._lasts(limit_s):
                asked = now()
                with checked_by(None):
                    lease = self._bucket.read_lease(self._key)
                facts = facts_of(lease.text if lease is not None else b"")
                if lease is None or facts.holder != self._holder:
                    raise self._lost()
                self._length_s = facts.lease_s or LEASE_S
                self._until = asked + self._length_s - lease.age_s
                if self._until <= now():
                    raise self._lost()
                if not self._lasts(limit_s):
                    time.sleep(1.0)  # it will be renewed soon

    def _lasts(self, limit_s: float) -> bool:
        return self._until - now() > min(limit_s + MARGIN_S, self._length_s - 2 * RENEWAL_S)


class Holder(Guard):
    """Holds the lease of a folder, and writes it again.

    So many attributes: a thread renews what the others ask for; half of them are the state of one lease, under one lock.

    Args:
        bucket: of the folder.
        key: of the lease.
        lease_s: how long it lasts, unless a request needs a longer one.
        renewal_s: how often it is written again.

    Attributes:
        name: what the lease says of its holder; no other has the same.
    """

    def __init__(self, bucket: Bucket, key: str, lease_s: float = LEASE_S, renewal_s: float = RENEWAL_S) -> None:
        self.uri = f"s3://{bucket.name}/{key}"
        self.name = secrets.token_hex(8)
        self._bucket = bucket
        self._key = key
        self._lease_s = lease_s  # of the next renewal
        self._written_s = lease_s  # of the last one
        self._renewal_s = renewal_s
        self._count = 0
        self._version: str | None = None
        self._changed = threading.Condition()  # of what follows
        self._has_ended_run = False
        self._renewed = now()
        self._is_lost = False
        self._under_way: set[object] = set()

    def check(self, limit_s: float = 0.0) -> None:
        """Returns when the lease lasts so many seconds longer, which may need a renewal.

        Raises:
            OutputError: ``lease_lost`` if another run may be writing to the folder by now.
            ServiceError: the time of this thread is over before that.
        """
        needed_s = limit_s + MARGIN_S if limit_s else 0.0
        if not self._has_ended_run and self._left_s() > needed_s:
            return
        with self._changed:
            if needed_s + 2 * self._renewal_s > self._lease_s and limit_s:
                self._lease_s = min(needed_s + 2 * self._renewal_s, MOST_LEASE_S)
                self._changed.notify_all()
            while not self._has_ended_run and self._left_s() > 0:
                longest_s = seconds_left()
                if self._left_s() > needed_s:
                    return
                if longest_s <= 0:
                    raise ServiceError(f"{self.uri}: S3 is too slow", code="aws_unreachable")
                self._changed.wait(min(self._left_s(), longest_s, self._renewal_s))
        raise self._lost()

    @contextlib.contextmanager
    def writing(self, limit_s: float) -> Iterator[None]:
        """As the guard's; the lease is not given back meanwhile."""
        request = object()
        self._under_way.add(request)  # no lock: all threads would wait for it, for each request
        try:
            with checked_by(functools.partial(self.check, limit_s)):
                yield
        finally:
            self._under_way.discard(request)
            if self._has_ended_run:
                with self._changed:
                    self._changed.notify_all()

    def _left_s(self) -> float:
        """How long no other run takes the lease."""
        return 0.0 if self._is_lost else self._renewed + self._written_s - now()

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
            with self._changed:
                self._has_ended_run = True
                self._changed.notify_all()
            thread.join(longest_s)

    def _keep(self) -> None:
        """Renews the lease until the run has ended, and gives it back when nothing is being written any more."""
        self._renew()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, max(0.0, self._left_s()))
        # Where that is not possible it ends by itself, and may be another run's soon.
        with contextlib.suppress(OSError, FastinferError), beginning_within(RELEASE_S), checked_by(self._check_removal):
            self._bucket.delete(self._key)

    def _check_removal(self) -> None:
        if self._left_s() <= self._bucket.patience.longest_short_s + MARGIN_S:
            raise self._lost()

    def _take(self) -> None:
        has_said = False
        seen: str | None = None
        while True:
            lease = self._bucket.read_lease(self._key)
            if lease is None or self._has_ended(lease):
                self._renewed = now()
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
        tried = now()
        text, began, length_s = b"", 0.0, 0.0
        while self._is_due(tried, is_new=not text):
            tried = now()
            if not text:
                text, began, length_s = self._text(), tried, self._lease_s
            try:
                with beginning_within(self._renewal_s):
                    version = self._bucket.write_lease(self._key, text, self._version)
            except (OSError, FastinferError):
                continue  # the same text, which may be written by now; check() says when it is too late
            with self._changed:
                if version is None:
                    self._is_lost = True
                else:
                    self._version, self._renewed, self._written_s, text = version, began, length_s, b""
                self._changed.notify_all()
            if version is None:
                return

    def _is_due(self, tried: float, *, is_new: bool) -> bool:
        """Waits until the next renewal; False: the run has ended.

        Args:
            tried: when the last one was tried.
            is_new: whether it will say how long the lease is to be by now.
        """
        with self._changed:
            while not self._has_ended_run:
                wait_s = tried + self._renewal_s - now()
                if wait_s <= 0 or (is_new and self._lease_s > self._written_s):
                    return True
                self._changed.wait(wait_s)
            return False

    def _text(self) -> bytes:
        self._count += 1
        facts = {"holder": self.name, "renewal": self._count, "lease_s": self._lease_s}
        return json.dumps({**_process(), **facts}).encode()

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
        holder: what tells it from all others; empty where it does not say so.
    """

    lease_s: float | None
    who: str
    is_here: bool | None
    holder: str = ""


def facts_of(text: bytes) -> Facts:
    """What the text of a lease says, which may be damaged or written by anybody."""
    try:
        facts = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        facts = {}
    length, machine, process = facts.get("lease_s"), facts.get("machine"), facts.get("process")
    lease_s = float(length) if isinstance(length, (int, float)) and LEAST_LEASE_S <= length <= MOST_LEASE_S else None
    holder = facts.get("holder")
    holder = holder if isinstance(holder, str) else ""
    if type(process) is not int:
        return Facts(lease_s, "", None, holder)
    who = f" ({escape(machine)}, process {escape(str(process))})" if isinstance(machine, str) else ""
    is_of_here = bool(facts.get("world")) and facts["world"] == _world()
    is_here = _start_time(process) == facts.get("started") if is_of_here else None
    return Facts(lease_s, who, is_here, holder)


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
