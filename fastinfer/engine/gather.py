"""What of a run is left to do, and what is done."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Callable

from .. import machine
from ..errors import FastinferError, InputError, OutputError, WorkerDied, counted
from ..options import Options
from ..outputs.assembly import Assembly
from ..outputs.folder import OutputFolder
from ..outputs.rejects import Reject
from ..records.spans import Span, cut
from ..runtimes import load_runtime
from ..runtimes.batch_size import is_costly
from ..storage.base import Object
from ..storage.uri import is_url
from .job import STAGES, Job, ShardReport
from .summary import Summary


class Gatherer:
    """Follows a run from its objects to its summary.

    Args:
        job: of the run.
        options: of the run.
        folder: of the results.
        summary: is updated with what is done.
        stop: is set if the run must end early.
    """

    def __init__(
        self, job: Job, options: Options, folder: OutputFolder, summary: Summary, stop: threading.Event
    ) -> None:
        self._job = job
        self._options = options
        self._folder = folder
        self._summary = summary
        self._stop = stop
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._assemblies: dict[str, Assembly] = {}  # of large objects that are being transformed, by key
        # Of each large object that is rejected the first span that failed, in the order of the file, and why.
        self._refused: dict[str, tuple[Span, InputError]] = {}
        self._errors: list[tuple[int, int, Exception]] = []
        # Rejects of results that stay; those of others, which are made again, are not counted twice.
        self._kept = 0
        self._is_settled = False
        # Any thread that gets the next shard may find finished spans.
        self._lock = threading.Lock()

    def unfinished(self, objects: Iterable[Object]) -> Iterator[Object | list[Span]]:
        """The objects without a finished result; a large object as its unfinished spans."""
        folder, job = self._folder, self._job
        for item in folder.expect(objects):
            problem = folder.name_problem(item)
            if problem is not None:
                yield item._replace(problem=problem)
                continue
            if (kept := folder.finished(item)) is not None:
                self._summary.skipped += 1
                self._kept += kept
                continue
            spans = self._cut(item) if job.may_cut(item.size) else []
            if len(spans) < 2:
                yield item
                continue
            finished = {span: count for span in spans if (count := folder.finished_span(span)) is not None}
            self._assemblies[item.key] = Assembly(job.layout, job.store, job.encoder.form, spans, job.inputs)
            self._kept += sum(finished.values())
            for span, rejected in finished.items():
                self._add(span, rejected, 0)
            waiting = [span for span in spans if span not in finished]
            if waiting:
                yield waiting

    def add(self, report: ShardReport) -> None:
        """Adds a report to the summary; stops the run if the report says so."""
        summary = self._summary
        with self._lock:
            summary.inputs += report.inputs
            summary.rejected += report.rejected
        summary.records += report.records
        summary.records_read += report.records_read
        summary.bytes_read += report.bytes_read
        for stage, seconds in report.seconds.items():
            self._seconds[stage] += seconds
        for span, rejected in report.spans:
            self._add(span, rejected, report.number)
        for span, refusal in report.refused:
            self._refuse(span, refusal)
        error = report.error or self._too_many()
        if error is not None:
            # The first error in the order of the inputs is raised. A shard that kills its process is left out, and the
            # other shards are transformed.
            self._errors.append((report.number, report.failed_at, error))
            if not isinstance(error, WorkerDied):
                self._stop.set()

    def _too_many(self) -> InputError | None:
        """The error of more rejects than are allowed, new ones and those of results that stay."""
        most, rejected = self._options.max_errors, self._kept + self._summary.rejected - self._folder.rejected
        if most is None or rejected <= most:
            return None
        return InputError(
            f"{counted(rejected, 'reject')}, at most {most:,} allowed",
            code="too_many_errors",
            hint=f"see {self._job.layout.rejects}",
        )

    def finish(self, seconds: float) -> None:
        """Completes the summary of a run that has ended; raises the error that stopped it."""
        summary = self._summary
        summary.seconds = seconds
        summary.peak_memory_bytes = machine.peak_memory_bytes()
        waited = max(0.0, seconds * summary.workers - sum(self._seconds.values()))
        summary.stage_seconds = {**self._seconds, "wait": waited}
        too_many = self._too_many()  # also if the last results that stay were found behind the last report
        if too_many is not None and not self._errors and not self._stop.is_set():
            self._errors.append((0, 0, too_many))
        try:
            self._settle(is_complete=True)
            if self._options.backend != "threads":
                self._folder.sweep()
        except FastinferError as error:
            if not self._errors:
                raise
            _warn(error)
        if self._errors:
            self._errors.sort(key=lambda error: error[:2])
            raise self._errors.pop(0)[2]  # its traceback holds this frame, and so this object
        if summary.records != summary.records_read:
            raise OutputError(
                f"{summary.records_read:,} records were read, but the outputs have {summary.records:,}",
                code="account",
                path=self._job.layout.root,
                hint="this is a defect of fastinfer: please report it",
            )
        if not self._stop.is_set():
            self._folder.clear_leftovers()

    def close(self) -> None:
        """Removes unfinished large results; the results of their spans are kept for a later run.

        Of a run that was interrupted nobody waits long for what the next one can do as well.
        """
        if self._is_settled and not self._assemblies:
            return
        from ..storage.retry import END_S, beginning_within  # late: most runs end by themselves

        with beginning_within(END_S):
            if self._lock.acquire(timeout=END_S):  # a worker may be waiting for a server
                try:
                    for assembly in self._assemblies.values():
                        assembly.drop()
                finally:
                    self._lock.release()
            try:
                self._settle()
            except FastinferError as error:
                _warn(error)

    def _settle(self, *, is_complete: bool = False) -> None:
        if not self._is_settled:
            self._is_settled = True
            for span, error in self._refused.values():
                self._write_reject(span.item, error)
            # One that ends early may have counted rejects that it has not written.
            ends_early = not is_complete or self._errors or self._stop.is_set()
            written = None if ends_early else self._summary.rejected - self._folder.rejected
            self._summary.rejected = self._folder.settle(has_rejects=self._job.quarantine, written=written)

    @functools.cached_property
    def _is_costly(self) -> bool:
        """Whether a record is much work for its bytes; a function of the model alone."""
        return is_costly(load_runtime(self._job.runtime, cpu_isa=self._job.cpu_isa), self._job.model)

    def _cut(self, item: Object) -> list[Span]:
        """The spans of an object; none if it is too small to be divided, or cannot be."""
        job, limits = self._job, self._job.limits
        is_large = item.size >= limits.large_object_bytes
        if not job.codec.framing.has_lines or item.size < min(limits.large_object_bytes, limits.costly_object_bytes):
            return []
        row_values, is_far = job.model.row_values, is_url(item.uri)
        count_columns: Callable[[Iterable[bytes]], int] = job.codec.count_columns
        # If bad records are rejected, each line is a record.
        columns = row_values if job.line_is_record or job.codec.lines_are_rows else 0
        if job.request.processes:
            from .filtered import cells_counter  # late: most runs neither filter nor join

            row_values, columns, count_columns = 1, 0, cells_counter(job)
        if not is_large and (is_far or not self._is_costly):
            return []
        return cut(
            job.inputs,
            item,
            limits.span_bytes(item.size, is_far=is_far),
            row_values,
            count_columns,
            job.limits.line_bytes,
            columns=columns,
            compression=job.request.compression_type,
            framing=job.codec.framing,
        )

    def _add(self, span: Span, rejected: int, number: int) -> None:
        """Adds a finished span to the result of its object: how many of its records were rejected, and its shard's number."""
        key = span.item.key
        with self._lock:
            assembly = self._assemblies.get(key)
            if assembly is None:  # another span had an error
                return
            problem: Exception | None = None
            try:
                if not assembly.add(span, rejected):
                    return
                self._summary.inputs += 1
            except (InputError, OutputError) as error:
                problem = error
            del self._assemblies[key]
        if self._job.quarantine and isinstance(problem, InputError):
            self._reject(span.item, problem)
        elif problem is not None:
            self._errors.append((number, 0, problem))
            self._stop.set()

    def _refuse(self, span: Span, error: InputError) -> None:
        """Rejects an object because one of its spans cannot be used. Its reject is written when no other span can fail."""
        key = span.item.key
        with self._lock:
            if key not in self._refused:
                assembly = self._assemblies.pop(key, None)
                if assembly is None:  # rejected because its spans could not be joined
                    return
                assembly.drop()
                self._summary.rejected += 1
            elif span.start > self._refused[key][0].start:
                return
            self._refused[key] = span, error

    def _reject(self, item: Object, error: InputError) -> None:
        self._write_reject(item, error)
        with self._lock:
            self._summary.rejected += 1

    def _write_reject(self, item: Object, error: InputError) -> None:
        self._folder.rejects.append([Reject.of_object(self._job.layout.run, item, error)])


def _warn(error: FastinferError) -> None:
    """Says that a run could not tidy up, which must not hide what ended it."""
    warnings.warn(f"the next run puts in order what this one left: {error}", RuntimeWarning, stacklevel=1)
