"""What becomes of records that the model refuses while it runs: as of those that cannot be read, an error with their place, a
reject in their place, or a reject of their objects."""

from __future__ import annotations

import contextlib
from typing import Union

from ..errors import InputError, ModelError
from ..outputs.rejects import MOST_RECORD_BYTES
from ..outputs.writer import OutputWriter, Result
from ..records.finding import Found, Lines, RecordFinder
from ..records.line_counts import LineCounts
from ..records.spans import Span, whole
from ..runtimes.refused import refusal
from .batch import Objects, Segment
from .formats import lines_before
from .job import Job, ShardReport
from .recorder import Recorder

Segments = list[Union[Segment, Objects]]


class Refusals:
    """Takes refused records out of batches.

    Args:
        job: of the run.
        report: of the shard; is updated.
        recorder: takes the rejects.
        writer: makes results.
        counts: of lines before spans.
    """

    def __init__(
        self, job: Job, report: ShardReport, recorder: Recorder, writer: OutputWriter, counts: LineCounts
    ) -> None:
        self._job = job
        self._report = report
        self._recorder = recorder
        self._writer = writer
        self._has_lines = job.codec.framing.has_lines
        self._finder = RecordFinder(
            job.inputs,
            _lines_of(job),
            job.model.row_values,
            counts,
            chunk_bytes=job.limits.chunk_bytes,
            line_bytes=job.limits.line_bytes,
            compression=job.request.compression_type,
        )

    def take_out(self, segments: Segments, refused: dict[int, ModelError]) -> tuple[Segments, InputError | None]:
        """Takes refused records out of a batch.

        Args:
            segments: of the batch.
            refused: why its records are refused, by their numbers in it.

        Returns:
            the segments of what is left; and, when those are finished, the error to raise: the run stops at it, or the object
            that is being read cannot be used.
        """
        parts: Segments = []
        records: dict[int, int] = {}  # of each result, up to the segment
        failed: dict[int, tuple[Result, InputError]] = {}
        for segment in self._opened(segments, refused):
            if isinstance(segment, Objects):
                parts.append(segment)
                continue
            result, first = segment.result, segment.first
            before = records.setdefault(id(result), result.rows) - first
            records[id(result)] += segment.stop - first + segment.rejected
            for number in filter(refused.__contains__, range(first, segment.stop)):
                if id(result) in failed:
                    break
                error, line = self._locate(result.span, before + number, refused[number])
                if line is None or not self._job.rejects_records:
                    failed[id(result)] = result, error
                    break
                self._reject(result.span, error, line)
                parts.append(Segment(result, first, number, rejected=True))
                first = number + 1
            parts.append(segment._replace(first=first))
        return self._without(parts, failed, records)

    def _opened(self, segments: Segments, refused: dict[int, ModelError]) -> Segments:
        """The same, but an object with refused records has a result of its own."""
        parts: Segments = []
        for segment in segments:
            if isinstance(segment, Segment):
                parts.append(segment)
                continue
            start = segment.first
            for item, count in zip(segment.items, segment.counts):
                stop = start + count
                if any(number in refused for number in range(start, stop)):
                    parts.append(Segment(self._writer.open(whole(item)), start, stop, last=True))
                elif parts and isinstance(last := parts[-1], Objects) and last.first + sum(last.counts) == start:
                    parts[-1] = Objects([*last.items, item], [*last.counts, count], last.first)
                else:
                    parts.append(Objects([item], [count], start))
                start = stop
        return parts

    def _without(
        self, parts: Segments, failed: dict[int, tuple[Result, InputError]], records: dict[int, int]
    ) -> tuple[Segments, InputError | None]:
        """The segments without those of failed objects; the error to raise."""
        closed = {id(each.result) for each in parts if isinstance(each, Segment) and each.last}
        left: InputError | None = None
        for key, (result, error) in failed.items():
            result.drop()
            if not self._job.quarantine:
                places = [isinstance(each, Segment) and each.result is result for each in parts]
                return parts[: places.index(True)], error
            if key in closed:
                self._report.records_read -= records[key]
                self._recorder.refuse(result.span, error)
            else:
                left = error  # its reading ends here
        return [each for each in parts if isinstance(each, Objects) or id(each.result) not in failed], left

    def _locate(self, span: Span, record: int, error: ModelError) -> tuple[InputError, Found | None]:
        """The error of a record of a span, by its number there; and the line in which it begins, of objects that have lines."""
        line: Found | None = None
        if self._has_lines:
            # An object that cannot be read again fails alone: the others in the batch are not to be lost with it.
            with contextlib.suppress(InputError):
                line = self._finder.find(span, record)
        # Nobody knows how many records come before a span.
        number = record + 1 if line is None and span.is_whole else None
        problem = refusal(error, number).at(path=span.item.uri)
        return (problem if line is None else problem.at(line=line.number)), line

    def _reject(self, span: Span, error: InputError, line: Found) -> None:
        text = line.text if len(line.text) <= MOST_RECORD_BYTES else None
        self._recorder.reject_record(span, error, text, (line.start, line.start + len(line.text)))


def _lines_of(job: Job) -> Lines:
    """Which lines of a job's objects hold records."""
    by_line = job.line_is_record or job.codec.lines_are_rows
    return Lines(
        skip=lines_before(job.request, job.options),
        comment=job.options.comment,
        columns=job.model.row_values if by_line else 0,
        framing=job.codec.framing,
    )
