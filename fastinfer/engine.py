"""The run: chooses the batch size, plans, hands shards to joblib's workers, gathers their reports.

Nothing here touches a record; that is :mod:`fastinfer.worker`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Callable

from . import __version__
from ._kernels import CsvParser
from ._mxnet import INFERENCE_SETTINGS, load_mxnet
from .devices import open_contexts, parse_device
from .errors import ConfigError, InputError, OutputError
from .executor import ROWS_PER_EXACT_GRAPH, Executor, ExecutorPool
from .inputs import InputFile, find_inputs
from .invariance import find_batch_size, is_invariant
from .model import Model
from .outputs import OutputFolder
from .plan import plan_shards
from .worker import CsvOptions, Job, Shard, ShardReport, run_shard

# How long an interrupted run waits for its workers to leave off.
STOP_TIMEOUT_S = 1.5

Progress = Callable[[ShardReport], None]


@dataclass(frozen=True)
class Options:
    """How a run is done. The defaults are the command's.

    Attributes:
        exact: the container's bytes: each row computed as at batch size 1.
        batch_size: rows of one forward pass; None: the probe chooses one that makes rows independent of their place.
        workers: threads, each with its own bound graph; None: one a core, or one a GPU.
        device: ``cpu``, ``gpu``, ``gpu:0,1``.
        overwrite: make outputs anew that are there already.
        comment: a character from which on the rest of a line is skipped.
        missing: the value of an empty cell; without it an empty cell is an error.
        skip_header: whether the first line of each file is passed over.
    """

    exact: bool = False
    batch_size: int | None = None
    workers: int | None = None
    device: str = "cpu"
    overwrite: bool = False
    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        parse_device(self.device)
        CsvParser(comment=self.comment)


@dataclass
class Summary:
    """What a run did.

    Attributes:
        inputs: files transformed now.
        skipped: files whose outputs an earlier run had finished.
        images: rows predicted.
        rejected: files refused.
        bytes_read: size of the inputs transformed.
        seconds: wall time of the run without the start of MXNet.
        startup_seconds: importing MXNet, and choosing the batch size.
        peak_memory_bytes: largest resident size of this process so far.
        batch_size: rows of one forward pass.
        invariant: whether a row's bytes are a function of the row alone.
        workers: how many.
    """

    inputs: int = 0
    skipped: int = 0
    images: int = 0
    rejected: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0
    peak_memory_bytes: int = 0
    batch_size: int = 0
    invariant: bool = True
    workers: int = 0

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, for ``--json``."""
        return {**asdict(self), "images_per_second": self.images_per_second}


def transform(
    model: Model,
    source: str,
    output: str,
    options: Options = Options(),
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Transforms all that ``source`` names into ``output``.

    Args:
        model: see :func:`fastinfer.model.load_model`.
        source: a folder, a file or a glob.
        output: the folder of the results; ``KEY.out`` for each input.
        options: how.
        progress: called with each finished shard's report, from the calling thread.
        stop: set it from another thread to end the run early; finished outputs stay.

    Raises:
        InputError: a file could not be read or parsed; outputs finished before stay.
        ModelError, OutputError, ConfigError: as their names say.
    """
    started = time.perf_counter()
    stop = stop or threading.Event()
    inputs = find_inputs(source)
    # The first input is asked for at once: a wrong path should fail before MXNet's import takes its seconds.
    first = next(inputs, None)
    if first is None:
        raise InputError("there is no .csv file in it", code="input_missing", path=source)

    mxnet = load_mxnet(INFERENCE_SETTINGS)
    devices = parse_device(options.device)
    contexts = open_contexts(devices)
    batch_size, row_wise, invariant = _choose_batch_size(mxnet, model, contexts[0], options)
    workers = options.workers or (len(devices) if options.device != "cpu" else os.cpu_count() or 1)
    summary = Summary(batch_size=batch_size, invariant=invariant, workers=workers)

    folder = OutputFolder(output)
    record = {
        "depends_on": {
            "fastinfer": __version__,
            "mxnet": mxnet.__version__,
            "model": model.digest,
            "mode": "exact" if options.exact else "default",
            "batch_size": None if row_wise else batch_size,
            "device": devices[0][0],
            "cpu": _cpu_model(),
            "cpu_isa": os.environ.get("DNNL_MAX_CPU_ISA"),
            "comment": options.comment,
            "missing": None if options.missing is None else repr(options.missing),
            "skip_header": options.skip_header,
        },
        "model_path": os.path.abspath(model.path),
        "source": os.path.abspath(source),
        "invariant": invariant,
    }
    with folder.open_run(record, overwrite=options.overwrite):
        executors = ExecutorPool(model, devices, workers, batch_size, row_wise=row_wise)
        csv = CsvOptions(options.comment, options.missing, options.skip_header)
        job = Job(executors, model.row_shape, csv, folder, stop)
        ready = time.perf_counter()
        summary.startup_seconds = ready - started

        def unfinished() -> Iterator[InputFile]:
            for item in _chain(first, inputs):
                if folder.has(item):
                    summary.skipped += 1
                else:
                    yield item

        errors = []
        for report in _run_all(plan_shards(unfinished(), workers), job, workers):
            summary.inputs += report.files
            summary.images += report.images
            summary.bytes_read += report.bytes_read
            if report.error is not None:
                # Workers stop at their next file; of what they meet, the first in the order of the inputs is raised.
                stop.set()
                errors.append((report.number, report.failed_at, report.error))
            if progress is not None:
                progress(report)
        summary.seconds = time.perf_counter() - ready
        summary.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if errors:
            summary.rejected = sum(isinstance(error, InputError) for _, _, error in errors)
            raise min(errors, key=lambda item: item[:2])[2]
        folder.write_record({**record, "summary": summary.as_dict()})
    return summary


def _chain(first: InputFile, rest: Iterator[InputFile]) -> Iterator[InputFile]:
    yield first
    yield from rest


def _run_all(shards: Iterator[Shard], job: Job, workers: int) -> Iterator[ShardReport]:
    """Runs shards on threads as workers become free; reports come as shards end."""
    from joblib import Parallel, delayed

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

    def until_stopped() -> Iterator[Any]:
        for shard in shards:
            if job.stop.is_set():
                return
            yield delayed(run)(shard)

    try:
        # Threads: one import of MXNet serves all, and the GIL is free while they parse, predict and print.
        yield from Parallel(n_jobs=workers, backend="threading", return_as="generator_unordered")(until_stopped())
    except BaseException:
        # Ctrl-C: workers leave off at their next batch; what they have finished stays, what they have not is cleared away.
        job.stop.set()
        with idle:
            idle.wait_for(lambda: running == 0, timeout=STOP_TIMEOUT_S)
        raise


def _choose_batch_size(mxnet: Any, model: Model, context: Any, options: Options) -> tuple[int, bool, bool]:
    """The batch size, whether the graph is row-wise, and whether a row's bits depend on the row alone."""

    def bind(batch_size: int) -> Executor:
        return Executor(mxnet, model, context, batch_size)

    if options.exact:
        return options.batch_size or ROWS_PER_EXACT_GRAPH, True, True
    if options.batch_size is not None:
        return options.batch_size, False, is_invariant(bind(options.batch_size))
    executor = find_batch_size(bind, model.row_values)
    if executor is not None:
        return executor.batch_size, False, True
    # Row by row, at the container's batch size, every model is invariant.
    return ROWS_PER_EXACT_GRAPH, True, True


def _cpu_model() -> str:
    """The processor's name: oneDNN chooses its code by it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


__all__ = ["Options", "OutputError", "Summary", "transform"]
