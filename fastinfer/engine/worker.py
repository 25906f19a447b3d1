"""What one worker does with its shard: read, decode, predict, print, write. It does not know what calls it.

An object's rows are decoded into the batch that is being filled, straight into the memory that the bound graph reads; when the
batch is full it is run, and each row's text goes to the result of the object it came from. Results are finished in the order
of the inputs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import TypeVar

from ..codecs.base import DONE, BadRecord, Outcome
from ..codecs.csv import CsvDecoder
from ..codecs.json import encode_json, encode_json_bodies
from ..errors import FastinferError, InputError
from ..outputs.rejects import Reject, Rejects
from ..outputs.writer import Finished, OutputWriter, Result
from ..records.reading import Chunk, Group, LineCounter, read_ahead, read_chunks, read_groups
from ..records.spans import Span, whole
from .batch import Batch, Objects
from .job import Job, ShardReport
from .plan import Shard
from .process import Workspace, end_if_orphaned, prepare

T = TypeVar("T")

# A batch is run at the latest when so many bytes of records were rejected: where nearly all are, it would not fill.
MOST_REJECTED_BYTES = 1 << 20


class Stopped(Exception):
    """The run is to end early; the object at hand is left for the next one."""


def run_shard(shard: Shard, job: Job) -> ShardReport:
    """Transforms the objects of a shard; an error is returned in the report, not raised, so that what was done is known."""
    try:
        process = prepare(job)
    except FastinferError as error:
        return ShardReport(shard.number, error=error)
    with process.workspaces.lend() as workspace:
        try:
            return _ShardRun(shard, job, workspace, process.stop).run()
        finally:
            for buffer in workspace.buffers:
                del buffer[job.limits.chunk_bytes :]  # what a long line has made it grow


class _ShardRun:
    def __init__(self, shard: Shard, job: Job, workspace: Workspace, stop: threading.Event) -> None:
        self.shard = shard
        self.job = job
        self.workspace = workspace
        self.stop = stop
        self.report = ShardReport(shard.number)
        self.batch = Batch(workspace.executor)
        self.decoder = CsvDecoder(job.csv, job.model.row_values, line_is_record=job.quarantine)
        self.writer = OutputWriter(job.layout, job.store, job.form)
        self.rejects: list[Reject] = []
        self.rejected_bytes = 0

    def run(self) -> ShardReport:
        items = self.shard.items
        # What is not read in a group goes to the buffer that no group is read into meanwhile.
        buffer = self.workspace.buffers[1]
        try:
            groups = read_groups(self.job.store, items, self.workspace.buffers)
            # Spans come unread, and behind an object alone there is no other.
            ahead = len(items) > 1 and not isinstance(items[0], Span)
            with contextlib.closing(read_ahead(groups) if ahead else groups) as read:
                for item in self._on_clock("read", read):
                    if self.stop.is_set():
                        break
                    if isinstance(item, Group):
                        buffer = item.buffer
                        self._transform_group(item)
                    else:
                        chunks = read_chunks(self.job.store, item, buffer, self.job.limits.line_bytes)
                        self._transform(item, buffer, self._on_clock("read", chunks))
        except Stopped:
            pass
        except Exception as error:
            self.report.error = error
        self.decoder.release()
        try:
            # Also after an error: objects before the one at fault are finished.
            self._run_batch()
            end_if_orphaned(self.job)
            started = perf_counter()
            self._count(self.writer.flush())
            self.report.seconds["write"] += perf_counter() - started
        except Exception as error:
            self.report.error = self.report.error or error
        return self.report

    def _on_clock(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The items; the time until each is there is the stage's."""
        while True:
            started = perf_counter()
            item = next(items, None)
            self.report.seconds[stage] += perf_counter() - started
            if item is None:
                return
            yield item

    def _transform_group(self, group: Group) -> None:
        """Decodes small objects into the batch in one call, as far as they are plain; the others one by one."""
        first, batch = 0, self.batch
        while first < len(group.items) and not self.stop.is_set():
            started = perf_counter()
            counts = self.decoder.fill_bodies(group.buffer, group.bounds, first, batch.rows, batch.filled)
            self.report.seconds["parse"] += perf_counter() - started
            if counts:
                batch.add_objects(group.items[first : first + len(counts)], counts)
                self.report.failed_at += len(counts)
                first += len(counts)
            if first < len(group.items):
                # There is an error in it, or it goes beyond the batch.
                self._transform(whole(group.items[first]), group.buffer, group.chunks(first))
                first += 1

    def _transform(self, span: Span, buffer: bytearray, chunks: Iterator[Chunk]) -> None:
        """Decodes a span into the batch; its rows are predicted when that is full."""
        result = self.writer.open(span)
        self.batch.begin()
        try:
            if span.item.problem is not None:
                raise span.item.problem
            self._decode(result, buffer, chunks)
        except BaseException as error:
            # None of it comes out, what is in the batch included.
            self.batch.drop(result)
            result.drop()
            if not (self.job.quarantine and isinstance(error, InputError)):
                raise
            if span.is_whole:
                self._reject(span, error, None)
            else:
                # Its other spans may fail as well: the run rejects the object once.
                self.report.refused.append((span, error))
        else:
            self.batch.close(result, last=True)
        self.report.failed_at += 1

    def _decode(self, result: Result, buffer: bytearray, chunks: Iterator[Chunk]) -> None:
        """Decodes chunks into the batch, and runs it each time it is full."""
        span, decoder, limits = result.span, self.decoder, self.job.limits
        counter = LineCounter(self.job.store, span.item, limits.chunk_bytes, limits.line_bytes)
        decoder.begin(span.columns)
        for chunk in chunks:
            decoder.start(buffer, chunk.start, chunk.stop, first=chunk.base == 0)
            try:
                while (outcome := self._fill()) is not DONE:
                    if isinstance(outcome, BadRecord):
                        lines = counter.before(chunk.base)
                        error = outcome.error.at(path=span.item.uri, line=(outcome.error.line or 0) + lines)
                        if not self.job.quarantine:
                            raise error
                        self._pass_over(result, error, outcome)
                    else:
                        if self.stop.is_set():
                            raise Stopped
                        self.batch.close(result)
                        self._run_batch()
            finally:
                decoder.release()
        try:
            decoder.end(may_be_empty=not span.is_whole)
        except InputError as error:
            shape = f"the model takes records of shape {self.job.model.row_shape}"
            raise error.at(path=span.item.uri, hint=shape if error.code == "partial_row" else None) from None

    def _fill(self) -> Outcome:
        started = perf_counter()
        outcome = self.decoder.fill(self.batch.rows, self.batch.filled)
        self.report.seconds["parse"] += perf_counter() - started
        self.batch.filled += self.decoder.written
        return outcome

    def _pass_over(self, result: Result, error: InputError, record: BadRecord) -> None:
        """Takes a bad record out of the batch and leaves its place empty."""
        self.batch.filled -= record.values
        self.batch.close(result, rejected=True)
        self._reject(result.span, error, record.text)
        self.rejected_bytes += len(record.text)
        if self.batch.is_full or self.rejected_bytes >= MOST_REJECTED_BYTES:
            self._run_batch()

    def _reject(self, span: Span, error: InputError, record: bytes | None) -> None:
        self.report.rejected += 1
        self.rejects.append(Reject.of(span, error, record))

    def _run_batch(self) -> None:
        """Runs the batch as far as it is filled, and hands its rows to their results."""
        segments = self.batch.take()
        end_if_orphaned(self.job)
        if self.rejects:
            # Before a result with a gap gets its name, the reason for the gap is in the file of rejects.
            Rejects(self.job.layout, self.job.store).append(self.rejects)
            self.rejects, self.rejected_bytes = [], 0
        if not segments:
            return
        seconds, executor, form = self.report.seconds, self.workspace.executor, self.job.form
        started = perf_counter()
        predictions = executor.forward()
        forwarded = perf_counter()
        seconds["forward"] += forwarded - started
        row_shape = executor.output_shape
        written = seconds["write"]
        for segment in segments:
            if isinstance(segment, Objects):
                items, counts, first = segment
                texts = encode_json_bodies(predictions[first : first + sum(counts)], row_shape, counts)
                started = perf_counter()
                self._count(self.writer.finish_many(items, texts, counts))
                seconds["write"] += perf_counter() - started
                continue
            result, first, stop, rejected, last = segment
            if stop > first:
                result.add_rows(encode_json(predictions[first:stop], row_shape), stop - first)
            if rejected:
                result.add_rows(form.rejected, 1)
            if last:
                started = perf_counter()
                self._count(self.writer.finish(result))
                seconds["write"] += perf_counter() - started
        written = seconds["write"] - written
        seconds["format"] += perf_counter() - forwarded - written

    def _count(self, named: list[Finished]) -> None:
        report = self.report
        for item, span, rows in named:
            report.records += rows
            if span is None:
                report.inputs += 1
                report.bytes_read += item.size
            else:
                report.spans.append(span)
                report.bytes_read += span.stop - span.start
