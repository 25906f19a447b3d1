"""Spans cover their object, each begins where a line does, and what cannot be cut is left whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.codecs.csv import CsvOptions, count_columns
from fastinfer.errors import InputError
from fastinfer.records import spans
from fastinfer.records.spans import BLOCK_BYTES, Span, cut, whole
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore
from tests.storage.test_remote_reader import Memory


class Bytes:
    """A store of one object in memory that is also its reader."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads = self.read_bytes = 0

    @contextmanager
    def open(self, _: Object) -> Iterator[Bytes]:
        yield self

    def expect(self, blocks: object) -> None:
        """It is all in memory."""

    def read_into(self, view: memoryview, offset: int) -> int:
        part = self.content[offset : offset + len(view)]
        view[: len(part)] = part
        self.reads += 1
        self.read_bytes += len(part)
        return len(part)


def columns_of_csv(blocks: Iterable[bytes]) -> int:
    return count_columns(blocks, CsvOptions(comment="#"))


def cut_bytes(content: bytes, span_bytes: int, line_bytes: int = 1 << 20, columns: int = 1) -> list[Span]:
    return cut(Bytes(content), Object("x", "x", len(content), 1), span_bytes, 1, columns_of_csv, line_bytes, columns)


def line_starts(content: bytes) -> set[int]:
    return {0} | {match.end() for match in re.finditer(rb"\r\n|\n|\r", content)}


NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.lists(st.tuples(st.integers(0, 30), NEWLINES), min_size=1, max_size=60)


@given(lines=LINES, last_newline=st.booleans(), span_bytes=st.integers(1, 400), block_bytes=st.integers(2, 40))
def test_spans_cover_the_object_in_order_and_begin_with_lines(
    lines: list[tuple[int, bytes]], last_newline: bool, span_bytes: int, block_bytes: int
) -> None:
    content = b"".join(b"1" * length + newline for length, newline in lines)
    content = content if last_newline else content.rstrip(b"\r\n") or b"1"
    with pytest.MonkeyPatch.context() as patch:
        # Small blocks, so that lines and both bytes of a CRLF lie on their borders.
        patch.setattr(spans, "BLOCK_BYTES", block_bytes)
        found = cut_bytes(content, span_bytes)
    assert found[0].start == 0
    assert found[-1].stop == len(content)
    assert [span.stop for span in found[:-1]] == [span.start for span in found[1:]]
    assert all(span.start < span.stop for span in found)
    assert {span.start for span in found} <= line_starts(content)
    assert {(span.item, span.columns) for span in found} == {(Object("x", "x", len(content), 1), 1)}


@given(lines=LINES, span_bytes=st.integers(1, 400), block_bytes=st.integers(2, 40))
def test_a_cut_is_made_at_the_first_line_behind_each_equal_part(
    lines: list[tuple[int, bytes]], span_bytes: int, block_bytes: int
) -> None:
    content = b"".join(b"1" * length + newline for length, newline in lines)
    count = max(1, round(len(content) / span_bytes))
    starts = sorted(line_starts(content))
    wanted = {0} | {
        next(start for start in starts if start >= len(content) * number // count)
        for number in range(1, count)
        if len(content) * number // count
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "BLOCK_BYTES", block_bytes)
        found = cut_bytes(content, span_bytes)
    assert {span.start for span in found} == wanted - {len(content)}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_line_end_on_the_border_of_a_block_is_not_cut_through(newline: bytes, shift: int) -> None:
    # Of two spans the second is looked for from one byte before the middle on: there the first block begins.
    middle = 2 * BLOCK_BYTES
    end_of_line = middle - 1 + BLOCK_BYTES + shift
    content = (b"1" * end_of_line + newline).ljust(2 * middle, b"1")
    found = cut_bytes(content, middle)
    assert [span.start for span in found] == [0, end_of_line + len(newline)]


def test_what_lies_between_the_cuts_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "BLOCK_BYTES", 64)
    store = Bytes(b"1\n" * 50_000)
    item = Object("x", "x", len(store.content), 1)
    assert len(cut(store, item, 10_000, 1, columns_of_csv, 1 << 20)) == 10
    assert store.read_bytes <= 64 * 12


def test_a_far_object_is_cut_by_one_request_for_each_span() -> None:
    store: Any = Memory(b"1,2\n" * 500_000)
    item = Object("s3://memory/x", "x", len(store.content), b"v")
    for columns, compression, requests in ((0, "auto", 10), (0, "none", 10), (2, "none", 9)):
        store.asked.clear()
        found = cut(store, item, 200_000, 1, columns_of_csv, 1 << 20, columns, compression)
        assert [span.start for span in found] == list(range(0, 2_000_000, 200_000))
        assert len(store.asked) == requests


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r", b" \t\n", b"#\n", b"# of no value\n"])
def test_blank_lines_and_comments_are_read_once_however_many_there_are(line: bytes) -> None:
    before = line * ((1 << 20) // len(line))
    for record, count in ((b"1,2\n", 2), (b"", 0)):
        store = Bytes(before + record)
        item = Object("x", "x", len(store.content), 1)
        assert len(cut(store, item, len(store.content) // 2, 2, columns_of_csv, 1 << 20)) == count
        # Where a block ends within a line, that line is read again with the next one.
        assert store.read_bytes < 1.1 * len(store.content) + 2 * BLOCK_BYTES
        assert store.reads < 1.1 * len(store.content) / BLOCK_BYTES + 4


def test_a_line_that_many_cuts_lie_in_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "BLOCK_BYTES", 64)
    long = b"1" * 100_000
    for content, count in ((long + b"\n" + b"1\n" * 50, 2), (b"1\n" + long, 1)):
        store = Bytes(content)
        item = Object("x", "x", len(content), 1)
        assert len(cut(store, item, 200, 1, columns_of_csv, 1 << 20, columns=1)) == count
        assert store.read_bytes < 1.2 * len(content)
    # Where it is too long, the first cut ends the search.
    store = Bytes(long)
    assert cut(store, Object("x", "x", len(long), 1), 200, 1, columns_of_csv, 1000, columns=1) == []
    assert store.read_bytes < 2 * 1000


def test_an_object_smaller_than_a_span_is_one() -> None:
    (span,) = cut_bytes(b"1\n2\n", 100)
    assert (span.is_whole, span.start, span.stop) == (True, 0, 4)


def test_values_of_a_line_are_counted_in_the_first_record_unless_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[list[bytes]] = []

    def count(blocks: Iterable[bytes]) -> int:
        counted.append(list(blocks))
        return 6

    monkeypatch.setattr(spans, "BLOCK_BYTES", 4)
    content = b"a\r\n\r1\n23456\n7"
    item = Object("x", "x", len(content), 1)
    assert {span.columns for span in cut(Bytes(content), item, 3, 3, count, 1 << 20)} == {6}
    # A block ends where a line does, never within a CRLF; it grows for a longer line.
    assert counted == [[b"a\r\n", b"\r1\n", b"23456\n7"]]
    assert {span.columns for span in cut(Bytes(content), item, 3, 3, count, 1 << 20, columns=9)} == {9}
    assert len(counted) == 1


@pytest.mark.parametrize(("columns", "row_values"), [(0, 2), (2, 4), (3, 2), (1, 2)])
def test_lines_that_are_not_whole_records_are_not_cut(columns: int, row_values: int) -> None:
    content = b"1,2\n" * 100
    item = Object("x", "x", len(content), 1)
    assert cut(Bytes(content), item, 40, row_values, lambda _: columns, 1 << 20) == []
    assert len(cut(Bytes(content), item, 40, row_values, lambda _: 2 * row_values, 1 << 20)) == 10


def test_an_object_with_too_long_a_line_where_it_would_be_cut_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "BLOCK_BYTES", 8)
    short, long = b"1" * 100 + b"\n", b"1" * 400 + b"\n"
    for content, count in ((short * 9, 3), (short + long + short * 4, 0), (short * 4 + long, 0)):
        assert len(cut_bytes(content, len(content) // 3, line_bytes=110)) == count
    # Nor are its values counted where the first line is too long.
    content = long + short * 9
    item = Object("x", "x", len(content), 1)
    assert cut(Bytes(content), item, 10_000, 1, columns_of_csv, 110) == []
    assert len(cut(Bytes(content), item, 10_000, 1, columns_of_csv, 500)) == 1


def test_an_object_that_cannot_be_read_is_left_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = Object(str(tmp_path / "x.csv"), "x.csv", 400, bytes(32))
    assert cut(LocalStore(), item, 40, 1, columns_of_csv, 1 << 20, columns=1) == []
    store = Bytes(b"1\n" * 200)
    assert len(cut(store, item, 40, 1, columns_of_csv, 1 << 20)) == 10

    def fail(*_: object) -> int:
        raise InputError("cannot be read", code="cannot_read")

    monkeypatch.setattr(store, "read_into", fail)
    assert cut(store, item, 40, 1, columns_of_csv, 1 << 20, columns=1) == []


def test_a_span_is_whole_where_it_is_all_of_its_object() -> None:
    item = Object("x", "x", 10, 1)
    assert whole(item) == Span(item, 0, 10, 0)
    assert whole(item).is_whole
    assert whole(Object("x", "x", 0, 1)).is_whole
    assert not Span(item, 0, 9, 1).is_whole
    assert not Span(item, 1, 10, 1).is_whole


def test_a_store_that_gives_few_bytes_at_a_time_gives_the_same_cuts() -> None:
    lines = b"".join(b"%d\r\n" % (number * 7919) for number in range(200))

    class Slow(Bytes):
        def read_into(self, view: memoryview, offset: int) -> int:
            return super().read_into(view[:3], offset)

    item = Object("x", "x", len(lines), b"")
    expected = cut(Bytes(lines), item, 100, 1, columns_of_csv, 1 << 20)
    assert len(expected) > 10
    assert cut(Slow(lines), item, 100, 1, columns_of_csv, 1 << 20) == expected
