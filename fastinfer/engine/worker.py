"""What one worker does with its shard: read, parse, forward, format, write. It does not know who calls it.

Records of many files share a batch: a file's rows are parsed into the batch that is being filled, straight into the memory
that the bound graph reads; when the batch is full it is run, and each row's text goes to the output of the file it came
from. Outputs are finished in the order of the inputs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from ..codecs.csv import CODES, CsvParser, count_lines, csv_error, empty_input, find_line_start, partial_row
from ..codecs.json import encode_json, encode_json_bodies
from ..errors import FastinferError, InputError
from ..models.module import Model
from ..options import check_machine
from ..outputs.folder import OutputFolder, Reject
from ..outputs.writer import Finished, OutputFile, OutputWriter
from ..runtimes.mxnet.graph import Executor, Pool, bind_executors
from ..runtimes.mxnet.library import INFERENCE_SETTINGS, load_mxnet
from ..storage.local import (
    BYTE_ORDER_MARK,
    CHUNK_BYTES,
    LINE_BYTES_LIMIT,
    Chunk,
    CsvOptions,
    Group,
    InputFile,
    Part,
    read_ahead,
    read_chunks,
    read_groups,
)
from .plan import Shard

T = TypeVar("T")

# What stands in the place of a record that was put aside.
REJECTED_ROW = b"null"

# How often a worker process looks whether its parent is there.
PARENT_CHECK_S = 0.5

# A batch is run at the latest when it holds so many pieces, or when so many bytes of records were put aside: where nearly
# all of them are, it would not fill.
MOST_SEGMENTS = 4096
MOST_REJECTED_BYTES = 1 << 20

OUTPUT_FULL, UNEQUAL_LINE = (
    next(code.number for code in CODES if code.word == word) for word in ("output_full", "unequal_line")
)

# What a worker's time goes into, in the order of the data.
STAGES: tuple[str, ...] = ("read", "parse", "forward", "format", "write")


@dataclass(frozen=True)
class Job:
    """What every worker of a run has in common; goes to other processes and machines as it is.

    Attributes:
        token: a word that no other job has.
        model: the model.
        devices: (kind, index) of each device; a process's graphs go to them in turn.
        batch_size: rows of one forward pass.
        row_wise: whether each row is computed as at batch size 1 (the container's bytes).
        csv: how files are read.
        output: the folder of the results.
        quarantine: whether bad records are put aside instead of ending the shard; a line is a record then.
        line_bytes: how long a line may be.
        settings: MXNet's, for the processes that run shards.
        depends_on: what the run's record says that its bytes depend on.
        parent: the process whose children run the shards, where they are to end with it; None for any other.
    """

    token: str
    model: Model
    devices: tuple[tuple[str, int], ...]
    batch_size: int
    row_wise: bool
    csv: CsvOptions
    output: OutputFolder
    quarantine: bool = False
    line_bytes: int = LINE_BYTES_LIMIT
    settings: dict[str, str] = field(default_factory=lambda: dict(INFERENCE_SETTINGS))
    depends_on: dict[str, Any] | None = None
    parent: int | None = None


@dataclass
class ShardReport:
    """What became of a shard.

    Attributes:
        number: the shard's.
        files: outputs finished.
        images: rows in them, those put aside included.
        rejected: records and whole files put aside.
        bytes_read: size of the inputs, or of the part of one, that was transformed.
        seconds: time spent in each stage.
        parts: parts finished.
        refused: parts of inputs that are to be put aside as a whole, and why.
        error: what stopped the shard, if anything did.
        failed_at: place of the item at fault in the shard, so that the first in the order of the inputs can be told.
    """

    number: int
    files: int = 0
    images: int = 0
    rejected: int = 0
    bytes_read: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    parts: list[Part] = field(default_factory=list)
    refused: list[tuple[Part, InputError]] = field(default_factory=list)
    error: Exception | None = None
    failed_at: int = 0


class Stopped(Exception):
    """The run is to end early; the file at hand is left for the next one."""


class Workspace(NamedTuple):
    """What one worker needs for itself, shard after shard.

    Attributes:
        executor: a bound graph.
        buffers: what is read lies there; one is read into while the other is used.
    """

    executor: Executor
    buffers: tuple[bytearray, bytearray]


class Runtime:
    """What the workers of one process share: workspaces, and the word to stop.

    Args:
        job: the job.
        workers: how many of this process's threads run shards at a time.
    """

    def __init__(self, job: Job, workers: int) -> None:
        mxnet = load_mxnet(job.settings)
        if job.depends_on is not None:
            check_machine(job.depends_on, mxnet.__version__)
        executors = bind_executors(mxnet, job.model, job.devices, workers, job.batch_size, row_wise=job.row_wise)
        self.workspaces = Pool(
            Workspace(executor, (bytearray(CHUNK_BYTES), bytearray(CHUNK_BYTES))) for executor in executors
        )
        self.stop = threading.Event()


# The runtime of the one job that this process works on, by the job's token.
_runtimes: dict[str, Runtime] = {}
_runtimes_lock = threading.Lock()


def prepare(job: Job, workers: int = 1) -> Runtime:
    """The job's runtime in this process, made at the first call. Another job's is let go."""
    with _runtimes_lock:
        if job.token not in _runtimes:
            _runtimes.clear()
            _runtimes[job.token] = Runtime(job, workers)
        return _runtimes[job.token]


def release(job: Job) -> None:
    """Lets the job's runtime in this process go."""
    with _runtimes_lock:
        _runtimes.pop(job.token, None)


def end_with_parent(parent: int) -> None:
    """Has this process end when its parent is gone, also while it waits for work and would see nothing of that."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, name="fastinfer-parent", daemon=True).start()


def run_shard(shard: Shard, job: Job) -> ShardReport:
    """Transforms the files of a shard and reports; an error is returned, not raised, so that what was done is known."""
    try:
        runtime = prepare(job)
    except FastinferError as error:
        return ShardReport(shard.number, error=error)
    with runtime.workspaces.lend() as workspace:
        try:
            return _ShardRun(shard, job, workspace, runtime.stop).run()
        finally:
            for buffer in workspace.buffers:
                del buffer[CHUNK_BYTES:]  # what a long line has made it grow


class _Segment(NamedTuple):
    """Rows of one output in the batch that is being filled: predictions[first:stop], and what follows them there."""

    output: OutputFile
    first: int
    stop: int
    rejected: bool = False  # a record that was put aside
    last: bool = False  # the end of the output


class _Files(NamedTuple):
    """Whole small files in the batch that is being filled, one behind another from row ``first`` on."""

    files: list[InputFile]
    counts: list[int]  # rows of each
    first: int


class _ShardRun:
    def __init__(self, shard: Shard, job: Job, workspace: Workspace, stop: threading.Event) -> None:
        self.shard = shard
        self.job = job
        self.executor, self.buffers = workspace
        self.stop = stop
        self.report = ShardReport(shard.number)
        self.seconds = self.report.seconds
        self.writer = OutputWriter(job.output, f"{os.getpid()}-{threading.get_ident()}")
        self.buffer = self.buffers[1]
        self.parser = CsvParser(comment=job.csv.comment, missing=job.csv.missing)
        self.row_values = self.executor.input.shape[1]
        self.flat = self.executor.input.reshape(-1)
        self.filled = 0  # values in the batch
        self.begin = 0  # where in the batch the values behind the last segment begin
        self.segments: list[_Segment | _Files] = []
        self.rejects: list[Reject] = []
        self.rejected_bytes = 0
        self.counted: tuple[InputFile | None, int, int] = None, 0, 0  # of a file, up to a byte, so many lines

    def run(self) -> ShardReport:
        try:
            groups = read_groups(self.shard.items, self.buffers)
            # Parts come unread, and behind a file alone there is no other.
            ahead = len(self.shard.items) > 1 and not isinstance(self.shard.items[0], Part)
            with contextlib.closing(read_ahead(groups) if ahead else groups) as items:
                for item in self._on_clock("read", items):
                    if self.stop.is_set():
                        break
                    if isinstance(item, Group):
                        self._transform_group(item)
                    else:
                        chunks = read_chunks(item, self.buffer, self.job.line_bytes)
                        self._transform(item, self._on_clock("read", chunks))
        except Stopped:
            pass
        except Exception as error:
            self.report.error = error
        self.parser.release()
        try:
            # Also after an error: files before the one at fault are finished.
            self._run_batch()
            self._write()
        except Exception as error:
            self.report.error = self.report.error or error
        return self.report

    def _on_clock(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The items; the time until each is there is the stage's."""
        while True:
            started = perf_counter()
            item = next(items, None)
            self.seconds[stage] += perf_counter() - started
            if item is None:
                return
            yield item

    def _transform_group(self, group: Group) -> None:
        """Parses small files into the batch in one call, as far as they are plain; the others one by one."""
        first, self.buffer = 0, group.buffer
        while first < len(group.files) and not self.stop.is_set():
            started = perf_counter()
            counts = self._parse_plain(group, first)
            self.seconds["parse"] += perf_counter() - started
            if counts:
                files = group.files[first : first + len(counts)]
                self.segments.append(_Files(files, counts, self.filled // self.row_values))
                self.filled += sum(counts) * self.row_values
                self.report.failed_at += len(counts)
                first += len(counts)
            if first < len(group.files):
                # There is an error in it, or it goes beyond the batch.
                self._transform(group.files[first], group.chunks(first))
                first += 1

    def _parse_plain(self, group: Group, first: int) -> list[int]:
        """Rows of each file from ``first`` on that is whole records and nothing else, up to one that is not."""
        if self.job.csv.skip_header:
            return []
        columns = self.row_values if self.job.quarantine else 0
        return self.parser.parse_bodies(
            self.buffer, group.bounds, first, self.flat, self.filled, self.row_values, columns
        )

    def _transform(self, item: InputFile | Part, chunks: Iterator[Chunk]) -> None:
        """Parses an item into the batch; its rows are predicted when that is full."""
        output = self.writer.open(item)
        self.begin = self.filled
        try:
            if output.file.problem is not None:
                raise output.file.problem
            self._parse(output, chunks)
        except BaseException as error:
            # None of it comes out, what is in the batch already included.
            self.filled = self.begin
            self.segments = [each for each in self.segments if isinstance(each, _Files) or each.output is not output]
            output.drop()
            if not (self.job.quarantine and isinstance(error, InputError)):
                raise
            if output.part is None:
                self._reject(output, error, None)
            else:
                # Of its other parts too there may be something to tell: the run tells it once.
                self.report.refused.append((output.part, error))
        else:
            self._close_segment(output, last=True)
        self.report.failed_at += 1

    def _parse(self, output: OutputFile, chunks: Iterator[Chunk]) -> None:
        """Parses chunks into the batch, running it each time it is full."""
        parser = self.parser
        # Where bad records are put aside a line is a record; else the first line tells, and only the total counts.
        columns = self.row_values if self.job.quarantine else output.part.columns if output.part else 0
        values = rejected = 0
        for chunk in chunks:
            start = self._first_record(chunk) if chunk.base == 0 else chunk.start
            error: InputError | None = None
            while True:
                parser.reset(self.buffer, start, chunk.stop, columns)
                try:
                    count, error = self._fill(output, chunk)
                    values += count
                    if error is None:
                        break
                    if not self.job.quarantine:
                        raise error
                    values -= parser.cells
                    rejected += 1
                    start = self._put_aside(output, chunk, error)
                finally:
                    # The buffer may have to grow for the next chunk.
                    parser.release()
            columns = parser.columns
        if values == rejected == 0 and output.part is None:
            raise empty_input(output.file.path)
        if values % self.row_values:
            raise partial_row(
                values,
                self.row_values,
                path=output.file.path,
                line=1,
                in_a_line=columns or parser.cells,
                hint=f"the model takes records of shape {self.job.model.row_shape}",
            )

    def _fill(self, output: OutputFile, chunk: Chunk) -> tuple[int, InputError | None]:
        """Parses up to the end of the chunk or the first error; returns the number of values, and the error."""
        parser = self.parser
        values = 0
        while True:
            started = perf_counter()
            count = parser.parse(self.flat, self.filled)
            self.seconds["parse"] += perf_counter() - started
            values += count
            self.filled += count
            if parser.done:
                return values, None
            if parser.code != OUTPUT_FULL:
                return values, self._error(output.file, chunk, parser.code)
            if self.job.quarantine and parser.cells == parser.columns:
                # The line goes on behind its last column: it is told now, while its cells are still in the batch.
                return values, self._error(output.file, chunk, UNEQUAL_LINE)
            if self.stop.is_set():
                raise Stopped
            self._close_segment(output)
            self._run_batch()

    def _first_record(self, chunk: Chunk) -> int:
        """Where in the buffer a file's records begin: behind a byte order mark, and behind a header to be skipped."""
        start = chunk.start
        if self.buffer.startswith(BYTE_ORDER_MARK, start, chunk.stop):
            start += len(BYTE_ORDER_MARK)
        if self.job.csv.skip_header and start < chunk.stop:
            with memoryview(self.buffer)[start : chunk.stop] as body:
                start += find_line_start(body, 1)
        return start

    def _error(self, file: InputFile, chunk: Chunk, code: int) -> InputError:
        """What a parser's code means, with its place in the file."""
        position = self.parser.position
        line_start = 1 + max(
            self.buffer.rfind(b"\n", chunk.start, position), self.buffer.rfind(b"\r", chunk.start, position)
        )
        line_start = max(line_start, chunk.start)
        with memoryview(self.buffer)[line_start : chunk.stop] as lines:
            stop = find_line_start(lines, min(position - line_start + 1, len(lines)))
            with lines[:stop] as line:
                return csv_error(
                    line,
                    code,
                    position - line_start,
                    columns=self.parser.columns,
                    path=file.path,
                    first_line=1 + self._lines_before(file, chunk, line_start),
                    comment=self.job.csv.comment,
                )

    def _lines_before(self, file: InputFile, chunk: Chunk, line_start: int) -> int:
        """Lines of a file before the one that begins at ``line_start`` in the buffer; counted only when an error asks, and
        on from where the last one did."""
        counted, end, lines = self.counted
        if counted is not file or end > chunk.base + line_start - chunk.start:
            end, lines = 0, 0
        if end < chunk.base:
            buffer = bytearray(CHUNK_BYTES)
            chunks = read_chunks(Part(file, end, chunk.base, 0), buffer, self.job.line_bytes)
            lines += sum(count_lines(buffer, 0, each.stop) for each in chunks)
            end = chunk.base
        lines += count_lines(self.buffer, chunk.start + end - chunk.base, line_start)
        self.counted = file, chunk.base + line_start - chunk.start, lines
        return lines

    def _put_aside(self, output: OutputFile, chunk: Chunk, error: InputError) -> int:
        """Takes the line at fault out of the batch and leaves its place empty; returns where the next line begins."""
        assert error.column is not None
        line_start = self.parser.position - (error.column - 1)
        with memoryview(self.buffer)[chunk.start : chunk.stop] as body:
            position = min(self.parser.position - chunk.start + 1, len(body))
            next_line = chunk.start + find_line_start(body, position)
        self.filled -= self.parser.cells
        self._close_segment(output, rejected=True)
        self._reject(output, error, bytes(self.buffer[line_start:next_line]).rstrip(b"\r\n"))
        self.rejected_bytes += next_line - line_start
        if len(self.segments) >= MOST_SEGMENTS or self.rejected_bytes >= MOST_REJECTED_BYTES:
            self._run_batch()
        return next_line

    def _reject(self, output: OutputFile, error: InputError, record: bytes | None) -> None:
        self.report.rejected += 1
        self.rejects.append(Reject.of(output.file, output.part, error, record))

    def _close_segment(self, output: OutputFile, *, rejected: bool = False, last: bool = False) -> None:
        """Notes whose the values behind the last segment are."""
        first, stop = self.begin // self.row_values, self.filled // self.row_values
        self.segments.append(_Segment(output, first, stop, rejected, last))
        self.begin = self.filled

    def _run_batch(self) -> None:
        """Runs the batch as far as it is filled, and hands its rows to their outputs."""
        segments, self.segments, self.filled, self.begin = self.segments, [], 0, 0
        self._end_with_parent()
        if self.rejects:
            # Before an output with a gap gets its name, the reason for the gap stands in the file of rejects.
            self.job.output.reject(self.rejects)
            self.rejects, self.rejected_bytes = [], 0
        if not segments:
            return
        started = perf_counter()
        predictions = self.executor.forward()
        forwarded = perf_counter()
        self.seconds["forward"] += forwarded - started
        row_shape = self.executor.output_shape
        written = self.seconds["write"]
        for segment in segments:
            if isinstance(segment, _Files):
                files, counts, first = segment
                texts = encode_json_bodies(predictions[first : first + sum(counts)], row_shape, counts)
                self._finish_files(files, texts, counts)
                continue
            output, first, stop, rejected, last = segment
            if stop > first:
                output.add_rows(encode_json(predictions[first:stop], row_shape), stop - first)
            if rejected:
                output.add_rows(REJECTED_ROW, 1)
            if last:
                self._finish(output)
        written = self.seconds["write"] - written
        self.seconds["format"] += perf_counter() - forwarded - written

    def _finish(self, output: OutputFile) -> None:
        started = perf_counter()
        self._count(self.writer.finish(output))
        self.seconds["write"] += perf_counter() - started

    def _finish_files(self, files: list[InputFile], texts: list[bytes], counts: list[int]) -> None:
        started = perf_counter()
        self._count(self.writer.finish_files(files, texts, counts))
        self.seconds["write"] += perf_counter() - started

    def _end_with_parent(self) -> None:
        """Ends a process whose parent was killed: the next run may hold the folder already."""
        parent = self.job.parent
        if parent is not None and parent not in (os.getpid(), os.getppid()):
            os._exit(1)

    def _write(self) -> None:
        self._end_with_parent()
        started = perf_counter()
        self._count(self.writer.flush())
        self.seconds["write"] += perf_counter() - started

    def _count(self, named: list[Finished]) -> None:
        report = self.report
        for file, part, rows in named:
            report.images += rows
            if part is None:
                report.files += 1
                report.bytes_read += file.size
            else:
                report.parts.append(part)
                report.bytes_read += part.stop - part.start
