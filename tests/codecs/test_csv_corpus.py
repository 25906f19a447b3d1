"""The table of docs/kernels.md as tests: what a CSV body may hold, and at which line and column the rest is refused."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from fastinfer import kernels
from fastinfer._native.text import CsvParser
from fastinfer.codecs.csv_errors import csv_error
from fastinfer.errors import InputError

ISAS = kernels.available_isas()
INF = math.inf
ZEROS = ",".join(["0.000000E+00"] * 30)

ACCEPTED = [
    ("last newline", b"1,2\n3,4\n", [1, 2, 3, 4]),
    ("no last newline", b"1,2\n3,4", [1, 2, 3, 4]),
    ("CRLF", b"1,2\r\n3,4\r\n", [1, 2, 3, 4]),
    ("lone CR", b"1,2\r3,4\r", [1, 2, 3, 4]),
    ("mixed line ends", b"1,2\r3,4\n5,6\r\n", [1, 2, 3, 4, 5, 6]),
    ("blank lines", b"\n \n1,2\n\n\t\n3,4\n\r\n", [1, 2, 3, 4]),
    ("spaces and tabs around cells", b" 1 ,\t2\t\n3 , 4  \n", [1, 2, 3, 4]),
    ("integers beside decimals", b"0,0,0.5\n1,2,3\n", [0, 0, 0.5, 1, 2, 3]),
    ("one column", b"1\n2\n3\n", [1, 2, 3]),
    ("nan and infinities", b"inf,-inf,Infinity,-INFINITY,+inf\n", [INF, -INF, INF, -INF, INF]),
    ("overflow of double", b"1e400,-1e400\n", [INF, -INF]),
    ("overflow of float32", b"1e39,3.5e38,-1e39\n", [INF, INF, -INF]),
    ("underflow", b"1e-400,-1e-400,1e-50\n", [0, -0.0, 0]),
    ("subnormal", b"1e-45,1.1754942e-38\n", [1.401298464324817e-45, 1.1754942106924411e-38]),
    ("signs and bare points", b"+0.5,.5,5.,-.25,+1.e2\n", [0.5, 0.5, 5, -0.25, 100]),
    ("leading zeros", b"007,000.5,-00\n", [7, 0.5, -0.0]),
    ("exponents", b"1e2,1E+2,1e-2,1e0002\n", [100, 100, 0.009999999776482582, 100]),
    ("hundreds of digits", b"0." + b"3" * 400 + b",1" + b"0" * 30 + b"\n", [0.3333333432674408, 1.0000000150474662e30]),
    ("a tie between two floats", b"16777217,16777219,16777217.000000000000000001\n", [16777216, 16777220, 16777216]),
    ("fixed form", b"9.960785E-01,0.000000E+00,1.234567e+03\n", [0.9960784912109375, 0, 1234.5670166015625]),
    ("long run of the fixed form", (ZEROS + "\n").encode(), [0.0] * 30),
]  # fmt: skip

REFUSED = [
    ("text", b"1,2\n3,abc\n", "expected_number", 2, 3),
    ("header", b"a,b\n1,2\n", "expected_number", 1, 1),
    ("double quotes", b'"1","2"\n', "expected_number", 1, 1),
    ("semicolon", b"1;2\n", "expected_number", 1, 1),
    ("underscore", b"1,1_0\n", "expected_number", 1, 3),
    ("hexadecimal", b"1,0x10\n", "expected_number", 1, 3),
    ("complex", b"1,1j\n", "expected_number", 1, 3),
    ("True", b"1,True\n", "expected_number", 1, 3),
    ("nan with text", b"1,nan(1)\n", "expected_number", 1, 3),
    ("two signs", b"1,+-1\n", "expected_number", 1, 3),
    ("sign alone", b"1,-\n", "expected_number", 1, 3),
    ("point alone", b"1,.\n", "expected_number", 1, 3),
    ("exponent without digits", b"1,1e\n", "expected_number", 1, 3),
    ("two points", b"1,0.0.0\n", "expected_number", 1, 3),
    ("blank inside a number", b"1,1 0\n", "expected_number", 1, 3),
    ("NUL", b"1,2\n1,\0\n", "expected_number", 2, 3),
    ("NUL behind a number", b"1,2\n1,2\0\n", "expected_number", 2, 3),
    ("full-width digit", "1,\uff11\n".encode(), "expected_number", 1, 3),
    ("no-break space", "1,\xa02\n".encode(), "expected_number", 1, 3),
    ("invalid UTF-8", b"1,\xff\n", "expected_number", 1, 3),
    ("form feed", b"1,\x0c2\n", "expected_number", 1, 3),
    ("byte-order mark inside", b"1,2\n\xef\xbb\xbf3,4\n", "expected_number", 2, 1),
    ("comment", b"1,2\n# x\n", "expected_number", 2, 1),
    ("comment behind values", b"1,2 # x\n", "expected_number", 1, 3),
    ("wrong fixed form", (ZEROS + ",0.00000xE+00\n").encode(), "expected_number", 1, 391),
    ("letter in a run of integers", b"0," * 40 + b"1a,2\n", "expected_number", 1, 81),
    ("comma for a sign of the exponent", b"0.000000E,00," * 9 + b"1\n", "expected_number", 1, 1),
    ("empty cell", b"1,,2\n", "empty_cell", 1, 3),
    ("blank cell", b"1, ,2\n", "empty_cell", 1, 4),
    ("empty first cell", b",1\n", "empty_cell", 1, 1),
    ("trailing comma", b"1,2,\n", "empty_cell", 1, 5),
    ("trailing comma at the end", b"1,2\r\n1,", "empty_cell", 2, 3),
    ("empty cell in a run of integers", b"0," * 40 + b",2\n", "empty_cell", 1, 81),
    ("fewer cells", b"1,2,3\n1,2\n", "unequal_line", 2, 4),
    ("fewer cells, CRLF", b"1,2,3\r\n\r\n1,2\r\n", "unequal_line", 3, 4),
    ("fewer cells, lone CR", b"1,2,3\r1,2\r1,2,3\r", "unequal_line", 2, 4),
    ("more cells", b"1,2\n1,2,3\n", "unequal_line", 2, 5),
    ("more cells, fixed form", f"{ZEROS}\n{ZEROS},0.000000E+00\n".encode(), "unequal_line", 2, 391),
    ("fewer cells, integers", b"0," * 50 + b"1\n" + b"0," * 49 + b"1\n", "unequal_line", 2, 100),
    ("more cells, integers", b"0," * 50 + b"1\n" + b"0," * 51 + b"1\n", "unequal_line", 2, 103),
]  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("body", "values"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_what_is_accepted(body: bytes, values: list[float], isa: str) -> None:
    out = np.empty(64, np.float32)
    parser = CsvParser(body, isa=isa)
    written = parser.parse(out)
    assert (parser.code, parser.position) == (0, len(body))
    assert repr(out[:written].tolist()) == repr([float(value) for value in values])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("body", "code", "line", "column"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_is_refused_and_where(body: bytes, code: str, line: int, column: int, isa: str) -> None:
    parser = CsvParser(body, isa=isa)
    parser.parse(np.empty(128, np.float32))
    error = csv_error(body, parser.code, parser.position, columns=parser.columns)
    assert (error.code, error.line, error.column) == (code, line, column)


@pytest.mark.parametrize("body", [b"", b"\n", b" \t\r\n\r", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_body_without_values_has_an_error_of_its_own(body: bytes) -> None:
    with pytest.raises(InputError) as caught:
        kernels.parse_csv(body, np.empty((1, 4), np.float32))
    assert caught.value.code == "empty_input"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", ["%.6E", "%d", "%r", "%.8f", "%.18e", " %.3f"])
def test_an_image_reads_as_genfromtxt_reads_it(isa: str, form: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (5, 784)) * (np.random.default_rng(8).random((5, 784)) < 0.2)
    image = (pixels if form == "%d" else pixels / 255).tolist()
    text = "".join(",".join(form % value for value in row) + "\n" for row in image)
    expected = np.genfromtxt(io.StringIO(text), dtype=None, delimiter=",").astype(np.float32)
    out = np.empty((5, 784), np.float32)
    parser = CsvParser(text.encode(), isa=isa)
    assert parser.parse(out) == 5 * 784
    assert parser.done
    assert out.tobytes() == expected.tobytes()
