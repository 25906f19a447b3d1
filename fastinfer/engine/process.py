"""What the workers of one process share: bound graphs with buffers, created once per job, and the signal to stop."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Callable

from ..codecs.csv import CsvOptions
from ..records.line_counts import LineCounts
from ..runtimes import load_runtime
from ..runtimes.batch_size import bind_ladder
from ..runtimes.ladder import Ladder
from ..runtimes.pool import Pool
from ..runtimes.refused import RefusedInARow
from .formats import content_type_of
from .job import Job
from .progress import Progress
from .provenance import check_machine
from .request import CSV

if TYPE_CHECKING:
    from ..handlers.hooks import Handler
    from ..handlers.predictor import PredictorKeywords, ReadCsv

# Linux: the signal that this process gets when the thread that started it ends (<sys/prctl.h>).
PR_SET_PDEATHSIG = 1


class Workspace:
    """What one worker uses alone, shard after shard.

    Args:
        bind: returns bound graphs.
        buffer_bytes: of each buffer.

    Attributes:
        buffers: for input; one is filled while the other is used.
    """

    def __init__(self, bind: Callable[[], Ladder], buffer_bytes: int) -> None:
        self._bind = bind
        self.buffers = bytearray(buffer_bytes), bytearray(buffer_bytes)

    @cached_property
    def ladder(self) -> Ladder:
        """The bound graphs, bound by the first use: a short run does not need all of its workers."""
        return self._bind()


class WorkerProcess:
    """What the workers of one process share.

    Args:
        job: the job.
        workers: how many of this process's threads run shards at a time.

    Attributes:
        workspaces: each is lent to one worker at a time.
        stop: set when the run must end early.
        progress: is told of each batch.
        is_checked: whether a batch of real records was compared with itself.
        refused: ends a run whose records are all refused by the model.
        line_counts: of the objects in which records have errors.
    """

    def __init__(self, job: Job, workers: int) -> None:
        runtime = load_runtime(job.runtime, cpu_isa=job.cpu_isa)
        if job.depends_on is not None:
            check_machine(job.depends_on, runtime)
        self.stop = threading.Event()
        self.progress = Progress()
        self.is_checked = not job.batching.invariant or job.batching.row_wise
        self.refused = RefusedInARow(job.model.path)
        limits, framing = job.limits, job.codec.framing
        self.line_counts = LineCounts(job.inputs, limits.chunk_bytes, limits.line_bytes, framing)
        self._job = job
        self._handler: Handler | None = None
        self._lock = threading.Lock()
        if not job.by_rows:
            self.handler(workers)
            return
        runtime.check_devices(job.devices)
        devices = itertools.islice(itertools.cycle(job.devices), workers)
        workspaces = [
            Workspace(partial(bind_ladder, runtime, job.model, device, job.batching), job.limits.chunk_bytes)
            for device in devices
        ]
        ladder = workspaces[0].ladder  # an error of the model comes before anything is read
        if job.encoder.check is not None:
            job.encoder.check(ladder.outputs[0].shape)
        self.workspaces = Pool(workspaces)

    def handler(self, threads: int = 1) -> Handler:
        """What answers payloads, made by the first call: by the model's own code, or by the model."""
        from ..handlers.hooks import load_handler, make_predictor_handler

        with self._lock:
            if self._handler is None:
                job, options = self._job, self._job.options
                settings: PredictorKeywords = {
                    "exact": options.exact,
                    "batch_size": options.batch_size,
                    "device": options.device,
                    "runtime": job.runtime,
                    "threads": threads,
                    "divide": False,  # a run has other payloads to compute beside
                    "read_csv": _read_csv(job),
                }
                if job.code is not None:
                    self._handler = load_handler(job.code, **settings)
                else:
                    self._handler = make_predictor_handler(job.model, **settings)
            return self._handler


def _read_csv(job: Job) -> ReadCsv | None:
    """What reads payloads of CSV as rows of other lanes are read; None where there are none."""
    if content_type_of(job.request) != CSV:
        return None
    from ..codecs.csv_body import decode_csv_lines

    options = CsvOptions(job.options.comment, job.options.missing, cut_lines=job.options.records == "total")
    # A single record may be a line of several rows.
    line_is_record = job.request.processes or (job.rejects_records and not job.request.is_single)
    return partial(decode_csv_lines, options=options, line_is_record=line_is_record)


# The one job of this process, by its token.
_processes: dict[str, WorkerProcess] = {}
# Jobs that ended early, by their tokens.
_ended: set[str] = set()
_lock = threading.Lock()


def prepare(job: Job, workers: int = 1) -> WorkerProcess:
    """What this process has for the job, created by the first call. That of another job is released."""
    with _lock:
        if job.token not in _processes:
            _processes.clear()
            _processes[job.token] = WorkerProcess(job, workers)
            if job.token in _ended:  # meanwhile
                _processes[job.token].stop.set()
        return _processes[job.token]


def release(job: Job) -> None:
    """Releases what this process has for the job."""
    with _lock:
        _processes.pop(job.token, None)


def end(token: str) -> None:
    """Tells what this process has for a job, now or later, that the run ends early. It does not wait."""
    _ended.add(token)  # first: a process that is being prepared looks at it when it is known
    process = _processes.get(token)
    if process is not None:
        process.stop.set()


def is_ended(token: str) -> bool:
    """Whether a job was told to end."""
    return token in _ended


def end_with_parent(parent: int) -> None:
    """Asks the system to kill this process as soon as its parent ends, whatever it is doing then.

    More precisely, as soon as the *thread* of the parent ends that started this process: that thread must live as long as the
    work. Where the system does not do it, an orphan ends by :func:`end_if_orphaned`.
    """
    import signal  # late: threads do not need it

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before it was asked
        os._exit(1)


def end_if_orphaned(job: Job) -> None:
    """Ends this process if its parent was killed: the next run may already have locked the folder."""
    if job.parent is not None and job.parent not in (os.getpid(), os.getppid()):
        os._exit(1)
