"""What one worker does with its shard: read, parse, forward, format, write. It does not know who calls it.

Records of many files share a batch: a file's rows are parsed into the batch that is being filled, straight into the memory
that the bound graph reads; when the batch is full it is run, and each row's text goes to the output of the file it came
from. Outputs are finished in the order of the inputs.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._mxnet import INFERENCE_SETTINGS, load_mxnet
from .devices import open_contexts
from .encode import encode_json
from .errors import InputError
from .executor import Executor
from .inputs import CHUNK_BYTES, InputFile, read_chunks
from .kernels import CODES, CsvParser, count_lines, csv_error
from .model import Model
from .outputs import OutputFile, OutputFolder

# Each worker's bound graph, and the job it is of.
_local = threading.local()


@dataclass(frozen=True)
class Job:
    """What every worker of a run has in common.

    Attributes:
        token: a word that no other job has.
        model: the loaded model.
        devices: (kind, index) of each device; shards go to them in turn.
        batch_size: rows of one forward pass.
        row_wise: whether each row is computed as at batch size 1 (the container's bytes).
        output: the folder of the results.
        stop: set when the run is to end early; a worker looks at it before each file and each batch.
    """

    token: str
    model: Model
    devices: tuple[tuple[str, int], ...]
    batch_size: int
    row_wise: bool
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
        error: what stopped the shard, if anything did.
        failed_at: place of the file at fault in the shard, so that the first in the order of the inputs can be told.
    """

    number: int
    files: int = 0
    images: int = 0
    bytes_read: int = 0
    error: Exception | None = None
    failed_at: int = 0


class Stopped(Exception):
    """The run is to end early; the file at hand is left for the next one."""


def bind(job: Job, device: tuple[str, int]) -> Executor:
    """The job's graph, bound on a device."""
    mxnet = load_mxnet(INFERENCE_SETTINGS)
    (context,) = open_contexts([device])
    return Executor(mxnet, job.model, context, job.batch_size, row_wise=job.row_wise)


def run_shard(shard: Shard, job: Job) -> ShardReport:
    """Transforms the files of a shard and reports; an error is returned, not raised, so that what was done is known."""
    device = job.devices[shard.number % len(job.devices)]
    # A worker runs many shards of a job; binding the graph again for each would cost more than running it.
    key = (job.token, device)
    if getattr(_local, "key", None) != key:
        _local.key, _local.executor = key, bind(job, device)
    return _ShardRun(shard, job, _local.executor).run()


@dataclass
class _Segment:
    """Rows of one output in the batch that is being filled: first row, row behind the last, whether the file ends there."""

    output: OutputFile
    first: int
    stop: int
    last: bool
    size: int


@dataclass
class _ShardRun:
    shard: Shard
    job: Job
    executor: Executor
    filled: int = 0  # values in the batch
    segments: list[_Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.worker = f"{os.getpid()}-{threading.get_ident()}"
        self.report = ShardReport(self.shard.number)
        self.row_values = self.job.model.row_values
        self.flat = self.executor.input.reshape(-1)
        self.buffer = bytearray(CHUNK_BYTES)
        self.parser = CsvParser()

    def run(self) -> ShardReport:
        for place, item in enumerate(self.shard.files):
            if self.job.stop.is_set():
                break
            try:
                self._transform(item)
            except Stopped:
                break
            except Exception as error:
                self.report.error, self.report.failed_at = error, place
                break
        try:
            # Also after an error: files before the one at fault are finished.
            self._run_batch()
        except Exception as error:
            self.report.error = self.report.error or error
        self.parser.release()
        return self.report

    def _transform(self, item: InputFile) -> None:
        output = self.job.output.create(item, self.worker)
        # Where the file's rows begin in the current batch.
        self.begin = self.filled
        try:
            self._parse(item, output)
        except BaseException:
            self.filled = self.begin
            output.drop()
            raise
        rows = slice(self.begin // self.row_values, self.filled // self.row_values)
        self.segments.append(_Segment(output, rows.start, rows.stop, True, item.size))

    def _parse(self, item: InputFile, output: OutputFile) -> None:
        """Parses a file into the batch, running it each time it is full."""
        parser, values, columns, lines_end = self.parser, 0, 0, 0
        output.add(b"[")
        for stop, base in read_chunks(item.path, self.buffer):
            start = 3 if base == 0 and self.buffer.startswith(b"\xef\xbb\xbf") else 0
            parser.reset(self.buffer, start, stop, columns)
            try:
                while True:
                    count = parser.parse(self.flat, self.filled)
                    values += count
                    self.filled += count
                    if parser.done:
                        break
                    if CODES[parser.code].word != "output_full":
                        raise self._error(item, parser, stop, base)
                    if self.job.stop.is_set():
                        raise Stopped
                    first = self.begin // self.row_values
                    self.segments.append(_Segment(output, first, self.job.batch_size, False, 0))
                    self._run_batch()
                    self.begin = 0
                columns, lines_end = parser.columns, base + stop
            finally:
                parser.release()
        if values == 0:
            raise InputError(
                "there is no value in it", code="empty_input", path=item.path, hint="remove it, or name another folder"
            )
        if values % self.row_values:
            raise InputError(
                f"expected a multiple of {self.row_values} values, found {values} "
                f"({columns or parser.cells} in a line, {lines_end:,} bytes)",
                code="partial_row",
                path=item.path,
                line=1,
                hint=f"the model takes records of shape {self.job.model.row_shape}",
            )

    def _error(self, item: InputFile, parser: CsvParser, stop: int, base: int) -> InputError:
        first_line = 1 + _count_lines_before(item.path, base)
        with memoryview(self.buffer)[:stop] as body:
            return csv_error(
                body, parser.code, parser.position, columns=parser.columns, path=item.path, first_line=first_line
            )

    def _run_batch(self) -> None:
        """Runs the batch as far as it is filled, and hands its rows to their outputs."""
        segments, self.segments, self.filled = self.segments, [], 0
        if not segments:
            return
        predictions = self.executor.forward()
        for segment in segments:
            output = segment.output
            if segment.stop > segment.first:
                if output.rows:
                    output.add(b", ")
                output.rows += segment.stop - segment.first
                output.add(encode_json(predictions[segment.first : segment.stop], self.executor.output_shape))
            if segment.last:
                output.add(b"]")
                output.finish()
                self.report.files += 1
                self.report.images += output.rows
                self.report.bytes_read += segment.size


def _count_lines_before(path: str, end: int) -> int:
    """Lines before byte ``end`` of a file, where a chunk begins; read again, since only an error asks."""
    buffer = bytearray(CHUNK_BYTES)
    chunks = itertools.takewhile(lambda chunk: chunk[1] < end, read_chunks(path, buffer))
    return sum(count_lines(buffer, 0, stop) for stop, _ in chunks)
