"""How the bytes of objects come: chunks that end where a line does, groups of small objects, lines counted."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer._native.files import FILES_PER_CALL
from fastinfer.engine.source import find_objects
from fastinfer.errors import InputError
from fastinfer.records.reading import (
    OPENED_AHEAD_BYTES,
    OPENED_AHEAD_OBJECTS,
    SMALL_OBJECT_BYTES,
    Chunk,
    Group,
    OpenObjects,
    OpenSpans,
    SeveralPayloads,
    read_ahead,
    read_chunks,
    read_groups,
)
from fastinfer.records.spans import Span, whole
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore
from fastinfer.storage.local_file import LocalReader
from tests.storage.test_remote_reader import Memory

STORE = LocalStore()


def read(item: Object, buffer: bytearray, line_bytes: int = 1 << 20) -> Iterator[Chunk]:
    return read_chunks(STORE, whole(item), buffer, line_bytes)


def test_a_file_that_vanished_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1")
    item = next(find_objects(str(tmp_path / "x.csv")))
    (tmp_path / "x.csv").unlink()
    with pytest.raises(InputError) as caught:
        list(read(item, bytearray(8)))
    assert caught.value.code == "input_missing"


@given(
    content=st.lists(st.sampled_from([b"1", b",", b"\n", b"\r", b"\r\n", b"22222"]), max_size=60).map(b"".join),
    size=st.integers(2, 40),
)
def test_chunks_are_the_file_cut_at_line_ends(content: bytes, size: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = file.name
        buffer = bytearray(size)
        found = b""
        for _, stop, base, _ in read(next(find_objects(path)), buffer):
            assert base == len(found)
            if found:
                assert found.endswith((b"\n", b"\r"))
                assert not (found.endswith(b"\r") and buffer[:1] == b"\n")
            found += buffer[:stop]
        assert found == content


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"1,2\n" + b"3," * 2000)
    with pytest.raises(InputError) as caught:
        list(read(next(find_objects(str(path))), bytearray(256), line_bytes=1000))
    assert caught.value.code == "line_too_long"


class Slow(LocalReader):
    """Gives few bytes a read, as some network file systems do."""

    def read_into(self, view: memoryview, offset: int) -> int:
        return super().read_into(view[:7], offset)


class SlowStore(LocalStore):
    def open(self, item: Object) -> LocalReader:
        return Slow(item)


def test_a_short_read_is_not_the_end(tmp_path: Path) -> None:
    content = b"".join(b"%d,%d\n" % (number, number) for number in range(1000))
    (tmp_path / "x.csv").write_bytes(content)
    buffer = bytearray(64)
    chunks = read_chunks(SlowStore(), whole(next(find_objects(str(tmp_path / "x.csv")))), buffer, 64)
    assert b"".join(bytes(buffer[chunk.start : chunk.stop]) for chunk in chunks) == content


def test_an_object_that_shrank_is_not_read_as_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"1,2\n" * 100)
    item = next(find_objects(str(path)))
    with open(path, "r+b") as file:
        file.truncate(40)
    with pytest.raises(InputError) as caught:
        list(read(item, bytearray(64)))
    assert caught.value.code == "input_changed"


def test_small_objects_come_in_groups_and_others_unread(tmp_path: Path) -> None:
    for number in range(FILES_PER_CALL + 2):
        (tmp_path / f"{number:04d}.csv").write_bytes(b"%d\n" % number)
    (tmp_path / "0100.csv").write_bytes(b"1\n" * SMALL_OBJECT_BYTES)
    (tmp_path / "0101.csv").unlink()
    (tmp_path / "0101.csv").symlink_to("nowhere")
    items = list(find_objects(str(tmp_path)))
    buffers = bytearray(1 << 16), bytearray(1 << 16)
    found: list[str] = []
    sizes = []
    for each in read_groups(STORE, items, buffers):
        if isinstance(each, Group):
            sizes.append(len(each.items))
            for index, item in enumerate(each.items):
                (chunk,) = each.chunks(index)
                assert each.buffer[chunk.start : chunk.stop] == Path(item.uri).read_bytes()
            found += [item.key for item in each.items]
        else:
            sizes.append(0)
            assert each.is_whole
            found.append(each.item.key)
    assert found == [item.key for item in items]
    assert sizes == [100, 0, 0, FILES_PER_CALL - 100]


def test_spans_come_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1\n2\n3\n")
    item = next(find_objects(str(tmp_path / "x.csv")))
    spans = [Span(item, 0, 2, 1), Span(item, 2, 6, 1)]
    assert list(read_groups(STORE, spans, (bytearray(8), bytearray(8)))) == spans
    buffer = bytearray(8)
    assert [(chunk, bytes(buffer[: chunk.stop])) for chunk in read_chunks(STORE, spans[1], buffer, 8)] == [
        ((0, 4, 2, None), b"2\n3\n")
    ]


def test_reading_ahead_changes_nothing() -> None:
    assert list(read_ahead(iter(range(5)))) == list(range(5))

    def fails() -> Iterator[int]:
        yield 1
        raise InputError("no")

    ahead = read_ahead(fails())
    assert next(ahead) == 1
    with pytest.raises(InputError):
        next(ahead)


class Failing(LocalReader):
    """Reads one block, and fails then as a disk does."""

    def __init__(self, item: Object) -> None:
        super().__init__(item)
        self.reads = 0

    def read_into(self, view: memoryview, offset: int) -> int:
        self.reads += 1
        if self.reads > 3:
            raise InputError("cannot be read: Input/output error", code="cannot_read")
        return super().read_into(view, offset)


class FailingStore(LocalStore):
    def open(self, item: Object) -> LocalReader:
        return Failing(item)


def test_a_buffer_that_grew_can_be_cut_again_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1," * 1000)
    buffer = bytearray(64)
    with pytest.raises(InputError) as caught:
        list(read_chunks(FailingStore(), whole(next(find_objects(str(tmp_path / "x.csv")))), buffer, 1 << 20))
    assert caught.value.code == "cannot_read"
    assert len(buffer) > 64
    del buffer[64:]  # no view of it is left in the error's traceback


def test_spans_of_a_far_object_are_read_ahead_through_their_bounds() -> None:
    mib = 1 << 20
    store: Any = Memory(b"1234567\n" * (20 * mib // 8))
    item = Object("s3://memory/x", "x", 20 * mib, b"v")
    spans = [Span(item, start, start + 5 * mib, 1) for start in range(0, 20 * mib, 5 * mib)]
    buffer = bytearray(mib)
    with OpenSpans(store, spans, len(buffer)) as opened:
        for span in spans:
            chunks = read_chunks(store, span, buffer, mib, opened=opened)
            assert sum(chunk.stop - chunk.start for chunk in chunks) == 5 * mib
    bounds = [0, mib, 3 * mib, 7 * mib, 15 * mib, 20 * mib]
    assert sorted(store.asked) == list(zip(bounds, bounds[1:]))


def test_an_object_that_cannot_be_opened_is_an_error_of_each_of_its_spans(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1\n2\n")
    item = next(find_objects(str(tmp_path / "x.csv")))
    (tmp_path / "x.csv").unlink()
    spans = [Span(item, 0, 2, 1), Span(item, 2, 4, 1)]
    with OpenSpans(STORE, spans, 8) as opened:
        for span in spans:
            with pytest.raises(InputError, match=r"x\.csv"):
                list(read_chunks(STORE, span, bytearray(8), 8, opened=opened))


class Far:
    """A store far away: notes what is opened, what is begun and what is closed."""

    ahead_bytes = 1

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextlib.contextmanager
    def open(self, item: Object) -> Iterator[Any]:
        self.events.append(f"open {item.key}")
        yield SimpleNamespace(expect=lambda blocks: self.events.append(f"read {sum(size for _, size in blocks)}"))
        self.events.append(f"close {item.key}")


def test_the_next_objects_far_away_are_begun_while_one_is_used() -> None:
    sizes = {"a": 10, "b": 20, "bad": 5, "c": OPENED_AHEAD_BYTES, "d": 40, "e": 50}
    problem = InputError("it is gone", code="cannot_read")
    items = {
        key: Object(f"s3://memory/{key}", key, size, b"v", problem if key == "bad" else None)
        for key, size in sizes.items()
    }
    store: Any = Far()
    with OpenObjects(store, items.values(), 7) as opened:

        def use(key: str) -> list[str]:
            store.events.clear()
            opened.reader_of(whole(items[key]))
            return list(store.events)

        # As many as there is room for, and not the one with a problem.
        assert use("a") == ["open a", "read 10", "open b", "read 20", "open c", f"read {OPENED_AHEAD_BYTES}"]
        other = Object("s3://memory/other", "other", 3, b"v")
        items["other"] = other
        assert use("other") == ["close a", "open other", "read 3"]
        assert use("c") == ["close other", "close b", "open d", "read 40", "open e", "read 50"]  # b is passed over
        assert use("b") == ["close c", "open b", "read 20"]  # and asked for after all
        store.events.clear()
    assert store.events == ["close b", "close d", "close e"]


def test_no_more_than_a_number_of_objects_are_begun() -> None:
    items = [Object(f"s3://memory/{number}", str(number), 1, b"v") for number in range(3 * OPENED_AHEAD_OBJECTS)]
    store: Any = Far()
    with OpenObjects(store, items, 7) as opened:
        for number, item in enumerate(items):
            opened.reader_of(whole(item))
            begun = sum(event.startswith("open") for event in store.events)
            assert begun == min(len(items), number + 1 + OPENED_AHEAD_OBJECTS)


def test_objects_of_this_machine_are_opened_one_by_one() -> None:
    store: Any = Far()
    store.ahead_bytes = 0
    items = [Object(f"/{key}", key, 1, b"v") for key in "ab"]
    with OpenObjects(store, items, 7) as opened:
        opened.reader_of(whole(items[0]))
        assert store.events == ["open a", "read 1"]


def test_an_object_that_holds_several_payloads_is_closed_before_it_is_read_as_such() -> None:
    content = gzip.compress(b"1,2\n" * 1000)

    class Reader:
        is_open = True

        def expect(self, blocks: Any) -> None:
            """Nothing is read ahead."""

        def check_unchanged(self) -> None:
            """It never changes."""

        def read_into(self, view: memoryview, offset: int) -> int:
            part = content[offset : offset + len(view)]
            view[: len(part)] = part
            return len(part)

        def __enter__(self) -> Reader:
            return self

        def __exit__(self, *_: object) -> None:
            self.is_open = False

    reader = Reader()
    store: Any = SimpleNamespace(ahead_bytes=1, open=lambda _: reader)
    item = Object("s3://memory/x", "x", len(content), b"v")
    with OpenObjects(store, [item], 64) as opened:
        chunks = read_chunks(
            store, whole(item), bytearray(64), 64, compression="gzip", payload_bytes=100, opened=opened
        )
        with pytest.raises(SeveralPayloads):
            next(chunks)
        assert not reader.is_open
