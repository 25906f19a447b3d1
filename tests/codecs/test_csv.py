"""The pulled decoder: whatever the chunks and the room for rows, the rows are the same, and bad records have their place."""

from __future__ import annotations

import tempfile
import tracemalloc
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.codecs.base import DONE, FULL, BadRecord
from fastinfer.codecs.csv import CsvDecoder, CsvOptions, count_columns, read_body
from fastinfer.engine.source import find_objects
from fastinfer.errors import InputError
from fastinfer.records.reading import read_chunks
from fastinfer.records.spans import whole
from fastinfer.storage.local import LocalStore


def chunks_of(body: bytes, size: int) -> Iterator[tuple[bytearray, int, int, bool]]:
    """A body as the reader gives it: cut at line ends."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        buffer = bytearray(size)
        for chunk in read_chunks(LocalStore(), whole(next(find_objects(file.name))), buffer, 1 << 20):
            yield buffer, chunk.start, chunk.stop, chunk.base == 0


def decode(
    body: bytes, row_values: int, *, size: int = 64, room: int = 16, quarantine: bool = False, **options: Any
) -> tuple[list[float | None], list[tuple[BadRecord, bytes]]]:
    """All values of a body, None for each bad record; and the bad records with their bytes."""
    decoder = CsvDecoder(CsvOptions(**options), row_values, line_is_record=quarantine)
    rows = np.zeros(room * row_values, np.float32)
    values: list[float | None] = []
    bad: list[tuple[BadRecord, bytes]] = []
    filled = 0
    decoder.begin(0)
    for buffer, start, stop, first in chunks_of(body, size):
        decoder.start(buffer, start, stop, first=first)
        while (outcome := decoder.fill(rows, filled)) is not DONE:
            filled += decoder.written
            if isinstance(outcome, BadRecord):
                bad.append((outcome, bytes(buffer[outcome.start : outcome.stop])))
                values += [*rows[: filled - outcome.values].tolist(), None]
            else:
                assert outcome is FULL
                assert filled == len(rows)
                values += rows.tolist()
            filled = 0
        filled += decoder.written
        values += rows[:filled].tolist()
        filled = 0
    decoder.end(may_be_empty=False)
    return values, bad


@given(
    lines=st.lists(st.lists(st.integers(-99, 99), min_size=3, max_size=3), min_size=1, max_size=30),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.integers(16, 200),
    room=st.integers(1, 9),
)
def test_chunks_and_room_do_not_change_the_rows(lines: list[list[int]], newline: bytes, size: int, room: int) -> None:
    body = b"".join(b",".join(b"%d" % value for value in line) + newline for line in lines)
    assert decode(body, 3, size=size, room=room) == ([value for line in lines for value in line], [])
    values, bad = decode(body, 3, size=size, room=room, quarantine=True)
    assert (values, bad) == ([value for line in lines for value in line], [])


@given(
    lines=st.lists(
        st.sampled_from([b"1,2", b"1,2,3", b"1", b"x,2", b"1,", b",", b"1,2 ", b'"1",2']), min_size=1, max_size=30
    ),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.integers(16, 200),
    room=st.integers(1, 9),
)
def test_bad_records_are_passed_over_with_line_and_text(
    lines: list[bytes], newline: bytes, size: int, room: int
) -> None:
    body = newline.join(lines) + newline
    values, bad = decode(body, 2, size=size, room=room, quarantine=True)
    good = [line.strip() == b"1,2" for line in lines]
    assert values == [value for is_good in good for value in ([1.0, 2.0] if is_good else [None])]
    assert [text for _, text in bad] == [line for line, is_good in zip(lines, good) if not is_good]
    assert [record.error.line for record, _ in bad] == lines_of_bad(lines, good, newline, size)
    assert all(record.error.column is not None and record.error.path is None for record, _ in bad)


def lines_of_bad(lines: list[bytes], good: list[bool], newline: bytes, size: int) -> list[int]:
    """Their line numbers, each counted from the start of its chunk."""
    numbers = []
    for buffer, start, stop, _ in chunks_of(newline.join(lines) + newline, size):
        count = len(bytes(buffer[start:stop]).splitlines())
        numbers += [number for number, is_good in enumerate(good[:count], 1) if not is_good]
        good = good[count:]
    return numbers


class Watched(bytearray):
    """A buffer that counts the bytes in which line ends were looked for backwards."""

    looked_at = 0

    def rfind(self, sub: Any, start: Any = 0, stop: Any = None) -> int:
        found = super().rfind(sub, start, stop)
        self.looked_at += stop - max(found, start)
        return found


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("lines", [b"x", b"1", b"1,2,3"])
def test_the_places_of_many_bad_records_are_found_in_one_pass(lines: bytes, newline: bytes) -> None:
    buffer = Watched((lines + newline) * 5000)
    decoder = CsvDecoder(CsvOptions(), 2, line_is_record=True)
    rows = np.zeros(64, np.float32)
    decoder.begin(0)
    decoder.start(buffer, 0, len(buffer), first=True)
    numbers = []
    while isinstance(outcome := decoder.fill(rows, 0), BadRecord):
        numbers.append(outcome.error.line)
    assert outcome is DONE
    assert numbers == [*range(1, 5001)]
    assert buffer.looked_at <= 2 * len(buffer)


@pytest.mark.parametrize("comment", [None, "#"])
@pytest.mark.parametrize("line", [b"x" * (8 << 20), b"1," * (4 << 20), b"1," * (4 << 20) + b"# x"])
def test_a_long_bad_record_is_not_copied(line: bytes, comment: str | None) -> None:
    buffer = bytearray(line + b"\n")
    decoder = CsvDecoder(CsvOptions(comment=comment), 4, line_is_record=True)
    rows = np.zeros(64, np.float32)
    decoder.begin(0)
    decoder.start(buffer, 0, len(buffer), first=True)
    tracemalloc.start()
    try:
        outcome = decoder.fill(rows, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, BadRecord)
    assert (outcome.start, outcome.stop) == (0, len(line))
    assert len(str(outcome.error)) < 300
    assert peak < 1 << 20


@pytest.mark.parametrize(("values", "is_cut"), [(5, True), (3, True), (4, False), (8, False), (2, False), (1, False)])
def test_lines_that_are_cut_across_records_are_warned_of(values: int, is_cut: bool) -> None:
    line = b",".join([b"1"] * values) + b"\n"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoded, _ = decode(line * 4, 4, cut_lines=True)
        buffer = line * 4
        rows = CsvDecoder(CsvOptions(), 4, line_is_record=False).fill_bodies(
            bytearray(buffer), [(len(buffer), 0)], 0, np.zeros(64, np.float32), 0
        )
    assert len(decoded) == 4 * values
    # A body that is cut is not read in one call with others: the one that reads it alone warns.
    assert rows == ([] if is_cut else [values])
    assert [str(each.message) for each in caught] == (
        [f"lines of {values} values are cut across records of 4 values: only the total of values counts"] * is_cut
    )


@pytest.mark.parametrize(
    ("body", "options", "line", "message", "hint"),
    [
        (
            b"17,1,2,3,4\n18,5,6,7,8\n",
            {},
            1,
            "4 values, or of a multiple or a part of that, found 5",
            "here '17', may be an ID",
        ),
        (b"\n# x\n0.5,1,2,3,4\n", {"comment": "#"}, 3, "found 5", "there is one column more: an ID or a label?"),
        (
            b"a,b\n1,2,3,4,\n",
            {"missing": 0.0, "skip_header": True},
            2,
            "found 5",
            "the lines end in a comma: remove it",
        ),
        (b"1,2,3\n", {}, 1, "found 3", "there is one column less"),
        (b"1,2,3,4,5,6\n" * 90, {}, 1, "found 6", "is it the right model"),
        (b"7,1,2,3,4,5,6,7,8\n", {}, 1, "found 9", "here '7', may be an ID"),
    ],
)
def test_lines_that_are_cut_across_records_are_refused(
    body: bytes, options: dict[str, Any], line: int, message: str, hint: str
) -> None:
    decoder, buffer = CsvDecoder(CsvOptions(**options), 4, line_is_record=False), bytearray(body)
    decoder.begin(0)
    decoder.start(buffer, 0, len(buffer), first=True)
    outcome = decoder.fill(np.zeros(4096, np.float32), 0)
    assert isinstance(outcome, BadRecord)
    assert (outcome.error.code, outcome.error.line) == ("wrong_width", line)
    assert message in outcome.error.message
    assert hint in (outcome.error.hint or "")
    decoder.release()


@pytest.mark.parametrize("body", [b"0,1,2,3\n5,6,7,8\n", b"0,1,2,3"])
def test_a_first_line_of_numbers_that_count_is_warned_of(body: bytes) -> None:
    told = "a first line counts 0,1,2,… to 3, as names of columns do; it is read as a record"
    with pytest.warns(RuntimeWarning, match=told):
        decode(body, 4)
    decoder = CsvDecoder(CsvOptions(), 4, line_is_record=False)
    with pytest.warns(RuntimeWarning, match=told):
        decoder.fill_bodies(bytearray(body), [(len(body), 0)], 0, np.zeros(64, np.float32), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(b"0,1,2,3,4,5,6,7\n", 4)
        decode(b"0,1,2,4\n", 4)
        decode(b"0,1\n", 2)


def test_lines_count_from_the_chunks_start() -> None:
    _, bad = decode(b"1\n" * 20 + b"x\n" + b"1\n" * 3 + b"y\n", 1, size=200, quarantine=True)
    assert [(record.error.line, record.error.column, record.error.found) for record, _ in bad] == [
        (21, 1, "x"),
        (25, 1, "y"),
    ]


def test_a_line_of_another_length_is_compared_with_what_says_how_long_it_is() -> None:
    _, bad = decode(b"1,2,3\n1,2\n", 2, quarantine=True)
    assert [record.error.message for record, _ in bad] == ["expected 2 fields as the model takes, found 3"]
    decoder, body = CsvDecoder(CsvOptions(), 2, line_is_record=False), bytearray(b"1,2\n1,2,3\n")
    decoder.begin(0)
    decoder.start(body, 0, len(body), first=True)
    outcome = decoder.fill(np.zeros(8, np.float32), 0)
    assert isinstance(outcome, BadRecord)
    assert outcome.error.message == "expected 2 fields as in the first line, found 3"


def test_header_mark_comments_and_empty_cells() -> None:
    assert decode(b"\xef\xbb\xbf1,2\n", 2) == ([1, 2], [])
    assert decode(b"\xef\xbb\xbfa,b\n1,2\n", 2, skip_header=True) == ([1, 2], [])
    assert decode(b"# x\n1,2 # y\n", 2, comment="#") == ([1, 2], [])
    assert decode(b"1,\n", 2, missing=-1.0) == ([1, -1], [])


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "empty_input"), (b"\n\n", "empty_input"), (b"1\n2\n3\n", "partial_row")]
)
def test_totals_are_checked_at_the_end(body: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(body, 2)
    assert caught.value.code == code
    assert caught.value.path is None


def test_a_part_of_an_object_may_be_empty() -> None:
    decoder = CsvDecoder(CsvOptions(), 2, line_is_record=False)
    decoder.begin(2)
    decoder.start(bytearray(b"\n\n"), 0, 2, first=False)
    assert decoder.fill(np.zeros(4, np.float32), 0) is DONE
    decoder.end(may_be_empty=True)


def test_plain_bodies_are_read_in_one_call_up_to_one_that_is_not() -> None:
    bodies = [b"1,2\n", b"3,4\n5,6\n", b"x\n", b"7,8\n"]
    buffer, bounds = bytearray(), []
    for body in bodies:
        buffer += body
        bounds.append((len(buffer), 0))
    rows = np.zeros(20, np.float32)
    decoder = CsvDecoder(CsvOptions(), 2, line_is_record=False)
    assert decoder.fill_bodies(buffer, bounds, 0, rows, 2) == [1, 2]
    assert rows[2:8].tolist() == [1, 2, 3, 4, 5, 6]
    assert decoder.fill_bodies(buffer, bounds, 3, rows, 0) == [1]
    skipping = CsvDecoder(CsvOptions(skip_header=True), 2, line_is_record=False)
    assert skipping.fill_bodies(buffer, bounds, 0, rows, 0) == []


def test_the_chunk_is_let_go_when_it_is_done() -> None:
    buffer = bytearray(b"1,2\n")
    decoder = CsvDecoder(CsvOptions(), 2, line_is_record=False)
    decoder.begin(0)
    decoder.start(buffer, 0, 4, first=True)
    with pytest.raises(BufferError):
        buffer.append(1)
    assert decoder.fill(np.zeros(2, np.float32), 0) is DONE
    buffer.append(1)
    decoder.start(buffer, 0, 4, first=False)
    decoder.release()
    buffer.append(1)


@pytest.mark.parametrize(
    ("blocks", "options", "columns"),
    [
        ([b"1,2,3\n"], CsvOptions(), 3),
        ([b"\n", b"# a,b\n", b"1,2\n"], CsvOptions(comment="#"), 2),
        ([b"a,b,c\n", b"1,2\n"], CsvOptions(skip_header=True), 2),
        ([b"\xef\xbb\xbf1,2\n"], CsvOptions(), 2),
        ([b"1,2\n1,2,3\nx\n"], CsvOptions(), 2),
        ([b"a\n\n", b"\n# x\n1,2,3", b"x"], CsvOptions(comment="#", skip_header=True), 3),
        ([b",".join([b"1"] * 5000) + b"\n1\n"], CsvOptions(), 5000),
        ([b"a,b\n"], CsvOptions(), 0),
        ([b"1,b\n", b"1,2\n"], CsvOptions(), 0),
        ([b"\n"], CsvOptions(skip_header=True), 0),
        ([], CsvOptions(), 0),
    ],
)
def test_columns_are_those_of_the_first_record(blocks: list[bytes], options: CsvOptions, columns: int) -> None:
    assert count_columns(blocks, options) == columns


def test_a_whole_body_is_read_at_once() -> None:
    rows = np.zeros(8, np.float32)
    assert read_body(b"\xef\xbb\xbf1,2\n3,4\n", rows) == 4
    assert rows[:4].tolist() == [1, 2, 3, 4]
