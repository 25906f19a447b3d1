"""Who runs the shards: threads of this process, or processes, through joblib.

Each backend is a generator: shards go in as workers become free, reports come out as shards end. All call the one
:func:`fastinfer.worker.run_shard`; so can any other engine that carries a function and two picklable arguments to where
the files are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from . import worker
from .errors import WorkerDied
from .inputs import Part
from .plan import Shard
from .worker import Job, ShardReport, run_shard

# How long an interrupted run waits for its workers to leave off.
STOP_TIMEOUT_S = 1.5


def run_on_threads(shards: Iterable[Shard], job: Job, workers: int, stop: threading.Event) -> Iterator[ShardReport]:
    """Runs shards on threads: one import of MXNet serves all, and the interpreter's lock is free in the heavy parts."""
    from joblib import Parallel, delayed

    runtime = worker.prepare(job, workers)
    runtime.stop = stop
    idle = threading.Condition()
    running = 0

    def run(shard: Shard) -> ShardReport:
        nonlocal running
        with idle:
            running += 1
        try:
            return run_shard(shard, job)
        finally:
            with idle:
                running -= 1
                idle.notify()

    try:
        tasks = (delayed(run)(shard) for shard in _until(stop, shards))
        parallel: Any = Parallel(n_jobs=workers, backend="threading", return_as="generator_unordered")
        yield from parallel(tasks)
    except BaseException:
        # Ctrl-C: workers leave off at their next batch; what they have finished stays, what they have not is cleared away.
        stop.set()
        with idle:
            idle.wait_for(lambda: running == 0, timeout=STOP_TIMEOUT_S)
        raise
    finally:
        worker.release(job)


def run_on_processes(shards: Iterable[Shard], job: Job, workers: int, stop: threading.Event) -> Iterator[ShardReport]:
    """Runs shards on processes (loky: fresh ones, never forks of this one), for isolation.

    A process that dies takes its shard's unfinished files with it, nothing else: the shards that were under way are tried
    again, each alone. One that kills its process twice is reported with the error :class:`WorkerDied`.
    """
    from joblib.externals.loky import get_reusable_executor

    stream = iter(_until(stop, shards))
    under_way: dict[int, Shard] = {}
    try:
        while True:
            try:
                yield from _pass(stream, under_way, job, workers)
                return
            except _died():
                suspects, under_way = list(under_way.values()), {}
            for shard in suspects:
                if stop.is_set():
                    return
                try:
                    yield from _pass([shard], {}, job, workers)
                except _died():
                    yield ShardReport(shard.number, error=_worker_died(shard))
    except BaseException:
        stop.set()
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


def _pass(shards: Iterable[Shard], under_way: dict[int, Shard], job: Job, workers: int) -> Iterator[ShardReport]:
    """One joblib run over shards; ``under_way`` holds those handed out and not yet reported."""
    from joblib import Parallel, delayed

    def tasks() -> Iterator[Any]:
        for shard in shards:
            under_way[shard.number] = shard
            yield delayed(run_shard)(shard, job)

    # At least two, as joblib runs a single worker in this process.
    parallel: Any = Parallel(n_jobs=max(2, workers), backend="loky", return_as="generator_unordered")
    for report in parallel(tasks()):
        under_way.pop(report.number, None)
        yield report


def _until(stop: threading.Event, shards: Iterable[Shard]) -> Iterator[Shard]:
    for shard in shards:
        if stop.is_set():
            return
        yield shard


def _died() -> type[Exception]:
    """What joblib raises where a worker process has died."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    error: type[Exception] = TerminatedWorkerError
    return error


def _worker_died(shard: Shard) -> WorkerDied:
    paths = [(item.file if isinstance(item, Part) else item).path for item in (shard.items[0], shard.items[-1])]
    return WorkerDied(
        f"a worker process died twice on these {len(shard.items):,} inputs, up to {paths[1]}",
        path=paths[0],
        hint="the system's log may say why (out of memory?); the other inputs are not affected",
    )
