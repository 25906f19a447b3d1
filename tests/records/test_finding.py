"""Lines of records by their numbers: those that a decoder reads them from, however the object comes."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.codecs.base import Framing
from fastinfer.engine.source import find_objects
from fastinfer.records.finding import Found, Lines, RecordFinder
from fastinfer.records.line_counts import LineCounts
from fastinfer.records.spans import Span, whole
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore
from fastinfer.storage.local_file import LocalReader


def finder(lines: Lines, row_values: int = 1, chunk_bytes: int = 16, compression: str = "none") -> RecordFinder:
    counts = LineCounts(LocalStore(), chunk_bytes, 1 << 20, lines.framing)
    return RecordFinder(
        LocalStore(), lines, row_values, counts, chunk_bytes=chunk_bytes, line_bytes=1 << 20, compression=compression
    )


def put(folder: Path, content: bytes) -> Object:
    path = folder / "x.csv"
    path.write_bytes(content)
    return next(find_objects(str(path)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b" \t", b"# no", b"7,8", b" 12345678,1 # two"]), st.sampled_from([b"\n", b"\r\n"])
        ),
        max_size=20,
    ),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.integers(0, 2),
    st.sampled_from([16, 4096]),
    st.booleans(),
)
def test_every_record_is_found_at_its_line(
    parts: list[tuple[bytes, bytes]], mark: bytes, skip: int, chunk_bytes: int, compressed: bool
) -> None:
    text = mark + b"".join(line + end for line, end in parts)
    wanted, start = [], len(mark)
    for number, (line, end) in enumerate(parts, 1):
        if number > skip and line.strip() not in (b"", b"# no"):
            # The mark is a part of the first line.
            wanted.append(Found(number, start, line) if number > 1 else Found(1, 0, mark + line))
        start += len(line + end)
    with tempfile.TemporaryDirectory() as folder:
        item = put(Path(folder), gzip.compress(text) if compressed else text)
        found = finder(Lines(skip, "#", columns=2), 2, chunk_bytes, "auto")
        assert [found.find(whole(item), number) for number in range(len(wanted))] == wanted
        assert found.find(whole(item), len(wanted)) is None
        if wanted:  # also back again
            assert found.find(whole(item), 0) == wanted[0]


@pytest.mark.parametrize(
    ("row_values", "lines"), [(2, [1, 1, 2, 2]), (4, [1, 2]), (8, [1]), (1, [1, 1, 1, 1, 2, 2, 2, 2])]
)
def test_lines_of_several_records_and_records_of_several_lines(
    row_values: int, lines: list[int], tmp_path: Path
) -> None:
    item = put(tmp_path, b"1,2,3,4\n5,6,7,8\n")
    found = finder(Lines(), row_values)
    assert [each and each.number for each in (found.find(whole(item), n) for n in range(len(lines)))] == lines


def test_lines_are_counted_from_the_start_of_the_object_in_each_of_its_spans(tmp_path: Path) -> None:
    item = put(tmp_path, b"1\n\n2\n3\n4\n\n5\n")
    found = finder(Lines(skip=1))
    places = [found.find(Span(item, *bounds), n) for bounds, n in [((0, 5, 1), 0), ((5, 9, 1), 1), ((9, 12, 1), 0)]]
    assert places == [Found(3, 3, b"2"), Found(5, 7, b"4"), Found(7, 10, b"5")]
    # Also back again, and in another object.
    assert found.find(Span(item, 5, 9, 1), 0) == Found(4, 5, b"3")
    other = item._replace(key="other")
    assert found.find(Span(other, 9, 12, 1), 0) == Found(7, 10, b"5")


def test_lines_before_spans_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = put(tmp_path, b"123\n" * 400)
    read: list[int] = []
    fill = LocalReader.read_into

    def count(reader: LocalReader, view: memoryview, offset: int) -> int:
        read.append(fill(reader, view, offset))
        return read[-1]

    monkeypatch.setattr(LocalReader, "read_into", count)
    found = finder(Lines(), chunk_bytes=40)
    for start in range(0, 1600, 40):
        assert found.find(Span(item, start, start + 40, 1), 9) == Found(start // 4 + 10, start + 36, b"123")
    # Each span once for its records, and once for the lines before the next one.
    assert sum(read) <= 2 * 1600


def test_only_a_line_feed_ends_a_line_of_json(tmp_path: Path) -> None:
    item = put(tmp_path, b"[1,\r2]\n \r\n[3]")
    found = finder(Lines(columns=1, framing=Framing.LF_LINES), chunk_bytes=4096)
    assert [found.find(whole(item), number) for number in range(3)] == [
        Found(1, 0, b"[1,\r2]"),
        Found(3, 10, b"[3]"),
        None,
    ]


def test_lines_of_json_are_counted_from_chunk_to_chunk(tmp_path: Path) -> None:
    item = put(tmp_path, b"[1]\n[22]\r\n\n" * 50)
    found = finder(Lines(columns=1, framing=Framing.LF_LINES))
    assert found.find(whole(item), 99) == Found(149, 49 * 11 + 4, b"[22]")
