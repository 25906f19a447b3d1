"""Writes results: each gets its name only when it is whole.

Small results are written in groups; a large one is an upload that gets its name at the end. A run that is killed at any moment
leaves finished results and temporary files, never half a result.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

from .._native.files import FILES_PER_CALL
from ..codecs.base import Form
from ..records.spans import Span
from ..storage.atomic import unwritable
from ..storage.base import Object, Store, Upload
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
        rows: the number of rows so far.
    """

    __slots__ = ("_form", "_held", "_store", "_texts", "_upload", "rows", "span", "uri")

    def __init__(self, span: Span, uri: str, form: Form, store: Store) -> None:
        self.span = span
        self.uri = uri
        self.rows = 0
        self._form = form
        self._store = store
        self._texts: list[bytes] = []
        self._held = 0
        self._upload: Upload | None = None

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

    def take(self) -> bytes | None:
        """The whole text, if nothing of it was written yet; None for a large result."""
        # The spans of a large object are put between head and tail when they are joined.
        if self.span.is_whole:
            self._texts.append(self._form.tail if self.rows else self._form.head + self._form.tail)
        return None if self._upload else b"".join(self._texts)

    def finish(self) -> None:
        """Gives a large result its name. If it raises OutputError, nothing has the name."""
        self._send()
        assert self._upload is not None
        self._upload.commit(self.span.item.version)

    def drop(self) -> None:
        """Removes a result that cannot be finished."""
        self._texts.clear()
        if self._upload:
            self._upload.abort()

    def _send(self) -> None:
        content = b"".join(self._texts)
        self._texts.clear()
        self._held = 0
        self._upload = self._upload or self._store.begin(self.uri)
        self._upload.write(content)


class Finished(NamedTuple):
    """A result that has its name, with its number of rows. ``span`` is what it is of; None for a whole object."""

    item: Object
    span: Span | None
    rows: int


class OutputWriter:
    """Gives one worker's results their names, small ones in groups.

    Args:
        layout: names of the run's results.
        store: where they go.
        form: how rows are joined.
    """

    def __init__(self, layout: OutputLayout, store: Store, form: Form) -> None:
        self._layout = layout
        self._store = store
        self._form = form
        self._ready: list[Finished] = []
        self._uris: list[str] = []
        self._texts: list[bytes] = []
        self._held = 0

    def open(self, span: Span) -> Result:
        """The empty result of an object or a span."""
        uri = self._layout.result(span.item) if span.is_whole else self._layout.span(span)
        return Result(span, uri, self._form, self._store)

    def finish(self, result: Result) -> list[Finished]:
        """Adds a whole result; returns the results that have just got their names. Raises OutputError."""
        span = result.span
        finished = Finished(span.item, None if span.is_whole else span, result.rows)
        text = result.take()
        if text is None:
            result.finish()
            return [finished]
        self._ready.append(finished)
        self._uris.append(result.uri)
        self._texts.append(text)
        self._held += len(text)
        return self._flush_when_full()

    def finish_many(self, items: Sequence[Object], texts: Sequence[bytes], rows: Sequence[int]) -> list[Finished]:
        """Adds the whole results of small objects; returns the results that have just got their names. Raises OutputError."""
        self._ready += map(Finished._make, zip(items, itertools.repeat(None), rows))
        self._uris += map(self._layout.result, items)
        self._texts += texts
        self._held += sum(map(len, texts))
        return self._flush_when_full()

    def flush(self) -> list[Finished]:
        """Writes all added results; returns them.

        Raises:
            OutputError: for the first that could not be written; the others have their names.
        """
        ready, uris, texts = self._ready, self._uris, self._texts
        self._ready, self._uris, self._texts, self._held = [], [], [], 0
        if not ready:
            return []
        errors = self._store.write_many(uris, texts, [item.version for item, _, _ in ready])
        if any(errors):
            uri, code = next((uri, code) for uri, code in zip(uris, errors) if code)
            raise unwritable(uri, OSError(code, os.strerror(code)))
        return ready

    def _flush_when_full(self) -> list[Finished]:
        return self.flush() if len(self._ready) >= FILES_PER_CALL or self._held >= GROUP_BYTES else []
