"""What a worker reports of its shard: results that have their names, and rejects, which are in a journal before that."""

from __future__ import annotations

from ..errors import InputError
from ..outputs.rejects import Reject, Rejects
from ..outputs.writer import Finished
from ..records.spans import Span
from .job import Job, ShardReport


class Recorder:
    """Keeps the report of a shard.

    Args:
        job: of the run.
        report: is updated.

    Attributes:
        held_bytes: of rejected records that are not in the journal yet.
    """

    def __init__(self, job: Job, report: ShardReport) -> None:
        self.held_bytes = 0
        self._job = job
        self._report = report
        self._rejects: list[Reject] = []

    def reject_record(self, span: Span, error: InputError, record: bytes | None, bounds: tuple[int, int]) -> None:
        """Rejects a record; `record` is None where it is too long to be repeated."""
        self._add(Reject.of_record(self._job.layout.run, span, error, record, bounds))
        self.held_bytes += len(record or b"")

    def refuse(self, span: Span, error: InputError) -> None:
        """Rejects a whole object, or has the run do it: other spans of the object may fail as well."""
        if span.is_whole:
            self._add(Reject.of_object(self._job.layout.run, span.item, error))
        else:
            self._report.refused.append((span, error))

    def write_rejects(self) -> None:
        """Writes rejects to the journal: before the results that lack the records get their names. Raises OutputError."""
        if self._rejects:
            if self._job.claim is not None:
                self._job.claim.check()
            Rejects(self._job.layout, self._job.store).append(self._rejects)
            self._rejects, self.held_bytes = [], 0

    def count(self, named: list[Finished]) -> None:
        """Counts results that have just got their names. Raises InputError where one could not, unless it may be rejected."""
        report = self._report
        for item, span, rows, rejected, problem in named:
            if problem is not None:
                report.records_read -= rows
                if not self._job.quarantine:
                    raise problem
                if span is not None:
                    report.refused.append((span, problem))
                else:
                    self._add(Reject.of_object(self._job.layout.run, item, problem))
                continue
            report.records += rows
            if span is None:
                report.inputs += 1
                report.bytes_read += item.size
            else:
                report.spans.append((span, rejected))
                report.bytes_read += span.stop - span.start

    def _add(self, reject: Reject) -> None:
        self._report.rejected += 1
        self._rejects.append(reject)
