"""JSON to float32: the kernel reads what the json module reads, bit for bit, or leaves it to that module."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastinfer._native.json import JsonParser, read_json_lines
from fastinfer.codecs.csv_errors import CODES
from fastinfer.codecs.json import decode_by_module, decode_json_body
from fastinfer.errors import InputError

OK, FULL, NOT_PLAIN = (
    next(code.number for code in CODES if code.word == word) for word in ("ok", "output_full", "not_plain")
)


def read(body: bytes, room: int = 4096) -> tuple[np.ndarray | None, int]:
    """The array, None where the body is not plain; and the position. Read in calls of `room` values."""
    parser = JsonParser()
    parser.reset(b"]9" + body + b"7,[", 2, 2 + len(body))
    parts = []
    while True:
        out = np.full(room + 8, 12345.0, np.float32)
        written = parser.parse(out, 0, room)
        assert (out[room:] == 12345.0).all(), "a float behind the output was written"
        parts.append(out[:written])
        if parser.code != FULL:
            break
        assert written == room or not room
    values = np.concatenate(parts)
    return values.reshape(parser.shape) if parser.done else None, parser.position - 2


def by_module(body: bytes) -> np.ndarray | None:
    try:
        with np.errstate(over="ignore"):
            return decode_by_module(body).astype(np.float32)
    except InputError:
        return None


def same(a: np.ndarray, b: np.ndarray) -> bool:
    # All NaNs are one.
    return (
        a.shape == b.shape
        and np.where(np.isnan(a), np.float32(7), a).tobytes() == np.where(np.isnan(b), np.float32(7), b).tobytes()
    )


numbers = st.one_of(
    st.floats().map(json.dumps),
    st.floats(0, 1, width=32).map(json.dumps),
    st.integers(0, 255).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(
        ["-0", "-0.0", "0e5", "1e39", "-1e39", "1e400", "true", "false", "1E5", "NaN", "-Infinity", "0.1e-999999"]
    ),
)
spaces = st.sampled_from(["", " ", "\n", "\t\r\n  "])


@st.composite
def rectangles(draw: Any) -> bytes:
    """Lists in lists of equal lengths, with numbers in the innermost."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))

    def text(depth: int) -> str:
        if depth == len(sizes):
            return str(draw(numbers))
        comma = draw(spaces) + "," + draw(spaces)
        return "[" + draw(spaces) + comma.join(text(depth + 1) for _ in range(sizes[depth])) + draw(spaces) + "]"

    return (draw(spaces) + text(0) + draw(spaces)).encode()


@given(rectangles(), st.integers(1, 5))
@example(b"[[-0, 0.5]]", 1)
@example(b"[[12345678.12345678, 1234567812345678.5, 0.00000000000000000000123]]", 1)
def test_what_is_read_is_what_the_json_module_reads(body: bytes, room: int) -> None:
    expected = by_module(body)
    assert expected is not None
    for found, position in (read(body), read(body, room)):
        if found is None:  # an integer that Python rounds once
            assert any(
                len(digits) > 15 for digits in "".join(c if c in "0123456789" else " " for c in body.decode()).split()
            )
        else:
            assert same(found, expected)
            assert position == len(body)
    with np.errstate(over="ignore"):
        assert same(decode_json_body(body).astype(np.float32), expected)


pieces = st.sampled_from(
    [
        "[",
        "]",
        ",",
        "[[",
        "]]",
        "],[",
        "1",
        "-",
        "0",
        "2.5",
        "1e5",
        ".",
        "e",
        " ",
        "\n",
        "null",
        "true",
        '"a"',
        "{",
        "}",
        ":",
        "NaN",
        "Infinity",
        "01",
        "\ufeff",
        "é",
        "\0",
        "1,2",
        "//",
    ]
)


@given(st.lists(pieces, max_size=14).map(lambda parts: "".join(parts).encode()))
@example(b"[[1,2],[3]]")
@example(b"[[1],2]")
@example(b"[1,[2]]")
@example(b"[[[1]],[2]]")
@example(b"[[],[]]")
@example(b"[1,]")
@example(b"[1] 2")
def test_what_the_json_module_refuses_is_not_read(body: bytes) -> None:
    expected, (found, position) = by_module(body), read(body)
    if found is not None:
        assert expected is not None
        assert same(found, expected)
    assert 0 <= position <= len(body)


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", 0), (b"5", 0), (b"[[1, x]]", 5), (b"[[1, 2], [3]]", 11), (b"[[1], [2, 3]]", 10), (b"[01]", 1), (b"[1.]", 1),
        (b"[.5]", 1), (b"[+1]", 1), (b"[1e]", 1), (b"[1,2", 4), (b"[1]]", 3), (b'["1"]', 1), (b"[null]", 1), (b"{}", 0),
        (b"[]", 1), (b"[1234567890123456]", 1), (b"[" * 33 + b"1" + b"]" * 33, 32), (b"[nan]", 1), (b"[True]", 1),
        (b"[1,,2]", 3), (b"[-]", 1),
    ],
)  # fmt: skip
def test_where_a_body_stops_being_plain_is_known(body: bytes, position: int) -> None:
    assert read(body) == (None, position)


def test_a_rectangle_of_32_dimensions_is_read() -> None:
    found, _ = read(b"[" * 32 + b"1" + b"]" * 32)
    assert found is not None
    assert found.shape == (1,) * 32


def test_rows_of_bodies_are_read_together_up_to_one_that_is_not_plain() -> None:
    bodies = [b"[[1, 2], [3, 4]]", b"[[5, 6]]\n", b"[[7]]", b"[[8, 9]]"]
    buffer, bounds, end = b"".join(bodies), [], 0
    for body in bodies:
        end += len(body)
        bounds.append((end, 0))
    parser, out = JsonParser(), np.zeros(20, np.float32)
    assert parser.parse_bodies(buffer, bounds, 0, out, 2, (2,), False) == [2, 1]
    assert out[:8].tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert parser.parse_bodies(buffer, bounds, 3, out, 0, (2,), False) == [1]
    assert parser.parse_bodies(buffer, bounds, 0, out[:3], 0, (2,), False) == []
    # Other shapes of as many values only where they may have any.
    assert parser.parse_bodies(buffer, bounds, 0, out, 0, (2, 1), False) == []
    assert parser.parse_bodies(buffer, bounds, 0, out, 0, (2, 1), True) == [2, 1]
    assert parser.parse_bodies(b"[1, 2]", [(6, 0)], 0, out, 0, (1,), True) == []
    assert parser.parse_bodies(b"[[1, 2]]", [(8, 5)], 0, out, 0, (2,), False) == []


lines = st.one_of(
    st.lists(numbers, min_size=2, max_size=2).map(lambda cells: "[" + ", ".join(cells) + "]"),
    st.sampled_from(["", " \t", "[1]", "[1,2,3]", "x", "[[1],[2]]", "[1,2] ", "[1234567890123456789, 1]"]),
)


@given(st.lists(lines, max_size=8), st.sampled_from(["\n", "\r\n"]), st.integers(0, 8))
def test_lines_are_read_whole_one_after_another(texts: list[str], end: str, room: int) -> None:
    body = end.join(texts).encode()
    out = np.full(room + 4, 12345.0, np.float32)
    code, position, written, count = read_json_lines(body, 0, len(body), 2, memoryview(out)[:room], 0)
    assert (out[room:] == 12345.0).all()
    before = body[:position].split(b"\n")
    if not before[-1]:  # behind the last line end
        before.pop()
    assert count == len(before)
    rows = [by_module(line) for line in before if line.strip()]
    assert written == 2 * len(rows)
    for row, expected in zip(out[:written].reshape(-1, 2), rows):
        assert expected is not None
        assert same(row, expected.reshape(-1))
    if code == OK:
        assert position == len(body)
    elif code == FULL:
        assert room - written < 2
    else:
        odd, _ = read(body[position:].split(b"\n")[0])
        assert odd is None or odd.size != 2


def test_nan_is_the_value_that_python_reads() -> None:
    assert math.isnan(read(b"[NaN]")[0][0])  # type: ignore[index]


def test_arguments_are_checked() -> None:
    parser = JsonParser()
    with pytest.raises(ValueError, match="the parser has no body"):
        parser.parse(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="not within"):
        parser.reset(b"[1]", 2, 1)
    with pytest.raises(ValueError, match="expected a buffer of float32"):
        read_json_lines(b"[1]", 0, 3, 1, np.zeros(1), 0)
    with pytest.raises(ValueError, match="not within"):
        read_json_lines(b"[1]", 0, 4, 1, np.zeros(1, np.float32), 0)
