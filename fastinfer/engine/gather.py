"""The gathering side of a run: what is left to do, and what has come back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from .. import machine
from ..codecs.csv import count_columns
from ..errors import InputError, OutputError, WorkerDied
from ..options import Options
from ..outputs.assembly import Assembly
from ..outputs.folder import OutputFolder
from ..outputs.rejects import Reject
from ..records.spans import Span, cut, whole
from ..storage.base import Object
from .job import STAGES, Job, ShardReport
from .summary import Summary


class Gatherer:
    """Follows a run from its objects to its summary.

    Args:
        job: the run's.
        options: the run's.
        folder: of the results.
        summary: gets what is done.
        stop: set where the run must end early.
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
        self._assemblies: dict[str, Assembly] = {}  # of large objects under way, by key
        self._errors: list[tuple[int, int, Exception]] = []
        # Spans are found finished by whichever thread asks for the next shard.
        self._lock = threading.Lock()

    def unfinished(self, objects: Iterable[Object]) -> Iterator[Object | list[Span]]:
        """Objects whose results are not there, large ones as the spans that are not."""
        folder, job = self._folder, self._job
        for item in objects:
            if folder.is_finished(item):
                self._summary.skipped += 1
                continue
            spans = self._cut(item) if item.size >= job.limits.large_object_bytes else []
            if len(spans) < 2:
                yield item
                continue
            finished = {span for span in spans if folder.is_finished_span(span)}
            self._assemblies[item.key] = Assembly(job.layout, job.store, job.form, spans)
            for span in finished:
                self._add(span, 0)
            waiting = [span for span in spans if span not in finished]
            if waiting:
                yield waiting

    def add(self, report: ShardReport) -> None:
        """Adds a report to the summary; ends the run where it must end."""
        summary = self._summary
        with self._lock:
            summary.inputs += report.inputs
            summary.rejected += report.rejected
        summary.records += report.records
        summary.bytes_read += report.bytes_read
        for stage, seconds in report.seconds.items():
            self._seconds[stage] += seconds
        for span in report.spans:
            self._add(span, report.number)
        for span, refusal in report.refused:
            self._refuse(span, refusal)
        error = report.error
        if error is None and self._options.max_errors is not None and summary.rejected > self._options.max_errors:
            error = InputError(
                f"{summary.rejected:,} records were rejected, {self._options.max_errors:,} are allowed",
                code="too_many_errors",
                hint=f"see {self._job.layout.rejects}",
            )
        if error is not None:
            # Of what the workers meet, the first in the order of the inputs is raised. A shard that kills its process
            # is left out, and the others go on.
            self._errors.append((report.number, report.failed_at, error))
            if not isinstance(error, WorkerDied):
                self._stop.set()

    def finish(self, seconds: float) -> None:
        """Completes the summary of a run that has ended; raises what stopped it."""
        summary = self._summary
        summary.seconds = seconds
        summary.peak_memory_bytes = machine.peak_memory_bytes()
        waited = max(0.0, seconds * summary.workers - sum(self._seconds.values()))
        summary.stage_seconds = {**self._seconds, "wait": waited}
        if self._options.backend != "threads":
            self._folder.settle()
        if self._errors:
            raise min(self._errors, key=lambda error: error[:2])[2]
        if not self._stop.is_set():
            self._folder.clear_leftovers()

    def close(self) -> None:
        """Leaves no large result half put together: its spans' results are there for a later run."""
        with self._lock:
            for assembly in self._assemblies.values():
                assembly.drop()

    def _cut(self, item: Object) -> list[Span]:
        job, row_values = self._job, self._job.model.row_values
        return cut(
            job.store,
            item,
            job.limits.span_bytes(item.size),
            row_values,
            lambda lines: count_columns(lines, job.csv),
            job.limits.line_bytes,
            # A line is a record where bad ones are rejected.
            columns=row_values if job.quarantine else 0,
        )

    def _add(self, span: Span, number: int) -> None:
        """Adds a finished span, of a shard with that number, to the result of its object."""
        key = span.item.key
        with self._lock:
            assembly = self._assemblies.get(key)
            if assembly is None:  # a span before it had an error
                return
            problem: Exception | None = None
            try:
                if not assembly.add(span):
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
        """Rejects an object of which a span cannot be used."""
        with self._lock:
            assembly = self._assemblies.pop(span.item.key, None)
            if assembly is None:  # rejected for another span
                return
            assembly.drop()
        self._reject(span.item, error)

    def _reject(self, item: Object, error: InputError) -> None:
        self._folder.rejects.append([Reject.of(whole(item), error, None)])
        with self._lock:
            self._summary.rejected += 1
