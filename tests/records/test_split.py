"""Objects to records, records to payloads: nothing is lost, and what MXNet wrote is read as MXNet reads it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.errors import InputError
from fastinfer.records.split import LF_LINE, MAGIC, Payload, Place, Record, payloads, split, take_first_line
from tests.networks import mx


def cut(content: bytes, seed: int) -> Iterator[bytes]:
    """The bytes in pieces of any size, empty ones too."""
    random_ = random.Random(seed)
    place = 0
    while place < len(content):
        size = random_.choice((0, 1, 1, 2, 3, 8, 100))
        yield content[place : place + size]
        place += size


LINES = st.lists(st.sampled_from([b"1,2", b"", b" ", b"x" * 50, b"\t", b"a\0b"]), max_size=12)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans(), st.integers(0, 99))
def test_lines_keep_their_bytes_and_know_their_place(lines: list[bytes], end: bytes, closed: bool, seed: int) -> None:
    content = end.join(lines) + (end if closed else b"")
    found = list(split(cut(content, seed), "line"))
    assert [record.content.rstrip(b"\r\n") for record in found] == [line for line in lines if line.strip()]
    expected = [number for number, line in enumerate(lines, 1) if line.strip()]
    assert [record.place.number for record in found] == expected
    for line, place in found:
        assert content[place.start : place.start + len(line)] == line


@given(
    st.lists(st.sampled_from([b"[1]", b"[1,\r2]", b"\r", b"", b" \t", b"[3]\r"]), max_size=12),
    st.booleans(),
    st.integers(0, 99),
)
def test_lines_of_json_end_with_lf_alone(lines: list[bytes], closed: bool, seed: int) -> None:
    content = b"\n".join(lines) + (b"\n" if closed else b"")
    found = list(split(cut(content, seed), LF_LINE))
    expected = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    assert [(record.place.number, record.content.removesuffix(b"\n")) for record in found] == expected
    assert all(content.startswith(line, place.start) for line, place in found)


@given(
    st.sampled_from([b"", b"\n", b"\r\n", b"\r", b"a\r\n", b"a\rb", b"a,b\n\n1", b"a\r\r\n"]), LINES, st.integers(0, 99)
)
def test_a_first_line_is_taken_off_wherever_the_bytes_are_cut(head: bytes, lines: list[bytes], seed: int) -> None:
    content = head + b"\n".join(lines)
    line, rest = take_first_line(cut(content, seed))
    assert line == next(iter(content.splitlines(keepends=True)), b"")
    assert line + b"".join(rest) == content


def test_an_object_that_is_not_split_is_one_record() -> None:
    assert list(split([b"1\n", b"2\n"], "none")) == [Record(b"1\n2\n", Place(0, 1))]
    assert list(split([], "none")) == [Record(b"", Place(0, 1))]


def recordio(records: list[bytes], folder: Path) -> bytes:
    """The records as MXNet writes them; checked with MXNet's own reader."""
    path = str(folder / "x.rec")
    writer = mx.recordio.MXRecordIO(path, "w")
    for record in records:
        writer.write(record)
    writer.close()
    reader = mx.recordio.MXRecordIO(path, "r")
    assert [reader.read() for _ in records] == records
    reader.close()
    return Path(path).read_bytes()


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    """Some hold the magic word, at multiples of four bytes and elsewhere, once and several times."""
    random_ = random.Random(1)
    parts = (MAGIC, MAGIC, b"abcd", b"ab", b"abc", bytes(8))
    return [b"".join(random_.choice(parts) for _ in range(random_.randrange(7))) for _ in range(300)]


def test_recordio_that_mxnet_wrote_is_read_as_mxnet_reads_it(records: list[bytes], tmp_path: Path) -> None:
    content = recordio(records, tmp_path)
    assert sum(MAGIC in record for record in records) > 50
    for seed in range(5):
        found = list(split(cut(content, seed), "recordio"))
        assert [record.content for record in found] == records
        assert [record.place.number for record in found] == list(range(1, len(records) + 1))
        assert all(content.startswith(MAGIC, record.place.start) for record in found)
    assert list(split([], "recordio")) == []


def outcome(chunks: Iterable[bytes]) -> tuple[list[bytes], str]:
    """The records up to an error, and its code."""
    read = []
    try:
        for record in split(chunks, "recordio", most_bytes=1000, path="a.rec"):
            read.append(record.content)
    except InputError as error:
        return read, error.code
    return read, ""


def test_recordio_that_is_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    records = [b"abc", MAGIC + b"x" + MAGIC, MAGIC * 3]
    content = recordio(records, tmp_path)
    starts = {record.place.start for record in split([content], "recordio")}
    for stop in range(1, len(content)):
        read, code = outcome([content[:stop]])
        assert read == records[: len(read)]
        assert code == ("" if stop in starts else "truncated")


@given(st.integers(0, 1 << 30))
def test_recordio_that_is_garbled_anywhere_gives_records_or_an_error(seed: int) -> None:
    random_ = random.Random(seed)
    whole = b"".join(MAGIC + bytes([size, 0, 0, 0]) + bytes(size + -size % 4) for size in (3, 0, 8, 5))
    changed = bytearray(whole)
    for _ in range(random_.randrange(1, 4)):
        changed[random_.randrange(len(whole))] = random_.choice((0, 1, 0x20, 0x40, 0x60, 0xE0, random_.randrange(256)))
    read, code = outcome(cut(bytes(changed), seed))
    assert sum(map(len, read)) <= len(whole)
    assert code in ("", "truncated", "bad_recordio", "payload_too_large")


def test_errors_of_recordio_say_where() -> None:
    part = MAGIC + b"\x04\0\0\0abcd"
    for content, code, message in (
        (part + b"1,2\n3,4\n", "bad_recordio", "^a.rec: expected RecordIO's magic word at byte 12, found 0x0a322c31$"),
        (part + part[:10], "truncated", "^a.rec: ends in the middle of record 2, which begins at byte 12$"),
        (MAGIC + b"\x04\0\0\x40abcd", "bad_recordio", "^a.rec: record 1 has a part of another record at byte 0$"),
        (MAGIC + b"\x04\0\0\x20abcd" + part, "bad_recordio", "record 1 has a part of another record at byte 12$"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            list(split([content], "recordio", path="a.rec"))
        assert caught.value.code == code


@pytest.mark.parametrize("kind", ["none", "line", "recordio"])
def test_a_record_over_the_limit_is_an_error_and_is_not_held(kind: str) -> None:
    read = []

    def endless() -> Iterator[bytes]:
        yield MAGIC + b"\xff\xff\xff\x1f" if kind == "recordio" else b"1\n"
        while True:
            read.append(1)
            yield b"x" * 1000

    with pytest.raises(InputError, match=r"has more than 5,000 bytes$") as caught:
        list(split(endless(), kind, most_bytes=5000))
    assert caught.value.code == "payload_too_large"
    assert len(read) < 10


def contents(records: list[bytes], most_bytes: int | None, *, single: bool = False) -> list[bytes]:
    made = (Record(content, Place(0, number)) for number, content in enumerate(records, 1))
    return [payload.content for payload in payloads(made, most_bytes, single=single)]


def test_as_many_records_as_fit_are_a_payload() -> None:
    records = [b"12\n", b"3\n", b"4567\n", b"8\n"]
    assert contents(records, 5) == [b"12\n3\n", b"4567\n", b"8\n"]
    assert contents(records, 6) == [b"12\n3\n", b"4567\n", b"8\n"]
    assert contents(records, 7) == [b"12\n3\n", b"4567\n8\n"]
    assert contents(records, None) == [b"".join(records)]
    assert contents(records, 7, single=True) == records
    with pytest.raises(InputError, match=r"^record 3, which begins at byte 0, has more than 4 bytes$"):
        contents(records, 4)


@given(st.lists(st.binary(max_size=20), max_size=30), st.integers(20, 60))
def test_payloads_hold_all_records_and_are_as_long_as_they_may_be(records: list[bytes], most: int) -> None:
    found = contents(records, most)
    assert b"".join(found) == b"".join(records)
    assert all(len(content) <= most for content in found)
    made = payloads((Record(content, Place(0, 1)) for content in records), most)
    assert sum(len(payload.places) for payload in made) == len(records)


def test_an_error_in_a_payload_is_at_its_line_of_the_object() -> None:
    (payload,) = payloads(split([b"1\n\n\n2\nx\n"], "line"))
    assert payload.content == b"1\n2\nx\n"
    assert payload.locate(InputError("x", line=3, column=1)).line == 5
    assert payload.locate(InputError("x")).line is None
    assert Payload(b"", []).locate(InputError("x", line=3)).line == 3
