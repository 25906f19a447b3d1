"""The run: chooses the batch size, plans, hands shards to a backend, gathers their reports.

Nothing here touches a record; that is :mod:`fastinfer.engine.worker`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from .. import machine
from ..errors import ConfigError, InputError, ModelError, OutputError, WorkerDied
from ..models.module import Model
from ..options import CPU_ISA_VARIABLE, Options, circumstances, numeric_environment, reading
from ..outputs.assembly import Assembly
from ..outputs.folder import REJECTS, OutputFolder, Reject
from ..outputs.writer import BUFFER_BYTES
from ..runtimes.devices import open_contexts, parse_device
from ..runtimes.invariance import CANDIDATES, find_batch_size, is_invariant, remembered
from ..runtimes.mxnet.graph import ROWS_PER_EXACT_GRAPH, Executor
from ..runtimes.mxnet.library import INFERENCE_SETTINGS, SPEED_SETTINGS, load_mxnet
from ..storage.local import CHUNK_BYTES, LINE_BYTES_LIMIT, CsvOptions, InputFile, Part, cut_file, find_inputs
from .backends import BACKENDS_BY_NAME
from .plan import LARGE_FILE_BYTES, part_bytes, plan_shards
from .worker import STAGES, Job, ShardReport


@dataclass
class Summary:
    """What a run did.

    Attributes:
        inputs: files transformed now.
        skipped: files whose outputs an earlier run had finished.
        images: rows of their outputs, those put aside included.
        rejected: records and whole files that were put aside, by this run or by earlier ones whose outputs stand.
        bytes_read: size of the inputs transformed.
        seconds: wall time of the run without the start.
        startup_seconds: importing MXNet, choosing the batch size, getting the workers ready (processes have the rest of
            their start in ``seconds``).
        peak_memory_bytes: largest resident size so far of this process, or of one of its children that have ended.
        batch_size: rows of one forward pass.
        invariant: whether a row's bytes are a function of the row alone.
        workers: how many.
        stage_seconds: time that all workers together spent in each stage; ``wait`` is what is left of theirs.
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
    stage_seconds: dict[str, float] = field(default_factory=dict)

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
    options: Options | None = None,
    *,
    progress: Callable[[ShardReport], None] | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Transforms all that ``source`` names into ``output``.

    Args:
        model: see :func:`fastinfer.models.module.load_model`.
        source: a folder, a file or a glob.
        output: the folder of the results; ``KEY.out`` for each input.
        options: how; None: the defaults.
        progress: called with each finished shard's report, from the calling thread.
        stop: set it from another thread to end the run early; finished outputs stay.

    Raises:
        InputError: a file could not be read or parsed; outputs finished before stay.
        ModelError, OutputError, ConfigError: as their names say.
        WorkerDied: a worker process died twice on the same inputs; the others were transformed.
    """
    started = time.perf_counter()
    options = options or Options()
    stop = stop or threading.Event()
    inputs = find_inputs(source)
    # The first input is asked for at once: a wrong path should fail before MXNet's import takes its seconds.
    first = next(inputs, None)
    if first is None:
        raise InputError("there is no .csv file in it", code="input_missing", path=source)

    mxnet = _load(options)
    devices = parse_device(options.device)
    contexts = open_contexts(devices)
    batch_size, row_wise, invariant = choose_batch_size(mxnet, model, contexts[0], options)
    workers = options.workers or (len(devices) if devices[0][0] == "gpu" else machine.cores())
    folder = OutputFolder(output, durable=options.durable)
    csv = CsvOptions(options.comment, options.missing, options.skip_header)
    quarantine = options.on_error == "quarantine"
    record: dict[str, Any] = {
        "depends_on": {
            **circumstances(model, options),
            **reading(options),
            "mxnet": mxnet.__version__,
            "environment": numeric_environment(),
            "batch_size": None if row_wise else batch_size,
            "source": os.path.abspath(source),
        },
        "model_path": os.path.abspath(model.path),
        "invariant": invariant,
    }
    job = Job(
        token=uuid.uuid4().hex,
        model=model,
        devices=tuple(devices),
        batch_size=batch_size,
        row_wise=row_wise,
        csv=csv,
        output=folder,
        quarantine=quarantine,
        line_bytes=_line_bytes(options, model, workers, batch_size),
        settings=_settings(options),
        depends_on=record["depends_on"],
        parent=os.getpid() if options.backend == "processes" else None,
    )
    start_backend = BACKENDS_BY_NAME[options.backend]
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.open_run(record, overwrite=options.overwrite))
        run_shards = stack.enter_context(
            start_backend(job, options.workers if options.address else workers, stop, options.address)
        )
        summary = Summary(rejected=folder.rejected, batch_size=batch_size, invariant=invariant, workers=workers)
        run = stack.enter_context(contextlib.closing(_Run(job, options, summary, stop)))
        ready = time.perf_counter()
        summary.startup_seconds = ready - started
        shards = plan_shards(run.unfinished(itertools.chain([first], inputs)), workers)
        with contextlib.closing(run_shards(shards)) as reports:
            for report in reports:
                run.gather(report)
                if progress is not None:
                    progress(report)
        run.finish(time.perf_counter() - ready)
        folder.write_record({**record, "summary": summary.as_dict()})
    return summary


class _Run:
    """The gathering side of a run: what is left to do, and what has come back."""

    def __init__(self, job: Job, options: Options, summary: Summary, stop: threading.Event) -> None:
        self.job = job
        self.options = options
        self.summary = summary
        self.stop = stop
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.assemblies: dict[str, Assembly] = {}  # of large inputs under way, by key
        self.errors: list[tuple[int, int, Exception]] = []
        # Parts are found done by whichever thread asks for the next shard.
        self.lock = threading.Lock()

    def unfinished(self, inputs: Iterable[InputFile]) -> Iterator[InputFile | list[Part]]:
        """Inputs whose outputs are not there, large ones as the parts that are not."""
        folder = self.job.output
        for file in inputs:
            if folder.has(file):
                self.summary.skipped += 1
                continue
            parts = self._cut(file) if file.size >= LARGE_FILE_BYTES else []
            if len(parts) < 2:
                yield file
                continue
            finished = {part for part in parts if folder.has_part(part)}
            self.assemblies[file.key] = Assembly(folder, parts)
            for part in finished:
                self._add(part, 0)
            waiting = [part for part in parts if part not in finished]
            if waiting:
                yield waiting

    def gather(self, report: ShardReport) -> None:
        """Adds a report to the summary; ends the run where it must end."""
        summary = self.summary
        with self.lock:
            summary.inputs += report.files
            summary.rejected += report.rejected
        summary.images += report.images
        summary.bytes_read += report.bytes_read
        for stage, seconds in report.seconds.items():
            self.seconds[stage] += seconds
        for part in report.parts:
            self._add(part, report.number)
        for part, refusal in report.refused:
            self._refuse(part, refusal)
        error = report.error
        if error is None and self.options.max_errors is not None and summary.rejected > self.options.max_errors:
            error = InputError(
                f"{summary.rejected:,} records were put aside, {self.options.max_errors:,} are allowed",
                code="too_many_errors",
                hint=f"see {self.job.output.root}/{REJECTS}",
            )
        if error is not None:
            # Of what the workers meet, the first in the order of the inputs is raised. A shard that kills its process
            # is set aside, and the others go on.
            self.errors.append((report.number, report.failed_at, error))
            if not isinstance(error, WorkerDied):
                self.stop.set()

    def finish(self, seconds: float) -> None:
        """Completes the summary of a run that has ended; raises what stopped it."""
        summary = self.summary
        summary.seconds = seconds
        summary.peak_memory_bytes = machine.peak_memory_bytes()
        summary.stage_seconds = {
            **self.seconds,
            "wait": max(0.0, seconds * summary.workers - sum(self.seconds.values())),
        }
        if self.options.backend != "threads":
            self.job.output.settle()
        if self.errors:
            raise min(self.errors, key=lambda error: error[:2])[2]
        if not self.stop.is_set():
            self.job.output.clear_leftovers()

    def close(self) -> None:
        """Leaves no large output half put together: its parts stand for a later run."""
        with self.lock:
            for assembly in self.assemblies.values():
                assembly.drop()

    def _cut(self, file: InputFile) -> list[Part]:
        row_values = self.job.model.row_values
        # A line is a record where bad ones are put aside.
        columns = row_values if self.job.quarantine else 0
        return cut_file(file, part_bytes(file.size), row_values, self.job.csv, self.job.line_bytes, columns)

    def _add(self, part: Part, number: int) -> None:
        """Adds a finished part, of a shard with that number, to the output of its input."""
        with self.lock:
            assembly = self.assemblies.get(part.file.key)
            if assembly is None:  # a part before it had an error
                return
            problem: Exception | None = None
            try:
                if not assembly.add(part):
                    return
                self.summary.inputs += 1
            except (InputError, OutputError) as error:
                problem = error
            del self.assemblies[part.file.key]
        if self.job.quarantine and isinstance(problem, InputError):
            self._put_aside(part.file, problem)
        elif problem is not None:
            self.errors.append((number, 0, problem))
            self.stop.set()

    def _refuse(self, part: Part, error: InputError) -> None:
        """Puts an input aside of which a part cannot be used."""
        with self.lock:
            assembly = self.assemblies.pop(part.file.key, None)
            if assembly is None:  # told of another part
                return
            assembly.drop()
        self._put_aside(part.file, error)

    def _put_aside(self, file: InputFile, error: InputError) -> None:
        self.job.output.reject([Reject.of(file, None, error, None)])
        with self.lock:
            self.summary.rejected += 1


def _settings(options: Options) -> dict[str, str]:
    """The environment that MXNet is started with, where the user has not set it."""
    pinned = {} if options.cpu_isa is None else {CPU_ISA_VARIABLE: options.cpu_isa}
    return {**INFERENCE_SETTINGS, **pinned}


def _load(options: Options) -> Any:
    """Imports MXNet with the settings of an inference, or takes it as the caller's program has imported it."""
    settings = _settings(options)
    if "mxnet" in sys.modules:
        unset = [f"{name}={settings[name]}" for name in SPEED_SETTINGS if name not in os.environ]
        if unset:
            warnings.warn(
                f"mxnet was imported before {' and '.join(unset)} could be set: the outputs are right, but a run was "
                "seen to take up to 3 times as long; set them before the program starts, or import fastinfer's "
                "Transformer and run it first",
                RuntimeWarning,
                stacklevel=3,
            )
    if options.cpu_isa is not None:
        found = os.environ.get(CPU_ISA_VARIABLE, options.cpu_isa if "mxnet" not in sys.modules else None)
        if found != options.cpu_isa:
            raise ConfigError(
                f"the instruction set cannot be {options.cpu_isa}: MXNet was started with {found or 'what the CPU has'}",
                hint=f"set {CPU_ISA_VARIABLE}={options.cpu_isa} before the program starts",
            )
    return load_mxnet(settings)


def _line_bytes(options: Options, model: Model, workers: int, batch_size: int) -> int:
    """How long a line may be for the run to stay within its memory."""
    if options.memory_limit is None:
        return LINE_BYTES_LIMIT
    # A worker's batch, what is read ahead, and its outputs on the way; a line's buffer is copied once where it grows. A line
    # that is put aside may be told with six characters a byte, twice.
    copies = 16 if options.on_error == "quarantine" else 3
    held = 2 * 4 * batch_size * model.row_values + CHUNK_BYTES + 4 * BUFFER_BYTES
    fixed = machine.resident_bytes() + workers * held
    line_bytes = (options.memory_limit - fixed) // workers // copies
    if line_bytes < CHUNK_BYTES:
        needed = fixed + copies * workers * CHUNK_BYTES
        raise ConfigError(
            f"{options.memory_limit >> 20:,} MiB of memory are too few: {needed / (1 << 20):,.0f} MiB are needed",
            code="memory_limit",
            hint="allow more, or fewer workers",
        )
    return min(line_bytes, LINE_BYTES_LIMIT)


def choose_batch_size(mxnet: Any, model: Model, context: Any, options: Options) -> tuple[int, bool, bool]:
    """The batch size, whether the graph is row-wise, and whether a row's bits depend on the row alone.

    Raises:
        ModelError: at the size that was asked for it does not give a row for each record; or it cannot be bound.
    """

    def bind(batch_size: int) -> Executor:
        return Executor(mxnet, model, context, batch_size)

    if options.exact:
        return options.batch_size or ROWS_PER_EXACT_GRAPH, True, True
    if options.batch_size is not None:
        executor = bind(options.batch_size)
        if not executor.gives_a_row_each:
            raise ModelError(
                f"at batch size {options.batch_size} it does not give a row for each record",
                path=model.path,
                hint="leave --batch-size out: records are computed one by one then",
            )
        return options.batch_size, False, is_invariant(executor)
    asked = {
        **circumstances(model, options),
        "mxnet": mxnet.__version__,
        "environment": numeric_environment(),
        "candidates": CANDIDATES,
    }
    batch_size = remembered(asked, lambda: find_batch_size(bind, model.row_values))
    if batch_size is not None:
        return batch_size, False, True
    # Row by row, at the container's batch size, every model is invariant.
    return ROWS_PER_EXACT_GRAPH, True, True
