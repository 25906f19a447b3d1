"""What one worker does with its shard: read, parse, forward, format, write. It does not know who calls it.

Records of many files share a batch: a file's rows are parsed into the batch that is being filled, straight into the memory
that the bound graph reads; when the batch is full it is run, and each row's text goes to the output of the file it came
from. Outputs are finished in the order of the inputs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from .encode import encode_json
from .errors import InputError
from .executor import Executor, ExecutorPool
from .inputs import CHUNK_BYTES, Chunk, InputFile, read_bodies, read_chunks
from .kernels import CODES, CsvParser, count_lines, csv_error, find_line_start
from .outputs import OutputFile, OutputFolder, OutputWriter

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


# What a worker's time goes into, in the order of the data.
STAGES = ("read", "parse", "forward", "format", "write")


@dataclass(frozen=True)
class CsvOptions:
    """What is accepted beyond plain numbers: a comment sign, a value for empty cells, a first line to pass over."""

    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False


@dataclass(frozen=True)
class Job:
    """What every worker of a run has in common.

    Attributes:
        executors: a bound graph for each worker.
        row_shape: shape of one record.
        csv: how files are read.
        output: the folder of the results.
        stop: set when the run is to end early; a worker looks at it before each file and each batch.
    """

    executors: ExecutorPool
    row_shape: tuple[int, ...]
    csv: CsvOptions
    output: OutputFolder
    stop: threading.Event


@dataclass(frozen=True)
class Shard:
    """A part of the run: whole files, and its number in the order of the inputs."""

    number: int
    files: Sequence[InputFile]


@dataclass
class ShardReport:
    """What became of a shard.

    Attributes:
        number: the shard's.
        files: outputs finished.
        images: rows in them.
        bytes_read: size of their inputs.
        seconds: time spent in each stage.
        error: what stopped the shard, if anything did.
        failed_at: place of the file at fault in the shard, so that the first in the order of the inputs can be told.
    """

    number: int
    files: int = 0
    images: int = 0
    bytes_read: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    error: Exception | None = None
    failed_at: int = 0


class Stopped(Exception):
    """The run is to end early; the file at hand is left for the next one."""


def run_shard(shard: Shard, job: Job) -> ShardReport:
    """Transforms the files of a shard and reports; an error is returned, not raised, so that what was done is known."""
    with job.executors.lend() as executor:
        return _ShardRun(shard, job, executor).run()


class _Segment(NamedTuple):
    """Rows of one output in the batch that is being filled: predictions[first:stop], and whether the file ends there."""

    output: OutputFile
    first: int
    stop: int
    last: bool


class _ShardRun:
    def __init__(self, shard: Shard, job: Job, executor: Executor) -> None:
        self.shard = shard
        self.job = job
        self.executor = executor
        self.report = ShardReport(shard.number)
        self.seconds = self.report.seconds
        self.writer = OutputWriter(job.output, f"{os.getpid()}-{threading.get_ident()}")
        self.buffer = bytearray(CHUNK_BYTES)
        self.parser = CsvParser(comment=job.csv.comment, missing=job.csv.missing)
        self.row_values = executor.input.shape[1]
        self.flat = executor.input.reshape(-1)
        self.filled = 0  # values in the batch
        self.begin = 0  # where in the batch the values of the file at hand begin
        self.segments: list[_Segment] = []

    def run(self) -> ShardReport:
        try:
            for place, (item, chunks) in enumerate(self._read()):
                self.report.failed_at = place
                if self.job.stop.is_set():
                    break
                self._transform(item, chunks)
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

    def _read(self) -> Iterator[tuple[InputFile, Iterator[Chunk]]]:
        """The shard's files, on the clock of the stage."""
        bodies = read_bodies(self.shard.files, self.buffer)
        while True:
            started = perf_counter()
            body = next(bodies, None)
            self.seconds["read"] += perf_counter() - started
            if body is None:
                return
            yield body

    def _transform(self, item: InputFile, chunks: Iterator[Chunk]) -> None:
        output = self.writer.open(item)
        output.add(b"[")
        self.begin = self.filled
        try:
            self._parse(output, chunks)
        except BaseException:
            self.filled = self.begin
            output.drop()
            raise
        segment = _Segment(output, self.begin // self.row_values, self.filled // self.row_values, True)
        self.segments.append(segment)

    def _parse(self, output: OutputFile, chunks: Iterator[Chunk]) -> None:
        """Parses a file into the batch, running it each time it is full."""
        parser, item = self.parser, output.item
        values = columns = 0
        for chunk in chunks:
            start = self._first_record(chunk) if chunk.base == 0 else chunk.start
            parser.reset(self.buffer, start, chunk.stop, columns)
            try:
                while True:
                    started = perf_counter()
                    count = parser.parse(self.flat, self.filled)
                    self.seconds["parse"] += perf_counter() - started
                    values += count
                    self.filled += count
                    if parser.done:
                        break
                    if CODES[parser.code].word != "output_full":
                        raise self._error(item, chunk)
                    if self.job.stop.is_set():
                        raise Stopped
                    first = self.begin // self.row_values
                    self.segments.append(_Segment(output, first, self.executor.batch_size, False))
                    self._run_batch()
                    self.begin = 0
                columns = parser.columns
            finally:
                # The buffer may have to grow for the next chunk.
                parser.release()
        if values == 0:
            raise InputError("there is no value in it", code="empty_input", path=item.path)
        if values % self.row_values:
            raise InputError(
                f"expected a multiple of {self.row_values} values, found {values:,}, {columns or parser.cells} in a line",
                code="partial_row",
                path=item.path,
                line=1,
                hint=f"the model takes records of shape {self.job.row_shape}",
            )

    def _first_record(self, chunk: Chunk) -> int:
        """Where in the buffer a file's records begin: behind a byte order mark, and behind a header to be skipped."""
        start = chunk.start
        if self.buffer.startswith(BYTE_ORDER_MARK, start, chunk.stop):
            start += len(BYTE_ORDER_MARK)
        if self.job.csv.skip_header and start < chunk.stop:
            with memoryview(self.buffer)[start : chunk.stop] as body:
                start += find_line_start(body, 1)
        return start

    def _error(self, item: InputFile, chunk: Chunk) -> InputError:
        """What the parser's code means, with its place in the file."""
        parser = self.parser
        with memoryview(self.buffer)[chunk.start : chunk.stop] as body:
            return csv_error(
                body,
                parser.code,
                parser.position - chunk.start,
                columns=parser.columns,
                path=item.path,
                first_line=1 + _count_lines_before(item.path, chunk.base),
            )

    def _run_batch(self) -> None:
        """Runs the batch as far as it is filled, and hands its rows to their outputs."""
        segments, self.segments, self.filled = self.segments, [], 0
        if not segments:
            return
        started = perf_counter()
        predictions = self.executor.forward()
        forwarded = perf_counter()
        self.seconds["forward"] += forwarded - started
        row_shape = self.executor.output_shape
        written = self.seconds["write"]
        for output, first, stop, last in segments:
            if stop > first:
                if output.rows:
                    output.add(b", ")
                output.rows += stop - first
                output.add(encode_json(predictions[first:stop], row_shape))
            if last:
                output.add(b"]")
                self._finish(output)
        written = self.seconds["write"] - written
        self.seconds["format"] += perf_counter() - forwarded - written

    def _finish(self, output: OutputFile) -> None:
        started = perf_counter()
        self._count(self.writer.finish(output))
        self.seconds["write"] += perf_counter() - started

    def _write(self) -> None:
        started = perf_counter()
        self._count(self.writer.flush())
        self.seconds["write"] += perf_counter() - started

    def _count(self, outputs: list[OutputFile]) -> None:
        for output in outputs:
            self.report.files += 1
            self.report.images += output.rows
            self.report.bytes_read += output.item.size


def _count_lines_before(path: str, end: int) -> int:
    """Lines before byte ``end`` of a file, where a chunk begins; read again, since only an error asks."""
    lines = 0
    buffer = bytearray(CHUNK_BYTES)
    for chunk in read_chunks(path, buffer) if end else ():
        if chunk.base >= end:
            break
        lines += count_lines(buffer, 0, chunk.stop)
    return lines
