"""What runs the shards: threads of this process; processes, through loky, which comes with joblib; or tasks of dask or ray, on
many machines.

Each backend is a context manager. On entry, threads have bound their graphs and a cluster has answered (processes and a
cluster's workers bind with their first shard). It returns a generator function, which takes shards when workers are free, and
yields reports when shards end. All backends call :func:`fastinfer.engine.worker.run_shard`.
joblib's own backends for dask and ray are not used: with them a killed worker hangs or fails the whole run (distributed 2026.8,
ray 2.60), while tasks of both are retried. Nor is its backend for processes: its workers live on after a run, in a pool that
all runs of a program share, and are started by any thread; ours end with the thread that started them (process.py). What only
one of the backends needs is imported there: a run on threads is to start at once.
"""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..errors import ConfigError, WorkerDied
from ..extras import install_command
from ..records.spans import Span
from . import process
from .job import Job, ShardReport
from .opened import opened_ahead
from .plan import Shard
from .repeated import Recorded, Repeater, record
from .worker import run_shard

if TYPE_CHECKING:
    from concurrent.futures import Future

# How long an interrupted run waits for its workers to stop.
STOP_TIMEOUT_S = 1.5
# Shards that are with each worker of another process: one runs, and one is ready to be run next.
SHARDS_A_WORKER = 2
CONNECT_TIMEOUT_S = 10

Reports = Generator[ShardReport, None, None]
RunShards = Callable[[Iterable[Shard]], Reports]
Backend = Callable[[Job, Optional[int], threading.Event, Optional[str]], AbstractContextManager[RunShards]]


@contextlib.contextmanager
def on_threads(job: Job, workers: int | None, stop: threading.Event, _: str | None = None) -> Iterator[RunShards]:
    """Runs shards on threads: the runtime is loaded once, and the interpreter's lock is free during the main work."""
    process.prepare(job, workers or 1).stop = stop
    try:
        yield lambda shards: _run_on_threads(iter(shards), job, workers or 1, stop)
    finally:
        process.release(job)


def _run_on_threads(shards: Iterator[Shard], job: Job, workers: int, stop: threading.Event) -> Reports:
    """Runs shards on threads of its own, each of which takes the next shard when it has finished one."""
    # From a thread: a report, the error of taking a shard or of running it, or None when the thread ends.
    ended: queue.SimpleQueue[ShardReport | BaseException | None] = queue.SimpleQueue()
    taking = threading.Lock()
    opened_shards = opened_ahead(shards, job, stop)

    def work() -> None:
        try:
            while True:
                with taking:
                    shard, opened = next(opened_shards, (None, None))
                if shard is None:
                    break
                ended.put(run_shard(shard, job, opened))
        except BaseException as error:
            ended.put(error)
        finally:
            ended.put(None)

    # As daemons: a thread that does not stop must not keep an interrupted program from ending.
    threads = [threading.Thread(target=work, name=f"fastinfer-{number}", daemon=True) for number in range(workers)]
    running = len(threads)
    try:
        for thread in threads:
            thread.start()
        while running:
            item = ended.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                try:
                    raise item
                finally:
                    del item  # its traceback holds this frame
            else:
                yield item
        opened_shards.close()
    except BaseException:
        # Ctrl-C: workers stop at their next batch; finished results are kept, unfinished ones are removed.
        stop.set()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, deadline - time.monotonic()))
        raise


@contextlib.contextmanager
def on_processes(job: Job, workers: int | None, stop: threading.Event, _: str | None = None) -> Iterator[RunShards]:
    """Runs shards on processes (loky: fresh ones, never forks of this one), for isolation.

    When a process dies, only the unfinished results of its shard are lost: the shards that were running are tried again, one
    at a time. A shard that kills its process twice is reported with the error :class:`WorkerDied`.
    """
    from .process_pool import TerminatedWorkerError  # late, and joblib with it

    def run_shards(shards: Iterable[Shard]) -> Reports:
        stream = _until(stop, shards)
        repeat = Repeater()
        try:
            while True:
                under_way: dict[int, Shard] = {}
                try:
                    yield from map(repeat, _run_on_processes(stream, under_way, job, workers or 1, SHARDS_A_WORKER))
                    return
                except TerminatedWorkerError:
                    suspects = _until(stop, list(under_way.values()))
                yield from run_alone(suspects, repeat)
        except BaseException:
            stop.set()
            raise

    def run_alone(suspects: Iterator[Shard], repeat: Repeater) -> Reports:
        while True:
            under_way: dict[int, Shard] = {}
            try:
                yield from map(repeat, _run_on_processes(suspects, under_way, job, 1, 1))
                return
            except TerminatedWorkerError:
                yield from map(_report_death, under_way.values())

    yield run_shards


@contextlib.contextmanager
def on_dask(job: Job, workers: int | None, stop: threading.Event, address: str | None) -> Iterator[RunShards]:
    """Runs shards as tasks of a dask cluster.

    Args:
        job: the job; it travels once, not with each shard.
        workers: how many shards run at a time; None: as many as the cluster has threads.
        stop: no more shards are submitted when it is set.
        address: of the scheduler; None starts ``workers`` processes on this machine for the run.

    Raises:
        ConfigError: dask is not installed, or the scheduler does not answer.
    """
    from . import clusters  # late, as below: most runs need none

    distributed, config = _import("distributed", "dask"), _import("dask.config", "dask")
    # No dashboard; the scheduler's own page on a free port, not on the one that another cluster may have.
    pages = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    here = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "scheduler_kwargs": pages}
    try:
        # In a cluster of our own a task may kill two workers, not four as dask allows: each death costs an import.
        with config.set({"distributed.scheduler.allowed-failures": 1}):
            client = distributed.Client(address, timeout=CONNECT_TIMEOUT_S) if address else distributed.Client(**here)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no dask scheduler at {address or 'this machine'}: {error}", code="no_cluster") from error
    with client:
        slots = SHARDS_A_WORKER * (workers or sum(client.nthreads().values()) or 1)
        # The result of a task: unlike scattered data it is computed again if the workers that held it have died.
        shared = client.submit(_identity, job, key=f"fastinfer-{job.token}", pure=False)

        watch = clusters.WorkerWatch("the dask cluster", lambda: len(client.nthreads()))
        # The scheduler was lost, or somebody has cancelled the tasks.
        lost = distributed.CancelledError, distributed.comm.CommClosedError, distributed.client.ClosedClientError

        def run_shards(shards: Iterable[Shard]) -> Reports:
            under_way: dict[Any, Shard] = {}
            done: queue.SimpleQueue[Any] = queue.SimpleQueue()
            repeat = Repeater()
            suspects: list[Shard] = []

            def submit(shard: Shard, attempt: int) -> None:
                # A new key for each attempt: dask would return the old result for the same key.
                key = f"fastinfer-{job.token}-{shard.number}-{attempt}"
                try:
                    future = client.submit(clusters.in_worker, run_shard, shard, shared, key=key, pure=False)
                except lost as error:
                    raise clusters.lost("the dask cluster", error) from error
                under_way[future] = shard
                future.add_done_callback(done.put)

            def take() -> tuple[Shard, Recorded | None]:
                """The next shard that has ended, with its report; None: its worker died."""
                while True:
                    try:
                        future = done.get(timeout=clusters.LOOK_S)
                        break
                    except queue.Empty:
                        watch.look()
                watch.seen()
                try:
                    recorded = future.result()
                except distributed.scheduler.KilledWorker:
                    recorded = None
                except lost as error:
                    raise clusters.lost("the dask cluster", error) from error
                return under_way.pop(future), recorded

            def running() -> int:
                return sum(client.run(clusters.end_here, job.token).values())

            with clusters.ending(lambda: client.cancel(list(under_way)), running):
                for shard in _feed_slots(_until(stop, shards), slots, under_way):
                    if shard is not None:
                        submit(shard, 1)
                        continue
                    shard, recorded = take()
                    if recorded is not None:
                        yield repeat(recorded)
                    else:
                        # When a worker dies, dask fails every task that was queued on it after some retries: trying each
                        # shard alone shows which one caused it.
                        suspects.append(shard)
                for shard in _until(stop, suspects):
                    submit(shard, 2)
                    _, recorded = take()
                    yield _report_death(shard) if recorded is None else repeat(recorded)

        yield run_shards


@contextlib.contextmanager
def on_ray(job: Job, workers: int | None, stop: threading.Event, address: str | None) -> Iterator[RunShards]:
    """Runs shards as tasks of a ray cluster.

    Args:
        job: the job; it travels once, not with each shard.
        workers: how many shards run at a time; None: as many as the cluster has CPUs.
        stop: no more shards are submitted when it is set.
        address: of the cluster, ``auto`` for the one that this machine belongs to; None starts one here for the run.

    Raises:
        ConfigError: ray is not installed, or the cluster does not answer.
    """
    import socket

    from . import clusters

    ray = _import("ray", "ray")
    ours = not ray.is_initialized()
    if ours:
        local = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            host, colon, port = (address or "").rpartition(":")
            if colon and port.isdigit():
                # ray itself would retry for minutes.
                socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no ray cluster at {address or 'this machine'}: {error}", code="no_cluster") from error
    try:
        slots = SHARDS_A_WORKER * (workers or int(ray.cluster_resources().get("CPU", 1)))
        shared = ray.put(job)
        # One retry if the process that ran it died.
        task: Any = ray.remote(num_cpus=1, max_retries=1)(clusters.in_worker)
        watch = clusters.WorkerWatch("the ray cluster", lambda: int(ray.cluster_resources().get("CPU", 0)))
        gone = "RaySystemError", "ObjectLostError", "NodeDiedError", "LocalRayletDiedError", "RpcError"
        lost = tuple(getattr(ray.exceptions, name) for name in gone)

        def run_shards(shards: Iterable[Shard]) -> Reports:
            under_way: dict[Any, Shard] = {}
            repeat = Repeater()

            def take() -> tuple[Shard, Recorded | None]:
                """The next shard that has ended, with its report; None: its worker died twice."""
                done: list[Any] = []
                while not done:
                    done, _ = ray.wait(list(under_way), num_returns=1, timeout=clusters.LOOK_S)
                    if not done:
                        watch.look()
                watch.seen()
                try:
                    recorded = ray.get(done[0])
                except ray.exceptions.WorkerCrashedError:
                    recorded = None
                except lost as error:
                    raise clusters.lost("the ray cluster", error) from error
                return under_way.pop(done[0]), recorded

            def running() -> int:
                tasks = list(under_way)
                return len(ray.wait(tasks, num_returns=len(tasks), timeout=0)[1]) if tasks else 0

            with clusters.ending(lambda: [ray.cancel(each) for each in under_way], running):
                for shard in _feed_slots(_until(stop, shards), slots, under_way):
                    if shard is not None:
                        under_way[task.remote(run_shard, shard, shared)] = shard
                        continue
                    shard, recorded = take()
                    yield _report_death(shard) if recorded is None else repeat(recorded)

        yield run_shards
    finally:
        if ours:
            ray.shutdown()


BACKENDS_BY_NAME: dict[str, Backend] = {
    "threads": on_threads,
    "processes": on_processes,
    "dask": on_dask,
    "ray": on_ray,
}


def _run_on_processes(
    shards: Iterator[Shard], under_way: dict[int, Shard], job: Job, workers: int, shards_a_worker: int
) -> Iterator[Recorded]:
    """Runs shards on processes of its own, which end when it ends.

    Args:
        shards: more are taken when there is room.
        under_way: is filled with the shards that were started and not yet reported.
        job: the job.
        workers: how many processes there are.
        shards_a_worker: how many shards each of them has at a time.

    Raises:
        TerminatedWorkerError: a process has died, and loky has ended the others.
    """
    from .process_pool import ProcessPool, TerminatedWorkerError

    reports: dict[Future[Recorded], int] = {}
    is_finished = False
    pool = ProcessPool(workers)

    def take(future: Future[Recorded]) -> Recorded:
        report = future.result()
        del under_way[reports.pop(future)]
        return report

    try:
        for shard in _feed_slots(shards, workers * shards_a_worker, under_way):
            if shard is not None:
                under_way[shard.number] = shard  # first: also if a process has died meanwhile, it is not forgotten
                reports[pool.submit(record, run_shard, shard, job)] = shard.number
                continue
            yield take(pool.wait(reports))
        is_finished = True
    except TerminatedWorkerError:
        for future in list(reports):
            if future.done() and future.exception() is None:
                yield take(future)
        raise
    finally:
        pool.close(kill=not is_finished)


def _feed_slots(shards: Iterator[Shard], slots: int, under_way: dict[Any, Shard]) -> Iterator[Shard | None]:
    """The shards to submit while fewer than ``slots`` are running; None when the caller must wait for one of those."""
    while True:
        # Only then the next one is taken: whoever stops to ask loses none.
        while len(under_way) >= slots:
            yield None
        shard = next(shards, None)
        if shard is None:
            break
        yield shard
    while under_way:
        yield None


def _until(stop: threading.Event, shards: Iterable[Shard]) -> Iterator[Shard]:
    for shard in shards:
        if stop.is_set():
            return
        yield shard


def _identity(job: Job) -> Job:
    return job


def _import(module: str, backend: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the backend {backend} requires the package {module}, which cannot be imported: {error}",
            code="backend_missing",
            hint=install_command(backend),
        ) from error


def _report_death(shard: Shard) -> ShardReport:
    """The report of a shard that killed its worker process twice."""
    paths = [(item.item if isinstance(item, Span) else item).uri for item in (shard.items[0], shard.items[-1])]
    error = WorkerDied(
        f"a worker process died twice on these {len(shard.items):,} inputs, up to {paths[1]}",
        path=paths[0],
        hint="the system's log may say why (out of memory?); the other inputs are not affected",
    )
    return ShardReport(shard.number, error=error)
