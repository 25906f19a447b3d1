"""Reads protocol buffers, field by field, without a schema's generated code; bounded, and never beyond the end.

Only what is asked for is decoded: a model of a gigabyte is passed over in a few steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Of a repeated field: each a VARINT, or many packed in BYTES.
NUMBERS = (VARINT, BYTES)
_MOST_VARINT_BYTES = 10


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: by which the schema knows it.
        kind: how it is written: VARINT, FIXED64, BYTES or FIXED32.
        value: of a VARINT.
        first, last: where the bytes of others are.
    """

    number: int
    kind: int
    value: int
    first: int
    last: int


class Message:
    """The fields of a message that are read.

    Parsers join or replace a field that is there twice, and pass over one of another wire type. A file could so show one model
    here and another one to its runtime: both are errors.

    Args:
        what: a message, for errors.
        once, one_of, many: by the number of a field its kind. Of ``one_of`` a message has one at most.
    """

    def __init__(
        self,
        what: str,
        *,
        once: Mapping[int, int] | None = None,
        one_of: Mapping[int, int] | None = None,
        many: Mapping[int, int | tuple[int, ...]] | None = None,
    ) -> None:
        self._what = what
        single, several = {**(once or {}), **(one_of or {})}, many or {}
        kinds = {**single, **several}
        self._kinds = {number: (kind,) if isinstance(kind, int) else kind for number, kind in kinds.items()}
        # Fields of one_of share a place: none of their numbers is 0.
        self._places = {**dict.fromkeys(one_of or {}, 0), **{number: number for number in once or {}}}

    def fields(self, content: memoryview, first: int, last: int) -> Iterator[Field]:
        """Those fields, of a message that lies between two places.

        Raises:
            ValueError: as :func:`fields`; one is of another kind, or is there again.
        """
        seen = set()
        for field in fields(content, first, last):
            kinds = self._kinds.get(field.number)
            if kinds is None:
                continue
            if field.kind not in kinds:
                expected = " or ".join(map(str, kinds))
                raise ValueError(
                    f"field {field.number} of {self._what} has the wire type {field.kind}, expected {expected}, "
                    f"at byte {field.first:,}"
                )
            place = self._places.get(field.number)
            if place in seen:
                found = (
                    f"field {field.number} of {self._what} is there again"
                    if place
                    else (f"{self._what} has two fields of which only one may be there")
                )
                raise ValueError(f"{found}, at byte {field.first:,}")
            if place is not None:
                seen.add(place)
            yield field


def fields(content: memoryview, first: int, last: int) -> Iterator[Field]:
    """All fields of a message that lies between two places.

    Raises:
        ValueError: it is not a message, or ends within a field.
    """
    while first < last:
        tag, place = _varint(content, first, last)
        number, kind, value = tag >> 3, tag & 7, 0
        start = place
        if kind == VARINT:
            value, place = _varint(content, place, last)
        elif kind == BYTES:
            size, start = _varint(content, place, last)
            place = start + size
        elif kind in (FIXED32, FIXED64):
            place += 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind} at byte {first:,}")
        # Of a longer tag parsers drop what is above 32 bits: another number would be left.
        if place > last or number == 0 or tag >> 32:
            raise ValueError(f"a field that does not end or has no number, at byte {first:,}")
        yield Field(number, kind, value, start, place)
        first = place


def text(content: memoryview, field: Field) -> str:
    """The text of a field. Raises ValueError where it is not UTF-8."""
    if field.kind != BYTES:
        raise ValueError(f"no text at byte {field.first:,}")
    return bytes(content[field.first : field.last]).decode("utf-8")


def integers(content: memoryview, field: Field) -> list[int]:
    """The numbers of a repeated field: one, or several that are packed. Raises ValueError where they are none."""
    if field.kind == VARINT:
        return [field.value]
    if field.kind != BYTES:
        raise ValueError(f"no whole numbers at byte {field.first:,}")
    found, place = [], field.first
    while place < field.last:
        value, place = _varint(content, place, field.last)
        found.append(value)
    return found


def _varint(content: memoryview, place: int, last: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and the place behind it."""
    value = 0
    for count in range(_MOST_VARINT_BYTES):
        if place >= last:
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << (7 * count)
        if byte < 128 and value >> 64 == 0:  # above that, parsers drop bits
            return value, place
    raise ValueError(f"a number that does not end, at byte {place:,}")
