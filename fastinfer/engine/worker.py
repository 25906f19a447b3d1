"""What one worker does with its shard: read, decode, predict, print, write; the same for every backend.

Rows are decoded into the batch, which is the memory that the bound graph reads. When the batch is full it is run, and each
row's text is added to the result of its object. Results are finished in the order of the inputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from ..codecs.base import DONE, BadRecord, Decoder, Outcome
from ..errors import FastinferError, InputError, ModelError
from ..outputs.rejects import MOST_RECORD_BYTES
from ..outputs.writer import OutputWriter, Result
from ..records.compression import AUTO, NONE
from ..records.reading import (
    SMALL_OBJECT_BYTES,
    Chunk,
    Group,
    OpenSpans,
    SeveralPayloads,
    open_items,
    read_ahead,
    read_chunks,
    read_groups,
)
from ..records.spans import Span, whole
from ..runtimes.predictions import by_record
from ..runtimes.refused import REFUSED, predict
from ..storage.base import Object
from .batch import Batch, Objects, Segment
from .job import Job, ShardReport
from .plan import Shard
from .process import WorkerProcess, Workspace, end_if_orphaned, prepare
from .recorder import Recorder

if TYPE_CHECKING:
    from .filtered import FilteredDecoder
    from .payloads import PayloadRun
    from .refusals import Refusals

T = TypeVar("T")

# After this many bytes of rejected records a batch is run even if it is not full: if nearly all are bad, it would never fill.
MOST_REJECTED_BYTES = 1 << 20


class Stopped(Exception):
    """The run must end early; the current object is left for the next run."""


def run_shard(shard: Shard, job: Job, opened: OpenSpans | None = None) -> ShardReport:
    """Transforms the objects of a shard. An error is returned in the report, not raised, so that finished work is counted.

    Args:
        shard: what to transform.
        job: the job.
        opened: what reads the shard's spans, if that was begun; it is closed in the end.
    """
    with opened or contextlib.nullcontext():
        try:
            process = prepare(job)
        except FastinferError as error:
            return ShardReport(shard.number, error=error)
        if not job.by_rows:
            return _payload_run(job, ShardReport(shard.number), process).run(shard)
        with process.workspaces.lend() as workspace:
            try:
                return _ShardRun(shard, job, workspace, process).run(opened)
            finally:
                for buffer in workspace.buffers:
                    del buffer[job.limits.chunk_bytes :]  # shrinks a buffer that grew for a long line


def _payload_run(job: Job, report: ShardReport, process: WorkerProcess) -> PayloadRun:
    from .payloads import PayloadRun  # late: most runs are of rows

    return PayloadRun(job, process.handler(), report, process)


class _ShardRun:
    """One worker's run over one shard.

    So many attributes: the stages that it calls, and what each of them holds.
    """

    def __init__(self, shard: Shard, job: Job, workspace: Workspace, process: WorkerProcess) -> None:
        self.shard = shard
        self.job = job
        self.workspace = workspace
        self.process = process
        self.decoded = 0  # bytes since the progress was last told
        self.report = ShardReport(shard.number)
        self.batch = Batch(workspace.ladder)
        self.filtered: FilteredDecoder | None = None
        if job.request.processes:
            from .filtered import FilteredDecoder, columns_of  # late: most runs neither filter nor join

            self.filtered = FilteredDecoder(job, columns_of(workspace.ladder.outputs[0].shape))
        self.decoder: Decoder = self.filtered or job.codec.decoder(
            job.model.row_shape, line_is_record=job.line_is_record
        )
        self.writer = OutputWriter(job.layout, job.store, job.encoder.form, job.claim)
        self.recorder = Recorder(job, self.report)
        self.refusals: Refusals | None = None  # takes out what the model refuses
        self.values = self.bad_records = 0  # that were read of the object
        self.payloads: PayloadRun | None = None  # transforms objects that turn out to be no rows

    def run(self, opened: OpenSpans | None) -> ShardReport:
        items = self.shard.items
        # Objects outside of groups use the buffer into which no group is being read.
        buffer = self.workspace.buffers[1]
        try:
            groups = read_groups(self.job.inputs, items, self.workspace.buffers)
            rows = [item for item in items if isinstance(item, Span) or self.job.takes_rows(item.size)]
            opening = opened or open_items(self.job.inputs, rows, self.job.limits.chunk_bytes)
            # Spans come unread, a single object has no next one, and what is far away is read ahead by its store.
            ahead = len(items) > 1 and not isinstance(opening, OpenSpans) and not self.job.inputs.ahead_bytes
            with (
                opening,
                contextlib.closing(read_ahead(groups) if ahead else groups) as read,
            ):
                for item in self._on_clock("read", read):
                    if self.process.stop.is_set():
                        break
                    if isinstance(item, Group):
                        buffer = item.buffer
                        self._transform_group(item)
                    else:
                        chunks = read_chunks(
                            self.job.inputs,
                            item,
                            buffer,
                            self.job.limits.line_bytes,
                            framing=self.job.codec.framing,
                            compression=self.job.request.compression_type,
                            payload_bytes=self.job.payload_bytes,
                            opened=opening,
                        )
                        self._transform(item, buffer, self._on_clock("read", chunks))
        except Stopped:
            pass
        except Exception as error:
            self.report.fail(error, items)
        self.decoder.release()
        # Also after an error: objects before the failed one are finished.
        for step in (self._run_batch, self._write):
            try:
                step()
            except Exception as error:
                self.report.fail(error, items)
        self.writer.close()
        return self.report

    def _write(self) -> None:
        """Gives finished results their names."""
        if self.payloads is not None:
            self.payloads.finish()
        end_if_orphaned(self.job)
        started = perf_counter()
        self.recorder.count(self.writer.flush())
        self.recorder.write_rejects()
        self.report.seconds["write"] += perf_counter() - started

    def _on_clock(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The items; the time to get each one is added to the stage."""
        while True:
            started = perf_counter()
            item = next(items, None)
            self.report.seconds[stage] += perf_counter() - started
            if item is None:
                return
            yield item

    def _transform_group(self, group: Group) -> None:
        """Decodes small objects into the batch, many in one call; those with errors, or too many rows, one by one."""
        first, batch, job = 0, self.batch, self.job
        # Where a kind of compression is named, none of the objects may be read as it is.
        compression = job.request.compression_type
        is_named = compression not in (NONE, AUTO)
        while first < len(group.items) and not self.process.stop.is_set():
            started = perf_counter()
            counts = []
            if not is_named:
                counts = self.decoder.fill_bodies(group.buffer, group.bounds, first, batch.rows, batch.filled)
            self.report.seconds["parse"] += perf_counter() - started
            if counts:
                batch.add_objects(group.items[first : first + len(counts)], counts)
                self.decoded += group.bounds[first + len(counts) - 1][0] - (group.bounds[first - 1][0] if first else 0)
                self.report.records_read += sum(counts)
                self.report.failed_at += len(counts)
                first += len(counts)
            if first < len(group.items):
                # It has an error, does not fit into the batch, or is compressed.
                buffer, chunks = group.buffer, group.chunks(first)
                if is_named or (compression == AUTO and group.is_compressed(first)):
                    buffer, chunks = self._expanded(group, first)
                self._transform(whole(group.items[first]), buffer, chunks)
                first += 1

    def _expanded(self, group: Group, index: int) -> tuple[bytearray, Iterator[Chunk]]:
        """A small object's expanded bytes, in chunks, and the buffer in which they are."""
        buffer = bytearray(SMALL_OBJECT_BYTES)
        job = self.job
        return buffer, group.expand(
            index, job.request.compression_type, buffer, job.limits.line_bytes, job.codec.framing, job.payload_bytes
        )

    def _transform(self, span: Span, buffer: bytearray, chunks: Iterator[Chunk]) -> None:
        """Decodes a span into the batch."""
        if not self.job.takes_rows(span.item.size):
            self._transform_payloads(span.item)
            return
        result = self.writer.open(span)
        self.batch.begin()
        try:
            if span.item.problem is not None:
                raise span.item.problem
            self._decode(result, buffer, chunks)
        except BaseException as error:
            as_payloads = isinstance(error, InputError) and self._may_be_payloads(span, error)
            if isinstance(error, InputError) and not as_payloads:
                error = self._first_error(result, error)
            # Nothing of it may be written, also not its rows in the batch.
            self.batch.drop(result)
            if self.filtered is not None:
                self.filtered.keep(self.batch.filled // self.job.model.row_values)
            result.drop()
            if as_payloads:
                self._transform_payloads(span.item)
                return
            if isinstance(error, InputError) and error.path is None:
                error = error.at(path=span.item.uri)
            if not (self.job.quarantine and isinstance(error, InputError)):
                raise error
            self.recorder.refuse(span, error)
        else:
            self.batch.close(result, last=True)
        self.report.failed_at += 1

    def _first_error(self, result: Result, error: InputError) -> InputError:
        """The first error of an object: the model may refuse a record before that of the error, which waits to be computed."""
        if self.job.rejects_records or not self.batch.holds(result):
            return error
        self.batch.close(result)
        try:
            self._run_batch()
        except InputError as refused:
            return refused
        return error

    def _may_be_payloads(self, span: Span, error: InputError) -> bool:
        """Whether an object that has an error as rows may have an answer as payloads."""
        if isinstance(error, SeveralPayloads):
            return True
        if error.code == REFUSED:
            return False  # it was a row
        if self.job.request.is_single:
            return True  # a line that is not one row may be several
        # A graph may also take rows of other shapes than the model's own.
        return error.code == "bad_shape" and not self.job.codec.framing.has_lines and span.is_whole

    def _transform_payloads(self, item: Object) -> None:
        """Transforms an object that is not the rows of shared batches."""
        if self.payloads is None:
            self.payloads = _payload_run(self.job, self.report, self.process)
        self.payloads.transform(item)

    def _decode(self, result: Result, buffer: bytearray, chunks: Iterator[Chunk]) -> None:
        """Decodes chunks into the batch, and runs the batch when it is full."""
        span, decoder = result.span, self.decoder
        decoder.begin(span.columns)
        self.values = self.bad_records = 0
        for chunk in chunks:
            try:
                self._start(result, buffer, chunk)
                while (outcome := self._fill()) is not DONE:
                    if isinstance(outcome, BadRecord):
                        lines = chunk.lines
                        if lines is None:
                            lines = self.process.line_counts.before(span.item, chunk.base)
                        error = outcome.error.at(path=span.item.uri, line=(outcome.error.line or 0) + lines)
                        if not self.job.rejects_records:
                            self.batch.filled -= outcome.values
                            raise error
                        self._pass_over(result, error, outcome, buffer, chunk.base - chunk.start)
                    else:
                        if self.process.stop.is_set():
                            raise Stopped
                        self.batch.close(result)
                        self._run_batch()
            finally:
                decoder.release()
            self.decoded += chunk.stop - chunk.start
        try:
            decoder.end(may_be_empty=not span.is_whole)
        except InputError as error:
            shape = f"the model takes records of shape {self.job.model.row_shape}"
            raise error.at(path=span.item.uri, hint=shape if error.code == "partial_row" else None) from None
        self.report.records_read += self.values // self.job.model.row_values + self.bad_records

    def _start(self, result: Result, buffer: bytearray, chunk: Chunk) -> None:
        try:
            self.decoder.start(buffer, chunk.start, chunk.stop, first=chunk.base == 0)
        except InputError as error:  # of the columns
            raise error.at(path=result.span.item.uri) from error
        if self.filtered is not None and self.filtered.head:
            result.add_head(self.filtered.head)

    def _fill(self) -> Outcome:
        started = perf_counter()
        outcome = self.decoder.fill(self.batch.rows, self.batch.filled)
        self.report.seconds["parse"] += perf_counter() - started
        self.batch.filled += self.decoder.written
        self.values += self.decoder.written
        if isinstance(outcome, BadRecord):
            self.values -= outcome.values
            self.bad_records += 1
        return outcome

    def _pass_over(self, result: Result, error: InputError, record: BadRecord, buffer: bytearray, base: int) -> None:
        """Removes a bad record from the batch, and marks its place. The buffer begins at byte `base` of the object."""
        self.batch.filled -= record.values
        self.batch.close(result, rejected=True)
        size = record.stop - record.start
        text = bytes(buffer[record.start : record.stop]) if size <= MOST_RECORD_BYTES else None
        bounds = (base + record.start, base + record.stop)
        self.recorder.reject_record(result.span, error, text, bounds)
        if self.batch.has_many_segments or self.recorder.held_bytes >= MOST_REJECTED_BYTES:
            self._run_batch()

    def _run_batch(self) -> None:
        """Runs the filled part of the batch, and adds its rows to their results."""
        records, segments = self.batch.records, self.batch.take()
        end_if_orphaned(self.job)
        self.recorder.write_rejects()
        if not segments:
            return
        try:
            self._finish_batch(segments, records)
        except BaseException:
            for segment in segments:
                if isinstance(segment, Segment):
                    segment.result.drop()
            raise
        self.process.progress.advance(records, self.decoded)
        self.decoded = 0

    def _check(self, records: int, predicted: tuple[memoryview, ...]) -> None:
        """Compares the first batch of the process with itself, before anything of it is written. Raises ModelError."""
        self.process.is_checked = records >= self.workspace.ladder.least_checked
        if not self.workspace.ladder.gives_again(records, predicted):
            self.process.is_checked = False
            raise ModelError(
                "its records influence each other: in the first batch some get other bits at another place",
                code="mixed_rows",
                path=self.job.model.path,
                hint="compute each record by itself (exact)",
            )

    def _finish_batch(self, segments: list[Segment | Objects], records: int) -> None:
        """Runs the model, and adds the rows of the batch to their results."""
        seconds, ladder, encoder = self.report.seconds, self.workspace.ladder, self.job.encoder
        started = perf_counter()
        row_shape = ladder.outputs[0].shape
        predicted, refused = predict(ladder, records) if records else ((), {})
        predictions = by_record(ladder.outputs, predicted) if predicted else memoryview(b"")
        if predicted and not self.process.is_checked:
            self._check(records, predicted)
        segments, problem = self._without(segments, refused, records)
        forwarded = perf_counter()
        seconds["forward"] += forwarded - started
        written = seconds["write"]
        lines = self.filtered.take() if self.filtered is not None and self.job.request.prints_lines else None
        for segment in segments:
            if isinstance(segment, Objects):
                items, counts, first = segment
                rows = predictions[first : first + sum(counts)]
                texts = (
                    encoder.encode_bodies(rows, row_shape, counts)
                    if lines is None
                    else lines.print_bodies(rows, first, counts)
                )
                started = perf_counter()
                self.recorder.count(self.writer.finish_many(items, texts, counts))
                seconds["write"] += perf_counter() - started
                continue
            result, first, stop, rejected, last = segment
            if stop > first:
                rows = predictions[first:stop]
                text = encoder.encode_rows(rows, row_shape) if lines is None else lines.print(rows, first)
                result.add_rows(text, stop - first)
            if rejected:
                result.add_rejected()
            if last:
                started = perf_counter()
                self.recorder.count(self.writer.finish(result))
                seconds["write"] += perf_counter() - started
        written = seconds["write"] - written
        seconds["format"] += perf_counter() - forwarded - written
        if problem is not None:
            raise problem

    def _without(
        self, segments: list[Segment | Objects], refused: dict[int, ModelError], records: int
    ) -> tuple[list[Segment | Objects], InputError | None]:
        """The segments without what the model refuses; and what is to be raised when they are finished."""
        self.process.refused.count(refused, records)
        if not refused:
            return segments, None
        if self.refusals is None:
            from .refusals import Refusals  # late: most models refuse nothing

            self.refusals = Refusals(self.job, self.report, self.recorder, self.writer, self.process.line_counts)
        kept, problem = self.refusals.take_out(segments, refused)
        self.recorder.write_rejects()
        return kept, problem
