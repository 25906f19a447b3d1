"""The run: sets up runtime, folder and workers, gives shards to a backend, gathers their reports.

Records are transformed in worker.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import machine
from ..errors import ConfigError
from ..models.code import has_requirements, requirements_note
from ..options import Limits, Options, parse_device
from ..outputs.folder import OutputFolder
from ..outputs.writer import BUFFER_BYTES
from ..records.spans import Span
from ..runtimes import LABELS, load_runtime, runtime_of
from ..runtimes.batch_size import Batching, choose_batching
from ..storage.base import Object, Source
from ..storage.local import LocalStore
from ..storage.places import folder_place, source_of, store_of
from ..storage.selection import with_checked_name
from ..storage.uri import absolute, from_here, is_url
from .backends import BACKENDS_BY_NAME
from .code_model import CodeModel
from .formats import choose_codec
from .gather import Gatherer
from .job import Job
from .lanes import choose_lane
from .plan import plan_shards
from .process import prepare
from .progress import Progress
from .provenance import of_run
from .request import CSV, TransformRequest
from .source import Listing, no_objects
from .summary import Summary

if TYPE_CHECKING:
    from ..models.load import AnyModel


def changed(values: Options | TransformRequest) -> dict[str, Any]:
    """The fields that have not their default, as JSON has them."""
    default = type(values)()
    pairs = ((each.name, getattr(values, each.name)) for each in dataclasses.fields(values))
    return {name: value for name, value in pairs if value != getattr(default, name)}


# A model's own code computes as it likes.
NO_BATCHES = Batching(0, row_wise=False, invariant=True)


def transform(
    model: AnyModel | CodeModel,
    objects: Iterable[Object],
    output: str,
    options: Options | None = None,
    *,
    source: str,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    limits: Limits | None = None,
    store: Source | None = None,
    request: TransformRequest | None = None,
) -> Summary:
    """Transforms objects into the results of a folder.

    Args:
        model: see :func:`fastinfer.models.module.load_model`; or one whose own code answers.
        objects: in the order of their keys, as a :class:`fastinfer.engine.source.Listing` gives them.
        output: the folder of the results; ``KEY.out`` for each object.
        options: None: the defaults.
        source: the name of all objects together; a later run in the same folder must have the same.
        progress: is told what the run does; None: nobody is.
        stop: set it from another thread to end the run early; finished results are kept.
        limits: how much is read and held at a time; None: the defaults.
        store: where the objects are; None: where their URIs say. Where results are, `output` says.
        request: what is asked for; None: the defaults.

    Raises:
        InputError: an object could not be read or parsed; finished results are kept.
        ModelError, OutputError, ConfigError: see :mod:`fastinfer.errors`.
        WorkerDied: a worker process died twice on the same inputs; the other inputs were transformed.
    """
    started = time.perf_counter()
    options = options or Options()
    # Resolved here, so that rows and payloads have the same, and the record of the run has it.
    request = (request or TransformRequest()).with_default_accept()
    progress = progress or Progress()
    stop = stop or threading.Event()
    output = folder_place(output)
    table = None if options.table is None else os.fspath(options.table)
    if isinstance(model, CodeModel):
        # A hook may change the working folder, on threads that of this process.
        output, table = from_here(output), table and from_here(table)
    if table is not None:
        from .table import check_table  # late, as below: most runs make none

        check_table(table, source, output, request, model)
    listing = iter(objects)
    # List the first object at once: a wrong path should fail before the runtime is loaded, which takes seconds.
    first = next(listing, None)
    if first is None:
        raise no_objects(source, objects.passed_over if isinstance(objects, Listing) else 0)

    if isinstance(model, CodeModel) and has_requirements(Path(model.path)):
        warnings.warn(requirements_note(Path(model.path)), RuntimeWarning, stacklevel=2)
    name = runtime_of(model, options.runtime)
    progress.starting(f"loading {LABELS[name]}")
    runtime = load_runtime(name, cpu_isa=options.cpu_isa)
    if runtime.advice:
        warnings.warn(runtime.advice, RuntimeWarning, stacklevel=2)
    devices = parse_device(options.device)
    runtime.check_devices(devices)
    progress.starting("choosing a batch size")
    code = model.path if isinstance(model, CodeModel) else None
    batching = NO_BATCHES if isinstance(model, CodeModel) else choose_batching(runtime, model, options)
    has_plain_rows, outputs = True, None
    if (request.processes or table is not None) and not isinstance(model, CodeModel):
        outputs = runtime.outputs_of(model, batching.smallest)
        has_plain_rows = [(each.rows, each.dtype) for each in outputs] == [(1, "float32")]
    if request.essence != CSV and (options.comment is not None or options.missing is not None):
        raise ConfigError(f"only text/csv has comments and empty cells, found {request.content_type}")
    unused = [name for name in ("comment", "missing") if getattr(options, name) is not None]
    if code is not None and unused:
        raise ConfigError(
            f"{' and '.join(unused)}: the model's own code reads the records", hint="leave that out, or ignore the code"
        )
    lane = choose_lane(request, code=code is not None, has_plain_rows=has_plain_rows)
    codec = choose_codec(request, None if isinstance(model, CodeModel) else model, options)
    workers = (
        options.workers
        or request.max_concurrent_transforms
        or request.server_workers
        or (len(devices) if devices[0][0] == "gpu" else machine.cores())
    )
    inputs = store or source_of(first.uri)
    results = store_of(output, durable=options.durable)
    folder = OutputFolder(output, results)
    record: dict[str, Any] = {
        "depends_on": of_run(model, options, source, runtime, batching, request),
        "model_path": absolute(model.path),
        "row_shape": None if isinstance(model, CodeModel) else list(model.row_shape),
        # Which columns of a joined line are the prediction follows from it.
        "prediction_values": None if outputs is None else sum(each.rows * math.prod(each.shape) for each in outputs),
        "invariant": batching.invariant,
        "varies": list(batching.varies),
        "model_choice": {} if isinstance(model, CodeModel) else model.choice.keywords,
        # With these `fastinfer verify` makes the outputs again.
        "options": changed(options),
        "request": changed(request),
    }
    limits = limits or Limits()
    if options.memory_limit is not None:
        line_bytes = _line_bytes(options.memory_limit, limits, model, workers, batching.batch_size, inputs.ahead_bytes)
        limits = dataclasses.replace(limits, line_bytes=line_bytes)
    start_backend = BACKENDS_BY_NAME[options.backend]
    is_threaded = options.backend == "threads"
    progress.starting("starting the workers")
    with contextlib.ExitStack() as stack:
        # Those of a cluster are not this process's, and do not end with it.
        is_outlived = options.backend in ("dask", "ray")
        stack.enter_context(folder.open_run(record, overwrite=options.overwrite, is_outlived=is_outlived))
        job = Job(
            token=os.urandom(16).hex(),
            model=cast("AnyModel", model),  # of one with code only the place is used
            devices=tuple(devices),
            batching=batching,
            codec=codec,
            layout=folder.layout,
            inputs=inputs,
            store=folder.store,
            quarantine=options.quarantine,
            whole_objects=options.on_error == "continue",
            request=request,
            options=options,
            by_rows=lane.by_rows,
            code=code,
            encoder=lane.encoder,
            limits=limits,
            runtime=name,
            cpu_isa=options.cpu_isa,
            depends_on=record["depends_on"],
            parent=os.getpid() if options.backend == "processes" else None,
            claim=folder.claim if is_outlived and is_url(output) else None,
        )
        run_shards = stack.enter_context(
            start_backend(job, options.workers if options.address else workers, stop, options.address)
        )
        summary = Summary(
            rejected=folder.rejected, batch_size=batching.pass_rows, invariant=batching.invariant, workers=workers
        )
        if is_threaded:
            prepare(job).progress = progress
        gatherer = stack.enter_context(contextlib.closing(Gatherer(job, options, folder, summary, stop)))
        ready = time.perf_counter()
        summary.startup_seconds = ready - started
        left = itertools.chain([first], listing)
        if not results.takes_any_key and not isinstance(inputs, LocalStore):
            left = itertools.chain(map(with_checked_name, left))
        told = _told(gatherer.unfinished(left), progress)
        shards = plan_shards(told, workers, limits, are_far=not isinstance(inputs, LocalStore))
        with contextlib.closing(run_shards(shards)) as reports:
            for report in reports:
                gatherer.add(report)
                if not is_threaded:  # else the workers have told of each batch
                    progress.advance(report.records, report.bytes_read)
        gatherer.finish(time.perf_counter() - ready)
        folder.write_record({**record, "summary": summary.as_dict()})
        if table is not None:
            from .table import make_table

            make_table(table, source, output, request, 1 if outputs is None else outputs[0].rows)
    return summary


def _told(inputs: Iterator[Object | list[Span]], progress: Progress) -> Iterator[Object | list[Span]]:
    """The same objects and spans; their sizes are told."""
    for item in inputs:
        progress.found(sum(span.stop - span.start for span in item) if isinstance(item, list) else item.size)
        yield item


def _line_bytes(
    memory_limit: int, limits: Limits, model: AnyModel | CodeModel, workers: int, batch_size: int, ahead_bytes: int
) -> int:
    """The longest line with which the run stays within its memory limit."""
    # A worker's batch, what is read ahead, and its unfinished results; a line's buffer is copied once when it grows.
    copies = 3
    row_values = 0 if isinstance(model, CodeModel) else model.row_values
    held = 2 * 4 * row_values * batch_size + limits.chunk_bytes + 4 * BUFFER_BYTES + ahead_bytes
    fixed = machine.resident_bytes() + workers * held
    line_bytes = (memory_limit - fixed) // workers // copies
    if line_bytes < limits.chunk_bytes:
        needed = fixed + copies * workers * limits.chunk_bytes
        raise ConfigError(
            f"{memory_limit >> 20:,} MiB of memory are not enough: {needed / (1 << 20):,.0f} MiB are needed",
            code="memory_limit",
            hint="allow more memory, or use fewer workers",
        )
    return min(line_bytes, limits.line_bytes)
