"""Protocol buffers, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.models.protobuf import BYTES, FIXED32, NUMBERS, VARINT, Message, fields, text


def test_fields() -> None:
    content = memoryview(b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\0\0\0\0")
    found = list(fields(content, 0, len(content)))
    assert [(each.number, each.kind) for each in found] == [(1, VARINT), (2, BYTES), (3, FIXED32)]
    assert found[0].value == 150
    assert text(content, found[1]) == "hi"


# A tag of field 1 with a bit above 32, of which parsers drop it, and a number with one above 64.
ABOVE = (b"\x88\x80\x80\x80\x10\x01", b"\x08" + b"\x81" * 9 + b"\x02")


@pytest.mark.parametrize(
    "content", [b"\x08", b"\x12\x05hi", b"\x1d\0", b"\x08" + b"\xff" * 10, b"\x0b", b"\x00\x01", *ABOVE]
)
def test_what_ends_early_or_is_no_message_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        list(fields(memoryview(content), 0, len(content)))


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_an_error(content: bytes) -> None:
    try:
        found = list(fields(memoryview(content), 0, len(content)))
    except ValueError:
        return
    assert all(0 <= each.first <= each.last <= len(content) for each in found)


MESSAGE = Message("it", once={1: VARINT}, one_of={2: VARINT, 3: BYTES}, many={4: NUMBERS})


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (b"\x20\x01\x22\x02\x01\x02\x08\x01\x10\x05", [4, 4, 1, 2]),
        (b"\x1a\x01x\x28\x01\x2a\x01x\x2d\0\0\0\0", [3]),  # others are passed over
    ],
)
def test_fields_of_a_message(content: bytes, numbers: list[int]) -> None:
    assert [each.number for each in MESSAGE.fields(memoryview(content), 0, len(content))] == numbers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x08\x01\x08\x01", "field 1 of it is there again, at byte 3"),
        (b"\x10\x01\x1a\x01x", "it has two fields of which only one may be there, at byte 4"),
        (b"\x0a\x01x", "field 1 of it has the wire type 2, expected 0, at byte 2"),
        (b"\x25\0\0\0\0", "field 4 of it has the wire type 5, expected 0 or 2, at byte 1"),
    ],
)
def test_fields_again_or_of_another_kind_are_errors(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(MESSAGE.fields(memoryview(content), 0, len(content)))
