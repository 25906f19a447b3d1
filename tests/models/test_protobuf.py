"""Protocol buffers, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.models.protobuf import BYTES, FIXED32, VARINT, fields, text


def test_fields() -> None:
    content = memoryview(b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\0\0\0\0")
    found = list(fields(content, 0, len(content)))
    assert [(each.number, each.kind) for each in found] == [(1, VARINT), (2, BYTES), (3, FIXED32)]
    assert found[0].value == 150
    assert text(content, found[1]) == "hi"


@pytest.mark.parametrize("content", [b"\x08", b"\x12\x05hi", b"\x1d\0", b"\x08" + b"\xff" * 10, b"\x0b", b"\x00\x01"])
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
