"""JSON and JSON Lines as rows of a batch: what a whole body gives, however small the batch and the chunks are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.codecs.base import DONE, FULL, BadRecord, Decoder
from fastinfer.codecs.json import decode_json_body
from fastinfer.codecs.json_input import JsonCodec, JsonLinesCodec, check_shape
from fastinfer.codecs.jsonlines import decode_jsonlines_body
from fastinfer.errors import InputError


def read(decoder: Decoder, chunks: list[bytes], room: int) -> tuple[list[float], list[BadRecord]]:
    """All values, in batches of `room`, and the bad records."""
    values: list[float] = []
    bad = []
    decoder.begin(0)
    for chunk in chunks:
        buffer = bytearray(b"[[" + chunk + b"]]")
        decoder.start(buffer, 2, 2 + len(chunk), first=False)
        rows, filled = np.full(room, 12345.0, np.float32), 0
        while (outcome := decoder.fill(memoryview(rows), filled)) is not DONE:
            filled += decoder.written
            if isinstance(outcome, BadRecord):
                filled -= outcome.values
                bad.append(outcome._replace(start=outcome.start - 2, stop=outcome.stop - 2))
                continue
            assert outcome is FULL
            values += rows[:filled].tolist()
            filled = 0
        values += rows[: filled + decoder.written].tolist()
        decoder.release()
        buffer += b"x"  # nothing holds it
    decoder.end(may_be_empty=False)
    return values, bad


BODIES = [
    "[[1, 2], [3, 4], [5, 6]]",
    "[[1.5,2.5],[NaN,1e39]]",
    "[[1, 12345678901234567890], [3, 0.5], [true, false]]",
    "[[9007199254740993, 1]]",
    "  [ [ 1 , 2 ] ]\n",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("room", [2, 4, 100])
def test_values_are_those_of_the_whole_body(body: str, room: int) -> None:
    with np.errstate(over="ignore"):
        expected = decode_json_body(body.encode()).astype(np.float32).reshape(-1)
    found, _ = read(JsonCodec(False).decoder((2,), line_is_record=False), [body.encode()], room)
    assert np.array_equal(np.array(found, np.float32), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("[[1, 2], [3, x]]", "bad_json", "^1:14: invalid JSON: Expecting value$"),
        ("[[1, 2],\n [3, null]]", "bad_values", "^2:6: expected numbers, found null$"),
        ("[[1, 2],\n [3]]", "bad_values", "^2:4: expected a rectangular list of numbers"),
        ("[[1, 2, 3]]", "bad_shape", r"^expected a list of rows of shape \(2,\), found rows of shape \(3,\)$"),
        ("[[[1, 2]]]", "bad_shape", r"found rows of shape \(1, 2\)$"),
        ("[1, 2]", "bad_shape", "found numbers in a list$"),
        ("5", "bad_shape", "found a single value$"),
        ("[]", "empty_input", "^empty input: no rows found$"),
        (" \n", "empty_input", "^empty input: no values found$"),
        ("", "empty_input", "^empty input: no values found$"),
        ("[[1, 2]] [[3, 4]]", "bad_json", "^1:10: invalid JSON: Extra data$"),
        ("[[1, 2]", "bad_json", "invalid JSON"),
    ],
)
@pytest.mark.parametrize("room", [2, 100])
def test_errors_state_the_place_and_the_fault(body: str, code: str, message: str, room: int) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(JsonCodec(False).decoder((2,), line_is_record=False), [body.encode()], room)
    assert caught.value.code == code


def test_rows_may_have_another_shape_where_the_graph_flattens_them() -> None:
    assert read(JsonCodec(True).decoder((2, 2), line_is_record=False), [b"[[1,2,3,4]]"], 4)[0] == [1, 2, 3, 4]
    assert read(JsonCodec(False).decoder((2, 2), line_is_record=False), [b"[[[1,2],[3,4]]]"], 4)[0] == [1, 2, 3, 4]
    for any_shape, body in ((False, b"[[1,2,3,4]]"), (True, b"[[1,2,3]]"), (True, b"[1,2,3,4]")):
        with pytest.raises(InputError, match="expected a list of rows of shape"):
            read(JsonCodec(any_shape).decoder((2, 2), line_is_record=False), [body], 4)
    check_shape((3, 7), (7,), any_shape=False)


def test_a_row_of_another_length_is_known_before_a_batch_of_it_is_run() -> None:
    decoder = JsonCodec(False).decoder((2,), line_is_record=False)
    decoder.begin(0)
    body = bytearray(b"[[1, 2, 3], [4, 5, 6]]")
    decoder.start(body, 0, len(body), first=True)
    with pytest.raises(InputError, match=r"found rows of shape \(3,\)"):
        decoder.fill(np.zeros(4, np.float32), 0)
    decoder.release()


LINES = st.lists(
    st.one_of(
        st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2).map(json.dumps),
        st.sampled_from(["", "[[1],[2]]", "[1,12345678901234567890]", "[1]", "x", "[1,null]", " [3,4] "]),
    ),
    max_size=12,
)


@given(LINES, st.sampled_from([2, 4, 100]), st.integers(0, 5))
def test_lines_are_rows_and_bad_ones_are_named(lines: list[str], room: int, cut: int) -> None:
    ended = [line.encode() + b"\n" for line in lines]
    chunks = [b"".join(ended[:cut]), b"".join(ended[cut:])]
    expected: list[float] = []
    wrong = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            expected += decode_jsonlines_body(line.encode(), (2,)).reshape(-1).tolist()
        except InputError as error:
            wrong.append((number + 1 if number < cut else number + 1 - cut, error.code, line.encode()))
    if not expected and not wrong:
        with pytest.raises(InputError, match="empty input"):
            read(JsonLinesCodec().decoder((2,), line_is_record=True), chunks, room)
        return
    found, bad = read(JsonLinesCodec().decoder((2,), line_is_record=True), chunks, room)
    assert found == expected
    assert [(each.error.line, each.error.code) for each in bad] == [each[:2] for each in wrong]
    assert all(b"".join(ended)[each.start : each.stop] for each in bad)


def test_small_bodies_are_read_together() -> None:
    decoder: Any = JsonLinesCodec().decoder((2,), line_is_record=False)
    bodies = [b"[1,2]\n[3,4]\n", b"[5,6]", b"x\n", b"[7,8]\n"]
    ends = np.cumsum([len(body) for body in bodies]).tolist()
    out = np.zeros(10, np.float32)
    buffer = bytearray(b"".join(bodies))
    assert decoder.fill_bodies(buffer, [(end, 0) for end in ends], 0, out, 2) == [2, 1]
    assert out.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert decoder.fill_bodies(buffer, [(end, 0) for end in ends], 3, out, 8) == [1]
    assert decoder.fill_bodies(buffer, [(end, 2) for end in ends], 0, out, 0) == []
    plain: Any = JsonCodec(False).decoder((2,), line_is_record=False)
    assert plain.fill_bodies(bytearray(b"[[1,2]][[3,4]]"), [(7, 0), (14, 0)], 0, out, 0) == [1, 1]
