"""Buffers between inaccessible pages: reading or writing a byte outside of them ends the process."""

from __future__ import annotations

import ctypes
import mmap
import random
from collections.abc import Iterator

import pytest

from fastinfer._native import text as _kernels
from fastinfer._native.json import JsonParser, read_json_lines

PAGE = mmap.PAGESIZE
PROTECTED = 0  # PROT_NONE
ISAS = _kernels.available_isas()


class Guarded:
    """`pages` pages of memory between two that are protected."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE
        self.map = mmap.mmap(-1, self.size + 2 * PAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + PAGE
        libc = ctypes.CDLL(None, use_errno=True)
        for address in (self.start - PAGE, self.start + self.size):
            if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), PROTECTED) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def chars(self, offset: int, size: int) -> ctypes.Array[ctypes.c_char]:
        return (ctypes.c_char * size).from_address(self.start + offset)

    def at_end(self, text: bytes) -> ctypes.Array[ctypes.c_char]:
        array = self.chars(self.size - len(text), len(text))
        array[:] = text
        return array

    def at_start(self, text: bytes) -> ctypes.Array[ctypes.c_char]:
        array = self.chars(0, len(text))
        array[:] = text
        return array

    def floats_at_end(self, count: int) -> ctypes.Array[ctypes.c_float]:
        return (ctypes.c_float * count).from_address(self.start + self.size - 4 * count)


@pytest.fixture(scope="module")
def text() -> Guarded:
    return Guarded(4)


@pytest.fixture(scope="module")
def output() -> Guarded:
    return Guarded(4)


def bodies() -> Iterator[bytes]:
    rng = random.Random(3)
    cells = {
        "fixed": lambda: rng.choice([b"0.000000E+00", b"4.980392E-01"]),
        "integers": lambda: rng.choice([b"0", b"7", b"255"]),
        "fractions": lambda: rng.choice([b"0.0", b"0.49803921580314636", b"0.5"]),
        "mixed": lambda: rng.choice([b"0", b"1e5", b"0.000000E+00", b"-1", b"nan", b" 3 ", b"0.25"]),
    }
    for cell in cells.values():
        for count in (*range(1, 45), 98, 200):
            for end in (b"", b"\n", b"\r\n", b","):
                yield b",".join(cell() for _ in range(count)) + end


@pytest.mark.parametrize("isa", ISAS)
def test_no_byte_outside_of_the_text_is_read(isa: str, text: Guarded, output: Guarded) -> None:
    for body in bodies():
        count = body.count(b",") + 1
        for placed in (text.at_end(body), text.at_start(body)):
            parser = _kernels.CsvParser(placed, isa=isa)
            written = parser.parse(output.floats_at_end(count))
            assert written == count - body.endswith(b","), body
            lines = _kernels.count_lines(placed, isa=isa)
            assert lines == 1
            assert _kernels.find_line_start(placed, len(body) // 2, isa=isa) == len(body)


@pytest.mark.parametrize("isa", ISAS)
def test_no_float_outside_of_the_output_is_written(isa: str, text: Guarded, output: Guarded) -> None:
    for body in bodies():
        count = body.count(b",") + 1
        for room in {0, 1, count // 2, count - 1}:
            parser = _kernels.CsvParser(text.at_end(body), isa=isa)
            assert parser.parse(output.floats_at_end(room)) == min(room, count - body.endswith(b","))


def test_no_byte_outside_of_json_is_read_and_no_float_outside_of_the_output_is_written(
    text: Guarded, output: Guarded
) -> None:
    for cell in (b"0", b"0.49803921580314636", b"-1e-5", b"12345678", b"NaN", b"true"):
        for count in range(1, 45):
            body = b"[" + b", ".join([cell] * count) + b"]"
            for cut in (0, 1, 2, 5, 9):
                content = body[: len(body) - cut]
                if not content:
                    continue
                for placed in (text.at_end(content), text.at_start(content)):
                    for room in (0, 1, count // 2, count):
                        parser = JsonParser()
                        parser.reset(placed)
                        assert parser.parse(output.floats_at_end(room)) <= room
                    assert parser.done == (cut == 0)
                    parser.release()
                    whole = cut == 0 and count <= 3
                    found = read_json_lines(placed, 0, len(content), 3, output.floats_at_end(3), 0)
                    assert (found[2] == 3) == (whole and count == 3)


@pytest.mark.parametrize("isa", ISAS)
def test_no_float_outside_of_the_rows_is_read(isa: str, output: Guarded) -> None:
    for count in range(1, 40):
        values = output.floats_at_end(count)
        values[:] = [index / 7 for index in range(count)]
        rows = memoryview(values).cast("B").cast("f", (1, count))
        assert _kernels.format_json(rows, isa=isa).count(b",") == count - 1
