"""The contracts of a content type: a decoder, which the caller asks for rows, and the form of printed rows.

A codec never sees a model, an output or a file. It turns bytes into rows, or rows into text.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Any, Callable, NamedTuple, Protocol, Union

from ..errors import InputError


class Filled(Enum):
    """Why :meth:`Decoder.fill` stopped."""

    DONE = "done"  # the whole chunk was read
    FULL = "full"  # the rows have no room for the next value


class BadRecord(NamedTuple):
    """A record that cannot be read.

    Attributes:
        error: what is wrong; its line number counts from the first line of the chunk.
        values: how many values of the record were written to the rows before the error; they are the last ones there.
        start, stop: where the record is in the chunk's buffer, without its line end. The record is not copied: it may be as
            long as the longest line.
    """

    error: InputError
    values: int
    start: int
    stop: int


DONE, FULL = Filled.DONE, Filled.FULL
Outcome = Union[Filled, BadRecord]


class Framing(Enum):
    """What of an object a decoder must be given at a time."""

    LINES = "lines"  # whole lines, which end with LF, CRLF or CR
    LF_LINES = "lines that end with LF"  # a CR is a blank in them
    BODY = "body"  # the whole object
    PIECES = "pieces"  # any bytes

    @property
    def has_lines(self) -> bool:
        """Whether objects are lines."""
        return self in (Framing.LINES, Framing.LF_LINES)


class Decoder(Protocol):
    """Payload to rows, chunk by chunk: ``begin``; for each chunk ``start``, then ``fill`` until it returns DONE; ``end``.

    Attributes:
        written: the number of values that the last :meth:`fill` wrote to the rows.
    """

    written: int

    def begin(self, columns: int) -> None:
        """Begins a payload. `columns`: values per line; 0: as many as the first line has."""
        ...

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:
        """Begins the chunk buffer[start:stop], which ends with a record; `first`: it is the first of the object."""
        ...

    def fill(self, rows: Any, filled: int) -> Outcome:
        """Writes values to the flat float32 buffer `rows`, from index `filled`; after a bad record, with the next record."""
        ...

    def fill_bodies(
        self, buffer: bytearray, bounds: list[tuple[int, int]], first: int, rows: Any, filled: int
    ) -> list[int]:
        """Reads whole small payloads that lie one behind another, from number `first` on, in one call.

        Returns the rows of each, up to the first that must be read by itself; an empty list is always right.
        """
        ...

    def end(self, *, may_be_empty: bool) -> None:
        """Ends a payload that was read completely. Raises InputError (``empty_input``, ``partial_row``)."""
        ...

    def release(self) -> None:
        """Releases the chunk's buffer, also in the middle of a payload."""
        ...


class InputCodec(Protocol):
    """How a run reads one content type; it goes to other processes as it is."""

    @property
    def framing(self) -> Framing:
        """What a decoder must be given at a time."""
        ...

    @property
    def lines_are_rows(self) -> bool:
        """Whether each line is a row of the model, whatever the first one holds."""
        ...

    def decoder(self, row_shape: tuple[int, ...], *, line_is_record: bool) -> Decoder:
        """A new decoder for a model's rows; `line_is_record`: each line is a record, so that a bad one can be passed over."""
        ...

    def count_columns(self, blocks: Iterable[bytes]) -> int:
        """The values of an object's first line, from its first blocks, each of which ends where a line ends; 0 if there is none
        or it has an error. Large objects of which this is known are cut at line ends."""
        ...


class Form(NamedTuple):
    """How printed rows are joined to a result.

    Attributes:
        head, between, tail: the text before the first row, between two rows, after the last row.
        rejected: the text in the place of a rejected record.
    """

    head: bytes
    between: bytes
    tail: bytes
    rejected: bytes


class Encoder(NamedTuple):
    """Predictions to text; it goes to other processes as it is.

    Attributes:
        form: how rows stand together.
        encode_rows: (predictions, shape of one row) -> the rows with `form.between` between them.
        encode_bodies: (predictions, shape of one row, rows of each body) -> whole bodies, `form` included.
        check: raises InputError for a shape of one row's prediction that it cannot print; None: it prints all.
    """

    form: Form
    encode_rows: Callable[[Any, tuple[int, ...]], bytes]
    encode_bodies: Callable[[Any, tuple[int, ...], list[int]], list[bytes]]
    check: Callable[[tuple[int, ...]], None] | None = None

    def with_line_end(self) -> Encoder:
        """The same, with a newline behind each body."""
        form = self.form._replace(tail=self.form.tail + b"\n")
        return self._replace(form=form, encode_bodies=partial(_end_bodies, self.encode_bodies))

    @classmethod
    def of_rows(cls, form: Form, encode_rows: Callable[[Any, tuple[int, ...]], bytes]) -> Encoder:
        """An encoder that prints each body by its rows."""
        return cls(form, encode_rows, partial(_encode_bodies, form, encode_rows))


def _encode_bodies(
    form: Form,
    encode_rows: Callable[[Any, tuple[int, ...]], bytes],
    predictions: Any,
    row_shape: tuple[int, ...],
    counts: list[int],
) -> list[bytes]:
    bodies, first = [], 0
    for count in counts:
        bodies.append(form.head + encode_rows(predictions[first : first + count], row_shape) + form.tail)
        first += count
    return bodies


def _end_bodies(
    encode_bodies: Callable[[Any, tuple[int, ...], list[int]], list[bytes]],
    predictions: Any,
    row_shape: tuple[int, ...],
    counts: list[int],
) -> list[bytes]:
    return [body + b"\n" for body in encode_bodies(predictions, row_shape, counts)]


def empty_input(path: str | None) -> InputError:
    """The error for a body without a value."""
    return InputError("empty input: no values found", code="empty_input", path=path)
