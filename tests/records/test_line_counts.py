"""Lines before a byte of an object, counted once, whoever asks."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.codecs.base import Framing
from fastinfer.engine.source import find_objects
from fastinfer.records import line_counts
from fastinfer.records.line_counts import LineCounts
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore
from fastinfer.storage.local_file import LocalReader


@given(
    lines=st.lists(st.sampled_from([b"1\n", b"22\r\n", b"\n", b"333\r"]), min_size=1, max_size=40),
    steps=st.lists(st.integers(0, 39), max_size=6),
)
def test_lines_are_counted_whatever_was_asked_before(lines: list[bytes], steps: list[int]) -> None:
    content = b"".join(lines)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        item = next(find_objects(file.name))
        counts = LineCounts(LocalStore(), 16, 64, Framing.LINES)
        for step in (step % len(lines) for step in steps):
            before = b"".join(lines[:step])
            if content[len(before) :].startswith(b"\n") and before.endswith(b"\r"):
                continue  # no line begins between the halves of a CRLF
            assert counts.before(item, len(before)) == len(re.findall(rb"\r\n|\r|\n", before))


class CountingStore(LocalStore):
    """Adds up the bytes that are read."""

    read = 0

    def open(self, item: Object) -> LocalReader:
        store = self

        class Reader(LocalReader):
            def read_into(self, view: memoryview, offset: int) -> int:
                count = super().read_into(view, offset)
                store.read += count
                return count

        return Reader(item)


def test_each_byte_is_read_once_in_whatever_order_places_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"12345\n" * 1000)
    item = next(find_objects(str(tmp_path / "x.csv")))
    store = CountingStore()
    counts = LineCounts(store, 60, 64, Framing.LINES)
    for place in (1200, 1200, 600, 0, 3000, 60, 6000, 4200):
        assert counts.before(item, place) == place // 6
    assert store.read == 6000


def test_counts_of_many_objects_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_counts, "MOST_OBJECTS", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(b"1\n" * 10)
    counts = LineCounts(LocalStore(), 60, 64, Framing.LINES)
    items = list(find_objects(str(tmp_path)))
    for item in [*items, items[0], items[2]]:
        assert counts.before(item, 20) == 10
    assert list(counts._counted) == [items[0], items[2]]
