"""A label says which run made a result, of what, and how many records it lacks."""

from __future__ import annotations

import pytest

from fastinfer.outputs.label import Label, new_run


@pytest.mark.parametrize("version", [b"", b"an etag", bytes(32)])
def test_a_label_is_read_as_it_was_written(version: bytes) -> None:
    label = Label(bytes.fromhex(new_run()), 1 << 40, version)
    assert Label.unpack(label.pack()) == label


@pytest.mark.parametrize("packed", [None, b"", b"short"])
def test_what_is_no_label_is_none(packed: bytes | None) -> None:
    assert Label.unpack(packed) is None


def test_each_run_has_another_id() -> None:
    assert len({new_run() for _ in range(100)}) == 100
