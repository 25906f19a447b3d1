"""Writes results: each gets its name only when it is whole.

Small results are written in groups; a large one is an upload that gets its name at the end. A run that is killed at any moment
leaves finished results and temporary files, never half a result.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .._native.files import FILES_PER_CALL
from ..codecs.base import Form
from ..errors import FastinferError, InputError, OutputError
from ..records.spans import Span
from ..storage.atomic import NAME_ERRORS, unwritable
from ..storage.base import Object, Store, Upload, Writing
from ..storage.claim import Claim
from .label import Label
from .layout import OutputLayout

# How much of an unfinished result is held in memory before it is written to the store.
BUFFER_BYTES = 1 << 20
# Finished results are written together when they have this many bytes; larger groups only cost a copy.
GROUP_BYTES = 256 << 10


class Result:
    """The unfinished result of one object or span: rows are added until a writer finishes it.

    Attributes:
        span: the object or span.
        uri: its name when it is whole.
        rows: the number of rows so far, rejected records included.
        rejected: how many of them are rejected.
    """

    __slots__ = (
        "_form",
        "_held",
        "_label",
        "_problem",
        "_store",
        "_texts",
        "_upload",
        "rejected",
        "rows",
        "span",
        "uri",
    )

    def __init__(self, span: Span, uri: str, form: Form, store: Store, label: bytes | None = None) -> None:
        self.span = span
        self.uri = uri
        self.rows = 0
        self.rejected = 0
        self._form = form
        self._store = store
        self._label = label  # if nothing is rejected
        self._texts: list[bytes] = []
        self._held = 0
        self._upload: Upload | None = None
        self._problem: InputError | None = None

    def add_rows(self, text: bytes, count: int) -> None:
        """Adds rows that are printed and joined. Raises OutputError."""
        if self.rows:
            self._texts.append(self._form.between)
        elif self.span.is_whole:
            self._texts.append(self._form.head)
        self.rows += count
        self._texts.append(text)
        self._held += len(text)
        if self._held >= BUFFER_BYTES:
            self._send()

    def add_head(self, text: bytes) -> None:
        """Adds what stands before the first row, beside the form's own head."""
        self._texts.append(text)
        self._held += len(text)

    def add_rejected(self) -> None:
        """Adds what stands in the place of a rejected record. Raises OutputError."""
        self.rejected += 1
        self.add_rows(self._form.rejected, 1)

    def take(self) -> bytes | None:
        """The whole text, if nothing of it was written yet; None for a large result."""
        # The spans of a large object are put between head and tail when they are joined.
        if self.span.is_whole:
            self._texts.append(self._form.tail if self.rows else self._form.head + self._form.tail)
        return None if self._upload or self._problem else b"".join(self._texts)

    def finish(self, run: bytes) -> None:
        """Gives a large result its name. If it raises an error, nothing has the name.

        Args:
            run: the id of the run.

        Raises:
            OutputError: it cannot be written.
            InputError: ``output_name``.
        """
        self._send()
        if self._problem is not None:
            raise self._problem
        assert self._upload is not None
        try:
            self._upload.commit(Label(run, self.rejected, self.span.item.version).pack())
        except OutputError as error:
            problem = name_problem(self.span.item, self.uri, error.__cause__)
            if problem is not None:
                raise problem from error
            raise

    def drop(self) -> None:
        """Removes a result that cannot be finished."""
        self._texts.clear()
        if self._upload:
            self._upload.abort()

    def _send(self) -> None:
        content = b"".join(self._texts)
        self._texts.clear()
        self._held = 0
        try:
            if self._upload is None and self._problem is None:
                self._upload = self._store.begin(self.uri, label=self._label)
        except OutputError as error:
            self._problem = name_problem(self.span.item, self.uri, error.__cause__)
            if self._problem is None:
                raise
        if self._upload is not None:
            self._upload.write(content)


class Finished(NamedTuple):
    """A result that has its name.

    Attributes:
        item: the object.
        span: what of the object it is of; None: all.
        rows: how many rows it has, rejected records included.
        rejected: how many records are rejected.
        problem: why it could not get its name, if that is the object's fault.
    """

    item: Object
    span: Span | None
    rows: int
    rejected: int = 0
    problem: InputError | None = None


def name_problem(item: Object, uri: str, cause: BaseException | None) -> InputError | None:
    """What is wrong with an object whose result could not be written; None if it is not the object's name."""
    if not isinstance(cause, OSError) or cause.errno not in NAME_ERRORS:
        return None
    message = f"its output {uri} cannot have this name: {cause.strerror}"
    return InputError(message, code="output_name", path=item.uri)


class OutputWriter:
    """Gives one worker's results their names, small ones in groups.

    Args:
        layout: names of the run's results.
        store: where they go.
        form: how rows are joined.
        claim: is looked at before results get their names; None: the store does it, or nobody has to.
    """

    def __init__(self, layout: OutputLayout, store: Store, form: Form, claim: Claim | None = None) -> None:
        self._claim = claim
        self._layout = layout
        self._store = store
        self._form = form
        self._run = bytes.fromhex(layout.run)
        self._without_rejects = Label(self._run, 0, b"").pack()  # the version follows
        self._ready: list[Finished] = []
        self._uris: list[str] = []
        self._texts: list[bytes] = []
        self._labels: list[bytes] = []
        self._held = 0
        self._under_way: deque[tuple[list[Finished], list[str], Writing]] = deque()  # groups that are being written

    def open(self, span: Span) -> Result:
        """The empty result of an object or a span."""
        uri = self._layout.result(span.item) if span.is_whole else self._layout.span(span)
        return Result(span, uri, self._form, self._store, self._without_rejects + span.item.version)

    def finish(self, result: Result) -> list[Finished]:
        """Adds a whole result; returns the results that have just got their names. Raises OutputError."""
        span = result.span
        finished = Finished(span.item, None if span.is_whole else span, result.rows, result.rejected)
        text = result.take()
        if text is None:
            try:
                self._check()
                result.finish(self._run)
            except InputError as error:
                return [finished._replace(problem=error)]
            return [finished]
        self._ready.append(finished)
        self._uris.append(result.uri)
        self._texts.append(text)
        self._labels.append(Label(self._run, result.rejected, span.item.version).pack())
        self._held += len(text)
        return self._flush_when_full()

    def finish_many(self, items: Sequence[Object], texts: Sequence[bytes], rows: Sequence[int]) -> list[Finished]:
        """Adds the whole results of small objects; returns the results that have just got their names. Raises OutputError."""
        none = itertools.repeat(None)
        self._ready += map(Finished._make, zip(items, none, rows, itertools.repeat(0), none))
        self._uris += map(self._layout.result, items)
        self._texts += texts
        self._labels += [self._without_rejects + item.version for item in items]
        self._held += sum(map(len, texts))
        return self._flush_when_full()

    def flush(self) -> list[Finished]:
        """Writes all added results; returns those that have just got their names.

        Raises:
            OutputError: for the first that could not be written; the others have their names.
        """
        self._write()
        return self._wait(0)

    def close(self) -> None:
        """Waits for what is still being written after an error, so that nothing is written when the run has ended."""
        while self._under_way:
            with contextlib.suppress(FastinferError):
                self._under_way.popleft()[2].wait()

    def _flush_when_full(self) -> list[Finished]:
        if len(self._ready) < FILES_PER_CALL and self._held < GROUP_BYTES:
            return []
        self._write()
        return self._wait(self._store.groups_under_way)

    def _write(self) -> None:
        """Hands what was added to the store."""
        if self._ready:
            self._check()
            writing = self._store.write_many(self._uris, self._texts, self._labels)
            self._under_way.append((self._ready, self._uris, writing))
            self._ready, self._uris, self._texts, self._labels, self._held = [], [], [], [], 0

    def _check(self) -> None:
        """Raises OutputError (``folder_lost``) where the folder is not that of the run any more."""
        if self._claim is not None:
            self._claim.check()

    def _wait(self, most: int) -> list[Finished]:
        """Waits until no more than `most` groups are being written; returns the results of the others."""
        named: list[Finished] = []
        while len(self._under_way) > most:
            ready, uris, writing = self._under_way.popleft()
            for index, code in enumerate(writing.wait()):
                if code:
                    cause = OSError(code, os.strerror(code))
                    problem = name_problem(ready[index].item, uris[index], cause)
                    if problem is None:
                        raise unwritable(uris[index], cause)
                    ready[index] = ready[index]._replace(problem=problem)
            named += ready
        return named
