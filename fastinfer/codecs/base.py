"""The contracts of a content type: a decoder that is pulled, and the form of what an encoder prints.

A codec never sees a model, an output or a file: bytes go in and rows come out, or rows go in and text comes out.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, Protocol, Union

from ..errors import InputError


class Filled(Enum):
    """Why :meth:`Decoder.fill` stopped."""

    DONE = "done"  # all of the chunk was read
    FULL = "full"  # there is no room for the next value


class BadRecord(NamedTuple):
    """A record that cannot be read.

    Attributes:
        error: what is wrong; its line counts from the first line of the chunk.
        values: how many of the record's values stand in the rows already: the last ones.
        text: the record as it stands in the chunk, without its line end.
    """

    error: InputError
    values: int
    text: bytes


DONE, FULL = Filled.DONE, Filled.FULL
Outcome = Union[Filled, BadRecord]


class Decoder(Protocol):
    """Payload to rows, chunk by chunk: ``begin``, then ``start`` for each chunk and ``fill`` until it is done, ``end``.

    Attributes:
        written: values that the last :meth:`fill` put into the rows.
    """

    written: int

    def begin(self, columns: int) -> None:
        """Begins a payload whose lines hold so many values; 0: as many as the first one."""
        ...

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:
        """Takes a chunk, buffer[start:stop], which ends where a record does; `first`: it begins the object."""
        ...

    def fill(self, rows: Any, filled: int) -> Outcome:
        """Reads values into the flat float32 buffer `rows` from value `filled` on; after a bad record, from behind it."""
        ...

    def end(self, *, may_be_empty: bool) -> None:
        """Ends a payload that was read to its end. Raises InputError (``empty_input``, ``partial_row``)."""
        ...

    def release(self) -> None:
        """Lets the chunk go, also in the middle of a payload."""
        ...


class Form(NamedTuple):
    """How the rows of a result stand together.

    Attributes:
        head, between, tail: what stands before the first row, between two, behind the last.
        rejected: what stands for a record that was rejected.
    """

    head: bytes
    between: bytes
    tail: bytes
    rejected: bytes
