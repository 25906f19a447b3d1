"""CSV to float32: every target equals Python's float() on what is accepted, and refuses the rest at a stated place."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastinfer import kernels
from fastinfer._native.json import JsonParser
from fastinfer.errors import ConfigError, InputError

ISAS = kernels.available_isas()


def read(body: bytes, isa: str, capacity: int = 4096, **options: object) -> tuple[list[float], int, int, int]:
    """Values, code, position and columns of one body read in one call."""
    out = np.full(capacity + 16, 12345.0, np.float32)
    parser = kernels.CsvParser(body, isa=isa, **options)
    written = parser.parse(out, 0, capacity)
    assert (out[capacity:] == 12345.0).all(), "a float behind the output was written"
    return out[:written].tolist(), parser.code, parser.position, parser.columns


def python_float32(text: str) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(float(text)))


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)


spellings = [
    lambda v: repr(v),
    lambda v: f"{v:.6E}",
    lambda v: f"{v:.8f}",
    lambda v: f"{v:+.3e}",
    lambda v: f"{v:.40g}",
    lambda v: repr(float(np.float32(v))) if abs(v) < 3e38 else repr(v),
]
numbers = st.one_of(
    st.builds(lambda v, spell: spell(v), st.floats(), st.sampled_from(spellings)),
    st.builds(lambda v, spell: spell(v), st.floats(0, 1), st.sampled_from(spellings)),
    st.integers(0, 255).map(str),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(
        ["0", "0.0", "0.000000E+00", "1.000000E+00", ".5", "5.", "-0", "+0.5", "1e400", "-1e400", "1e39", "1e-400"]
    ),
    st.sampled_from(["nan", "-NaN", "inf", "+inf", "-Infinity", "INFINITY", "00012", "0e999", "1" + "0" * 400]),
    st.from_regex(r"[+-]?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)


@pytest.mark.parametrize("isa", ISAS)
@given(cells=st.lists(numbers, min_size=1, max_size=60), end=st.sampled_from(["", "\n", "\r\n", "\r"]))
@example(cells=["0.000000E+00"] * 40 + ["4.980392E-01"] + ["0.000000E+00"] * 7, end="\n")
def test_values_are_what_float_gives(isa: str, cells: list[str], end: str) -> None:
    values, code, position, columns = read((",".join(cells) + end).encode(), isa)
    assert code == 0
    assert columns == len(cells)
    assert position == len(",".join(cells) + end)
    for text, value in zip(cells, values):
        assert same(value, python_float32(text)), text


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


almost_numbers = st.text(alphabet="0123456789.+-eEinfatyNxX_#()j\0\x0b\xa0é", min_size=1, max_size=12)


@pytest.mark.parametrize("isa", ISAS)
@given(cell=almost_numbers)
@example(cell="nan(1)")
@example(cell="+-1")
@example(cell="0x10")
@example(cell="1_0")
def test_a_cell_is_accepted_where_float_accepts_it(isa: str, cell: str) -> None:
    # float() strips more kinds of white space than a cell may hold.
    expected = is_number(cell) and cell == cell.strip("\x0b")
    values, code, position, _ = read(f"1,{cell},2".encode(), isa)
    assert (code == 0) == expected
    if expected:
        assert same(values[1], python_float32(cell))
    else:
        assert (values, code, position) == ([1.0], 2, 2)


pieces = st.sampled_from(
    ["0,", "1,", "255,", "0.000000E+00,", "9.960785E-01,", "0.000000E+00\n", "\n", "\r", "\r\n", " ", "\t", ",", "x",
     "#", "0.5", "1e5", "-", "0.49803921580314636,", "0.0,", "nan", "\ufeff", "0,0,0,0,0,0,0,", "1,2,3\n", "1,2,3\r\n"]
)  # fmt: skip
bodies = st.lists(pieces, max_size=80).map(lambda parts: "".join(parts).encode())


@pytest.mark.parametrize("isa", ISAS)
@given(body=bodies, capacity=st.integers(0, 60), missing=st.none() | st.just(-1.0), comment=st.none() | st.just("#"))
def test_every_target_equals_the_reference(
    isa: str, body: bytes, capacity: int, missing: float | None, comment: str | None
) -> None:
    expected = read(body, "scalar", capacity, missing=missing, comment=comment)
    found = read(body, isa, capacity, missing=missing, comment=comment)
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("isa", ISAS)
@given(body=bodies, room=st.integers(1, 9))
def test_reading_in_many_calls_gives_what_one_call_gives(isa: str, body: bytes, room: int) -> None:
    expected = read(body, isa)
    parser = kernels.CsvParser(body, isa=isa)
    out = np.empty(room, np.float32)
    values: list[float] = []
    while True:
        values += out[: parser.parse(out)].tolist()
        if parser.code != 1:
            break
    assert repr((values, parser.code, parser.position, parser.columns)) == repr(expected)


@pytest.mark.parametrize("isa", ISAS)
def test_a_part_of_a_body_is_read_as_if_it_stood_alone(isa: str) -> None:
    body = b"1,2\n3,4\n5,6\n"
    out = np.zeros(4, np.float32)
    parser = kernels.CsvParser(isa=isa)
    parser.reset(body, 4, 8)
    assert parser.parse(out, 1) == 2
    assert out[1:3].tolist() == [3, 4]
    assert (parser.done, parser.position) == (True, 8)


@pytest.mark.parametrize("make", [kernels.CsvParser, JsonParser])
def test_a_body_that_is_shorter_than_its_part_is_refused_and_nothing_is_read(make: type[kernels.CsvParser]) -> None:
    parser = make()
    parser.reset(b"1,2\n" * 100)
    with pytest.raises(ValueError, match="range 0:400 is not within 0:2"):
        parser.reset(b"1\n", 0, 400)
    with pytest.raises(ValueError, match="no body"):  # neither the other one's bytes nor those behind this one
        parser.parse(np.zeros(400, np.float32))
    body = bytearray(b"1\n")
    parser.reset(body)
    parser.release()
    body += b"2\n"


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    out = np.empty((1, 2), np.float32)
    assert kernels.parse_csv(b"\xef\xbb\xbf1,2\n", out) == 1
    for body in (b"\xef\xbb\xbf\xef\xbb\xbf1,2\n", b"1\n\xef\xbb\xbf2\n"):
        with pytest.raises(InputError, match="expected a number"):
            kernels.parse_csv(body, out)


@pytest.mark.parametrize("isa", ISAS)
@given(
    before=st.binary(max_size=40) | st.text("0123456789.e-,", max_size=40).map(str.encode),
    behind=st.binary(max_size=40) | st.text("0123456789.e-,", max_size=40).map(str.encode),
    cells=st.lists(
        st.sampled_from([b"0", b"7", b"25", b"255", b"1234", b"0.5", b"0.000000E+00", b"9.960785E-01"]), min_size=1
    ),
)
def test_text_around_a_body_does_not_matter(isa: str, before: bytes, behind: bytes, cells: list[bytes]) -> None:
    body = b",".join(cells)
    out = np.zeros(len(cells), np.float32)
    parser = kernels.CsvParser(isa=isa)
    parser.reset(before + body + behind, len(before), len(before) + len(body))
    assert parser.parse(out) == len(cells)
    assert out.tolist() == [float(np.float32(float(cell))) for cell in cells]
    assert (parser.done, parser.position) == (True, len(before) + len(body))


def test_an_empty_cell_can_be_given_a_value() -> None:
    assert read(b"1,,\n,2,3\n", "scalar", missing=-1.0)[0] == [1, -1, -1, -1, 2, 3]


def test_comments_can_be_skipped() -> None:
    assert read(b"# head\n1,2 # tail\n\n#\n3,4#", "scalar", comment="#")[:3] == ([1, 2, 3, 4], 0, 25)


@pytest.mark.parametrize("sign", ["", "ab", "1", ",", "\n", "e", "é", "i", "N", "f"])
def test_a_comment_sign_that_numbers_hold_is_refused(sign: str) -> None:
    with pytest.raises(ConfigError, match="expected as comment one ASCII character"):
        kernels.CsvParser(b"", comment=sign)


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"takes one of .*scalar"):
        kernels.CsvParser(b"", isa="mmx")


def test_parse_csv_counts_rows_of_any_layout() -> None:
    out = np.empty((3, 2, 2), np.float32)
    assert kernels.parse_csv(b"1,2\n3,4\n5,6\n7,8\n", out) == 2
    assert out[:2].ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert kernels.parse_csv(memoryview(b"1\n2\n3\n4"), out) == 1
    assert kernels.parse_csv(bytearray(b"1,2,3,4,5,6,7,8\n"), out) == 2


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"1,2,3,4\n1,2,abc,4\n", "expected_number", "a:2:5: expected a number, found 'abc' (field 3 of 4)"),
        (b"x,y\n1,2\n", "expected_number", "a:1:1: expected a number, found 'x' (field 1 of 2)"),
        (b"1,2,3,#4\n", "expected_number", "a:1:7: expected a number, found '#4' (field 4 of 4)"),
        (b"1,2,,4\n", "empty_cell", "a:1:5: expected a number, found an empty field (field 3 of 4)"),
        (b"1,2,3,\r\n", "empty_cell", "a:1:7: expected a number, found an empty field (field 4 of 4)"),
        (b"1,2,3,4\r1,2,3\r", "unequal_line", "a:2:6: expected 4 fields as in the first line, found 3"),
        (b"1,2,3,4\r\n\r\n1,2,3,4,5\n", "unequal_line", "a:3:9: expected 4 fields as in the first line, found 5"),
        (b"1,2,3\n", "partial_row", "a:2: expected a multiple of 4 values, found 3"),
        (b" \n\n", "empty_input", "a: empty input: no values found"),
        (b"1\n" * 13, "output_full", "a:13:1: there are more values than the output has room for"),
        (b"1," + b"x" * 99, "expected_number", "found '" + "x" * 60 + "…' (field 2 of 2)"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_what_was_found(body: bytes, code: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        kernels.parse_csv(body, np.empty((3, 2, 2), np.float32), path="a")
    assert caught.value.code == code
    assert message in str(caught.value)
    # What else to do about it depends on the caller.
    assert caught.value.hint == ("the line ends in a comma: remove it" if body.endswith(b",\r\n") else None)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 2)),
        np.empty(4, np.float32),
        np.empty((4, 4), np.float32)[:, ::2],
        np.empty((0, 2), np.float32),
        None,
    ],
)
def test_an_output_that_cannot_be_written_is_refused(out: object) -> None:
    with pytest.raises((ValueError, BufferError)):
        kernels.parse_csv(b"1,2\n", out)


def test_the_memory_of_an_ndarray_is_written() -> None:
    from fastinfer.runtimes.mxnet.library import load_mxnet

    mxnet = load_mxnet()
    out = mxnet.nd.zeros((2, 3))
    shape, memory = kernels.float32_memory(out)
    assert shape == (2, 3)
    assert kernels.parse_csv(b"1,2,3\n4,5,6\n", out) == 2
    # The buffer was taken before: it sees what was written, so no copy was made on the way.
    assert list(memory) == [1, 2, 3, 4, 5, 6]
    assert out.asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_text_in_a_comment_is_not_a_field() -> None:
    for body, found in ((b"1,2\n1,2,3 # a,b\n", "found 3"), (b"1,2\n1,q # a,b\n", "found 'q' (field 2 of 2)")):
        with pytest.raises(InputError) as caught:
            kernels.parse_csv(body, np.empty((3, 2), np.float32), comment="#")
        assert found in str(caught.value)
