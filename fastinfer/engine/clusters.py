"""What a run asks of a cluster of dask or ray beside its shards: that it has workers, and that they stop when the run ends.

A shard that runs cannot be taken back: its process is told to stop, and stops at its next batch, as threads do. The run waits
for that before it gives the folder back. A process that does not stop in time writes nothing any more as soon as another run
has begun in the folder (storage/claim.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Callable

from ..errors import ServiceError, counted
from . import process
from .job import Job, ShardReport
from .plan import Shard
from .repeated import Recorded, RunShard, record

# How long a run that ends early waits for shards that run.
STOP_TIMEOUT_S = 10.0
# After so long a warning says that it waits.
SHORT_WAIT_S = 2.0
# So often the workers are asked whether they have stopped.
ASKING_S = 0.1
# After so long without a report a run looks whether its cluster has workers, and again each time.
LOOK_S = 5.0

# Shards that run in this process, by the tokens of their jobs.
_running: dict[str, int] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def running(token: str) -> Iterator[bool]:
    """Counts a shard while it runs in this process; gives whether its job was told to end before."""
    with _lock:
        _running[token] = _running.get(token, 0) + 1
    try:
        yield process.is_ended(token)
    finally:
        with _lock:
            _running[token] -= 1
            if not _running[token]:
                del _running[token]


def in_worker(run: RunShard, shard: Shard, job: Job) -> Recorded:
    """Runs a shard in a process of a cluster, unless its job was told to end there before."""
    with running(job.token) as is_ended:
        return (ShardReport(shard.number), []) if is_ended else record(run, shard, job)


def end_here(token: str) -> int:
    """Tells the shards of a job in this process to stop; returns how many of them run still. It does not wait."""
    process.end(token)
    with _lock:
        return _running.get(token, 0)


@contextlib.contextmanager
def ending(cancel: Callable[[], object], ask: Callable[[], int]) -> Iterator[None]:
    """Where the run ends early, by an interrupt or an error, ends its shards and waits until none runs any more.

    Args:
        cancel: takes back what has not begun.
        ask: how many run, after they were told to stop.
    """
    try:
        yield
    except ServiceError:  # the cluster itself is lost
        raise
    except BaseException:
        _wait(cancel, ask)
        raise


def _wait(cancel: Callable[[], object], ask: Callable[[], int]) -> None:
    """Waits for STOP_TIMEOUT_S at most; says so if it takes long, and if it was not enough."""
    started = time.monotonic()
    left: list[int | Exception] = []
    has_ended = threading.Event()

    def keep_asking() -> None:
        try:
            cancel()
            while not has_ended.is_set():
                left.append(ask())
                if not left[-1]:
                    break
                has_ended.wait(ASKING_S)
        except Exception as error:  # the cluster has ended, or does not answer
            left.append(error)

    # As a daemon: a worker that does not answer must not keep an interrupted program from ending.
    thread = threading.Thread(target=keep_asking, name="fastinfer-end", daemon=True)
    thread.start()
    try:
        thread.join(SHORT_WAIT_S)
        if thread.is_alive():
            _warn(f"waiting until the workers stop, {STOP_TIMEOUT_S:.0f} s at most")
            thread.join(max(0.0, started + STOP_TIMEOUT_S - time.monotonic()))
    finally:
        has_ended.set()
    last = left[-1] if left else None
    if last == 0:
        return
    what = f"{counted(last, 'shard')} may run" if isinstance(last, int) else "it is not known which shards run"
    _warn(f"the workers have not stopped: {what} still. They write nothing more when another run begins in the folder")


class WorkerWatch:
    """Says when a cluster has no workers, and when it has some again.

    Args:
        name: of the cluster.
        count: how many workers it has. Its errors are passed over: the run itself will have them.
    """

    def __init__(self, name: str, count: Callable[[], int]) -> None:
        self._name = name
        self._count = count
        self._is_missed = False

    def look(self) -> None:
        """Looks; call it when there was no report for a while."""
        try:
            workers = self._count()
        except Exception:
            return
        if not workers and not self._is_missed:
            _warn(f"{self._name} has no workers: the run waits until some come")
        elif workers and self._is_missed:
            _warn(f"{self._name} has {counted(workers, 'worker')} now: the run goes on")
        self._is_missed = not workers

    def seen(self) -> None:
        """A report has come."""
        if self._is_missed:
            self.look()


def lost(name: str, error: BaseException) -> ServiceError:
    """The error of a run whose cluster was lost."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ServiceError(
        f"{name} was lost during the run: {text}",
        code="cluster_lost",
        hint="run again when it is there; finished outputs are kept",
    )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)
