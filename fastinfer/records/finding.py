"""Finds where a record is in its object by its number: for what is found out about it when its bytes are not held any more.

Nothing of this is read unless it is asked for. Then an object is read once more, from where the last question ended.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from ..codecs.base import Framing
from ..codecs.csv import BYTE_ORDER_MARK
from ..storage.base import Source
from .compression import NONE
from .line_counts import LineCounts
from .reading import read_chunks
from .spans import Span


class Lines(NamedTuple):
    """Which lines of an object hold records.

    Attributes:
        skip: how many lines of an object come before its records.
        comment: a character; from it to the end of its line nothing is read. None: there are no comments.
        columns: values of a line; 0: as many as the first one has.
        framing: what a line is.
    """

    skip: int = 0
    comment: str | None = None
    columns: int = 0
    framing: Framing = Framing.LINES

    def holds_values(self, line: bytes) -> bool:
        """Whether a line is not blank."""
        return bool(self._read(line).strip(b" \t\r\n"))

    def columns_of(self, line: bytes) -> int:
        """The values of a line, if it is the first."""
        return self.columns or self._read(line).count(b",") + 1

    def split(self, text: bytes) -> list[bytes]:
        """The lines of a text, with their ends."""
        return io.BytesIO(text).readlines() if self.framing is Framing.LF_LINES else text.splitlines(keepends=True)

    def _read(self, line: bytes) -> bytes:
        return line.partition(self.comment.encode())[0] if self.comment else line


class Found(NamedTuple):
    """A line: its number in the object, from 1; where it begins in the expanded object; its text, without its end
    but with a byte order mark."""

    number: int
    start: int
    text: bytes


class RecordFinder:
    """Finds the lines of records, which are asked for in the order of the objects.

    So many attributes: how objects are read, and how far the last one has been.

    Args:
        store: where the objects are.
        lines: which lines hold records.
        row_values: values of a record.
        counts: of lines before a span.
        chunk_bytes, line_bytes, compression: how objects are read; see :func:`fastinfer.records.reading.read_chunks`.
    """

    def __init__(
        self,
        store: Source,
        lines: Lines,
        row_values: int,
        counts: LineCounts,
        *,
        chunk_bytes: int,
        line_bytes: int,
        compression: str = NONE,
    ) -> None:
        self._store = store
        self._lines = lines
        self._row_values = row_values
        self._counts = counts
        self._chunk_bytes = chunk_bytes
        self._line_bytes = line_bytes
        self._compression = compression
        self._span: Span | None = None
        self._left: Iterator[Found] = iter(())  # lines of the span
        self._next = 0  # number of the first of them
        self._columns = 0
        self._line: Found | None = None  # the one before them

    def find(self, span: Span, record: int) -> Found | None:
        """The line in which a record of a span begins; None if the object is not any more what it was.

        Args:
            span: the span.
            record: the record's number in it, from 0; rejected ones count.

        Raises:
            InputError: the object cannot be read.
        """
        if self._span != span:
            self._begin(span)
        index = record * self._row_values // self._columns if self._columns else 0
        if index < self._next - 1:
            self._begin(span)
        while self._next <= index:
            self._line = next(self._left, None)
            if self._line is None:
                self._span = None
                return None
            if not self._columns:
                self._columns = self._lines.columns_of(self._line.text)
                index = record * self._row_values // self._columns
            self._next += 1
        return self._line

    def _begin(self, span: Span) -> None:
        self._span, self._left, self._next, self._line = span, self._read(span), 0, None
        self._columns = self._lines.columns

    def _read(self, span: Span) -> Iterator[Found]:
        """The lines of a span that hold records."""
        buffer = bytearray(self._chunk_bytes)
        number = self._counts.before(span.item, span.start)
        framing, compression = self._lines.framing, self._compression
        chunks = read_chunks(self._store, span, buffer, self._line_bytes, framing=framing, compression=compression)
        for chunk in chunks:
            start = chunk.base
            for line in self._lines.split(bytes(buffer[chunk.start : chunk.stop])):
                number += 1
                values = line if start else line.removeprefix(BYTE_ORDER_MARK)
                if number > self._lines.skip and self._lines.holds_values(values):
                    yield Found(number, start, line.rstrip(b"\r\n"))
                start += len(line)
