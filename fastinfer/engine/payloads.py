"""What one worker does with a shard of payloads: an object is expanded, split into records, and gathered to payloads; each
payload is answered as one request; the answers are assembled to the object's result.

It is the road for everything that the rows of worker.py are not: a model's own code, content types that are whole
documents, payloads with a limit. Payloads of many objects are answered together, because the model then computes full batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from ..codecs.base import Form, empty_input
from ..errors import FastinferError, InputError, OutputError, said
from ..handlers.request import Answer, Request
from ..outputs.rejects import MOST_RECORD_BYTES
from ..outputs.writer import OutputWriter, Result
from ..records.reading import OpenObjects
from ..records.spans import Span, whole
from ..records.split import Payload
from ..storage.base import Object
from .formats import NPY, accepted_of
from .job import Job, ShardReport
from .payload_reading import has_documents, payloads_of, split_type_of
from .plan import Shard
from .process import WorkerProcess, end_if_orphaned
from .processed import Prepared, Processing, make_processing
from .recorder import Recorder
from .request import CSV, JSON, JSON_LINES, LINE, NONE, RECORDIO, SINGLE, TransformRequest

if TYPE_CHECKING:
    from ..handlers.hooks import Handler

# Payloads that are answered together: enough to fill batches, few enough to hold.
MOST_PAYLOADS = 512
MOST_PAYLOAD_BYTES = 4 << 20


def _has_records(request: TransformRequest) -> bool:
    """Whether a payload is one record of its object."""
    return request.strategy == SINGLE or _splits_documents(request)


def _prints_own_lines(job: Job) -> bool:
    """Whether lines of CSV are made of a model's own answers, not of those of its code, which may want rows together."""
    return job.code is None and job.request.prints_lines


def _splits_documents(request: TransformRequest) -> bool:
    """Whether an object is split into JSON documents, each of which has an answer of its own."""
    return has_documents(request) and split_type_of(request) != NONE


def _rejected(request: TransformRequest, line_end: bytes) -> bytes:
    """What stands in the place of a payload of one record that is rejected: a line of its own where answers are lines."""
    if request.processes:
        ends = request.prints_lines or request.essence == JSON_LINES
        return b"null\n" if ends else b"null" + line_end
    return (b"[null]" if accepted_of(request) == JSON else b"null\n") + line_end


class _Open:
    """An object whose payloads are being answered.

    Attributes:
        result: its unfinished result.
        processing: filters and joins; None: there are none.
        waiting: payloads that have no answer yet.
        records: those that were read, of answered payloads.
        nulls: rejected records before the first answer, from which the line follows that the result begins with.
        is_empty: whether no payload of it has a record.
        is_read: whether all of it was read.
        error: why it has failed; nothing more is done for it.
    """

    __slots__ = ("error", "is_empty", "is_read", "nulls", "processing", "records", "result", "waiting")

    def __init__(self, result: Result, processing: Processing | None) -> None:
        self.result = result
        self.processing = processing
        self.waiting = 0
        self.records = 0
        self.nulls = 0
        self.is_empty = True
        self.is_read = False
        self.error: Exception | None = None

    def add(self, text: bytes, rows: int) -> None:
        """Adds an answer to the result."""
        head = b"" if self.processing is None else self.processing.take_head()
        if head:
            self.result.add_head(head)
        self.add_nulls()
        self.result.add_rows(text, rows)

    def add_nulls(self) -> None:
        """Adds what stands for the rejected records that have waited for the first answer."""
        for _ in range(self.nulls):
            self.result.add_rejected()
        self.nulls = 0


class _Waiting(NamedTuple):
    """A payload that is to be answered; or, with its problem, one whose reject has its place among the answers."""

    object: _Open
    payload: Payload
    prepared: Prepared | None
    problem: InputError | None = None


class PayloadRun:
    """Transforms objects payload by payload.

    Args:
        job: of the run.
        handler: answers payloads.
        report: of the shard; is updated.
        process: says when the run must end early, and is told of its progress.
    """

    def __init__(self, job: Job, handler: Handler, report: ShardReport, process: WorkerProcess) -> None:
        self._job = job
        self._handler = handler
        self._report = report
        self._process = process
        self._line_end = b"\n" if job.request.assemble_with == LINE else b""
        form = Form(b"", b"", b"", _rejected(job.request, self._line_end))
        self._writer = OutputWriter(job.layout, job.store, form, job.claim)
        self._recorder = Recorder(job, report)
        self._waiting: list[_Waiting] = []
        self._held = 0
        self._limit = job.request.payload_bytes or None
        # Each row is a payload of its own where a bad one is rejected by itself; together they are less work.
        self._by_record = job.rejects_records and _prints_own_lines(job)

    def run(self, shard: Shard) -> ShardReport:
        """Transforms the objects of a shard. An error is returned in the report, so that finished work is counted."""
        try:
            items = [item.item if isinstance(item, Span) else item for item in shard.items]
            with self._open_objects(items) as opened:
                for item in items:
                    if self._process.stop.is_set():
                        break
                    self._transform(item, opened)
        except Exception as error:
            self._report.fail(error, shard.items)
        try:
            self.finish()
        except Exception as error:
            self._report.fail(error, shard.items)
        return self._report

    def transform(self, item: Object) -> None:
        """Reads an object, and answers its payloads as soon as there are enough.

        Raises:
            InputError: it cannot be used, and the run stops at that.
            FastinferError: the model or a result cannot be used.
        """
        with self._open_objects([item]) as opened:
            self._transform(item, opened)

    def _open_objects(self, items: Iterable[Object]) -> OpenObjects:
        return OpenObjects(self._job.inputs, items, self._job.limits.chunk_bytes)

    def _transform(self, item: Object, reading: OpenObjects) -> None:
        job = self._job
        processing = make_processing(job.request, job.options, code=job.code is not None)
        opened = _Open(self._writer.open(whole(item)), processing)
        try:
            if item.problem is not None:
                raise item.problem
            payloads = payloads_of(item, job.request, reading, job.limits, processing, by_record=self._by_record)
            for payload in self._on_clock(payloads):
                if opened.error is not None or self._process.stop.is_set():
                    break
                waiting = self._prepare(opened, payload)
                if waiting is None:
                    continue
                opened.is_empty = False
                opened.waiting += 1
                self._waiting.append(waiting)
                self._held += len(payload.content)
                if len(self._waiting) >= MOST_PAYLOADS or self._held >= MOST_PAYLOAD_BYTES:
                    self._answer()
            else:
                if opened.is_empty and opened.error is None and not self._process.stop.is_set():
                    raise empty_input(item.uri)
                opened.is_read = True
                if not opened.waiting and opened.error is None:  # its last payload may have failed just now
                    self._complete(opened)
        except InputError as error:
            if opened.waiting:
                self._answer()  # one of those before may have an error as well: the first one is told
            if opened.error is None:
                self._fail(opened, error)
        finally:
            if not opened.is_read and opened.error is None:  # the run ends here
                opened.error = InputError("the run was stopped", code="bad_input", path=item.uri)
                opened.result.drop()

    def finish(self) -> None:
        """Answers what is left, and gives results their names. Raises what the run stops at."""
        try:
            self._answer()
        finally:
            end_if_orphaned(self._job)
            started = perf_counter()
            self._recorder.write_rejects()
            self._recorder.count(self._writer.flush())
            self._recorder.write_rejects()
            self._report.seconds["write"] += perf_counter() - started

    def _answer(self) -> None:
        """Answers all waiting payloads, in order."""
        waiting, held, self._waiting, self._held = self._waiting, self._held, [], 0
        waiting = [each for each in waiting if each.object.error is None]
        if not waiting:
            return
        end_if_orphaned(self._job)
        self._recorder.write_rejects()
        started = perf_counter()
        requests = [self._request(each) for each in waiting if each.problem is None]
        answers = iter(self._handler.answer_many(requests) if requests else [])
        answered = perf_counter()
        self._report.seconds["forward"] += answered - started
        self._process.progress.advance(sum(len(each.payload.places) for each in waiting), held)
        for each in waiting:
            opened, answer = each.object, each.problem or next(answers)
            if opened.error is not None:
                continue
            opened.waiting -= 1
            try:
                if isinstance(answer, Exception):
                    raise answer
                self._take_answer(each, answer)
            except OutputError:
                raise
            except Exception as error:
                self._take_error(each, error)
            if opened.error is None and opened.is_read and not opened.waiting:
                self._complete(opened)
        self._report.seconds["write"] += perf_counter() - answered

    def _prepare(self, opened: _Open, payload: Payload) -> _Waiting | None:
        """Filters a payload; None where nothing of it is a record. Raises InputError where the whole object is rejected."""
        if opened.processing is None:
            return _Waiting(opened, payload, None)
        request = self._job.request
        try:
            prepared = opened.processing.prepare(payload.content)
        except InputError as error:
            # One of the columns, which has no line, is of the whole object.
            of_record = error.line is not None if self._by_record else _splits_documents(request)
            if of_record and self._job.rejects_records:
                return _Waiting(opened, payload, None, error)
            if request.essence == JSON_LINES:
                error = error.at(line=1)  # the only one
            raise payload.locate(error).at(path=opened.result.span.item.uri) from error
        return None if prepared is None else _Waiting(opened, payload, prepared)

    def _request(self, waiting: _Waiting) -> Request:
        request = self._job.request
        body = waiting.payload.content if waiting.prepared is None else waiting.prepared.body
        # Of a model's own answers rows are made, whatever the request accepts.
        accept = JSON if _prints_own_lines(self._job) and accepted_of(request) not in (CSV, JSON) else request.accept
        return Request(body, request.content_type, accept)

    def _take_answer(self, waiting: _Waiting, answer: Answer) -> None:
        opened, body, line_end = waiting.object, answer.body, self._line_end
        if opened.processing is not None and waiting.prepared is not None:
            body = opened.processing.finish(waiting.prepared, body, answer.content_type)
            if self._job.request.processes and self._job.request.essence == JSON_LINES and answer.content_type != NPY:
                body, line_end = body.rstrip(b"\n"), b"\n"
            if self._job.request.prints_lines:
                line_end = b""  # each row has its own
        # A user's code does not say how many rows it answers: then it is the records that it was given.
        rows = answer.rows or len(waiting.payload.places)
        opened.records += waiting.prepared.rows if waiting.prepared and self._job.request.prints_lines else rows
        opened.add(body + line_end, rows)

    def _take_error(self, waiting: _Waiting, error: Exception) -> None:
        opened, payload = waiting.object, waiting.payload
        item = opened.result.span.item
        if isinstance(error, InputError):
            if opened.processing is not None and waiting.prepared is not None:
                error = opened.processing.locate(waiting.prepared, error)
            problem = error if self._job.request.split_type == RECORDIO else payload.locate(error)
            if (
                problem.line is None
                and split_type_of(self._job.request) == LINE
                and (self._by_record or _has_records(self._job.request))
            ):
                problem = problem.at(line=payload.places[0].number)
            problem = problem.at(path=item.uri)
        elif isinstance(error, FastinferError):
            raise error  # of the model: no object would fare better
        else:
            message = f"the model's code failed: {type(error).__name__}: {said(error)}"
            problem = InputError(message, code="code_failed", path=item.uri).at(line=payload.places[0].number)
            problem.__cause__ = error
        if self._job.rejects_records and (self._by_record or _has_records(self._job.request)):
            place, content = payload.places[0], payload.content
            if split_type_of(self._job.request) == LINE:
                content = content.rstrip(b"\r\n")
            text = content if len(content) <= MOST_RECORD_BYTES else None
            bounds = (place.start, place.start + len(content))
            self._recorder.reject_record(opened.result.span, problem.at(line=place.number), text, bounds)
            opened.nulls += 1
            if opened.processing is None or not opened.processing.waits_for_head:
                opened.add_nulls()
            opened.records += 1
        else:
            self._fail(opened, problem)

    def _fail(self, opened: _Open, error: InputError) -> None:
        """Drops an object; raises the error if the run stops at it."""
        if error.path is None:
            error = error.at(path=opened.result.span.item.uri)
        opened.error = error
        opened.result.drop()
        if error.code == "payload_too_large" and self._limit is not None:
            message = f"{error.message}; MaxPayloadInMB is {self._job.request.max_payload}"
            hint = "allow larger payloads (max_payload), or split the objects by lines"
            error = InputError(message, code=error.code, path=error.path, hint=hint)
        if not self._job.quarantine:
            raise error
        self._recorder.refuse(opened.result.span, error)

    def _complete(self, opened: _Open) -> None:
        """Gives a result to the writer; its rejects are in the journal before."""
        opened.add_nulls()
        self._recorder.write_rejects()
        self._report.records_read += opened.records
        self._recorder.count(self._writer.finish(opened.result))
        self._report.failed_at += 1

    def _on_clock(self, items: Iterator[Payload]) -> Iterator[Payload]:
        while True:
            started = perf_counter()
            item = next(items, None)
            self._report.seconds["read"] += perf_counter() - started
            if item is None:
                return
            yield item
