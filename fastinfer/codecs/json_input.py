"""JSON and JSON Lines to float32 rows, straight into a batch: what runs of the engine read.

Numbers are read by the kernel. A body or line that is not plain is read again by the json module, which says what is wrong with
it; or gives its values after all, such as integers of more than 15 digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._native.json import JsonParser, read_json_lines
from ..errors import InputError
from .base import DONE, FULL, BadRecord, Decoder, Framing, Outcome, empty_input
from .csv_errors import OK, OUTPUT_FULL

if TYPE_CHECKING:
    from numpy.typing import NDArray


class JsonCodec(NamedTuple):
    """JSON objects, each a list of rows; see :class:`fastinfer.codecs.base.InputCodec`.

    Attributes:
        any_shape: whether a row may have another shape than the model's, of as many values.
    """

    any_shape: bool

    @property
    def framing(self) -> Framing:
        return Framing.BODY

    @property
    def lines_are_rows(self) -> bool:
        return False

    def decoder(self, row_shape: tuple[int, ...], *, line_is_record: bool) -> Decoder:  # noqa: ARG002
        return JsonDecoder(row_shape, any_shape=self.any_shape)

    def count_columns(self, blocks: Iterable[bytes]) -> int:  # noqa: ARG002
        return 0


class JsonLinesCodec(NamedTuple):
    """JSON Lines objects, a row in each line; see :class:`fastinfer.codecs.base.InputCodec`."""

    @property
    def framing(self) -> Framing:
        return Framing.LF_LINES

    @property
    def lines_are_rows(self) -> bool:
        return True

    def decoder(self, row_shape: tuple[int, ...], *, line_is_record: bool) -> Decoder:  # noqa: ARG002
        return JsonLinesDecoder(row_shape)

    def count_columns(self, blocks: Iterable[bytes]) -> int:  # noqa: ARG002
        return 0


def check_shape(shape: tuple[int, ...], row_shape: tuple[int, ...], *, any_shape: bool) -> None:
    """Raises InputError (``bad_shape``) unless a body of this shape is a list of rows for the model."""
    own = shape[1:]
    if not shape or (own != row_shape and not (any_shape and own and math.prod(own) == math.prod(row_shape))):
        found = f"rows of shape {own}" if len(shape) > 1 else "numbers in a list" if shape else "a single value"
        raise InputError(f"expected a list of rows of shape {row_shape}, found {found}", code="bad_shape")


class JsonDecoder:
    """Reads JSON bodies; see :class:`fastinfer.codecs.base.Decoder`. For one thread at a time."""

    def __init__(self, row_shape: tuple[int, ...], *, any_shape: bool) -> None:
        self.written = 0
        self._parser = JsonParser()
        self._row_shape = row_shape
        self._any_shape = any_shape
        self._values = 0  # of the body so far
        self._chunk: tuple[bytearray, int, int] = bytearray(), 0, 0
        self._array: NDArray[Any] | None = None  # all values, if the json module has read them

    def begin(self, columns: int) -> None:  # noqa: ARG002
        self._values, self._array = 0, None

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:  # noqa: ARG002
        self._chunk = buffer, start, stop
        self._parser.reset(buffer, start, stop)

    def fill(self, rows: Any, filled: int) -> Outcome:
        if self._array is None:
            self.written = self._parser.parse(rows, filled)
            self._values += self.written
            if self._parser.done:
                self._check(self._parser.shape)
                return DONE
            if self._parser.code == OUTPUT_FULL:
                # The length of the innermost lists is known, and perhaps that of others.
                known = self._parser.shape[-1:]
                if known and known[0] and self._row_shape and not self._any_shape:
                    self._check((0, *self._row_shape[:-1], known[0]))
                return FULL
            self._array = self._read_by_module()
            if self._array is None:
                return DONE
            # What the kernel has written is the beginning of it.
            filled += self.written
            poured = pour(self._array[self._values :], rows, filled)
            self.written += poured
        else:
            poured = self.written = pour(self._array[self._values :], rows, filled)
        self._values += poured
        return DONE if self._values == len(self._array) else FULL

    def fill_bodies(
        self, buffer: bytearray, bounds: list[tuple[int, int]], first: int, rows: Any, filled: int
    ) -> list[int]:
        return self._parser.parse_bodies(buffer, bounds, first, rows, filled, self._row_shape, self._any_shape)

    def end(self, *, may_be_empty: bool) -> None:
        if not self._values and not may_be_empty:
            raise empty_input(None)

    def release(self) -> None:
        self._parser.release()

    def _check(self, shape: tuple[int, ...]) -> None:
        check_shape(shape, self._row_shape, any_shape=self._any_shape)

    def _read_by_module(self) -> NDArray[Any] | None:
        """All values of a body that is not plain; None for blanks alone."""
        from .json import decode_by_module

        buffer, start, stop = self._chunk
        body = bytes(memoryview(buffer)[start:stop])
        position = self._parser.position - start
        if not body.strip(b" \t\r\n"):
            return None
        array = decode_by_module(body, position)
        if array.shape[:1] == (0,):
            raise InputError("empty input: no rows found", code="empty_input")
        self._check(array.shape)
        return array.reshape(-1)


class JsonLinesDecoder:
    """Reads JSON Lines payloads; see :class:`fastinfer.codecs.base.Decoder`. For one thread at a time."""

    def __init__(self, row_shape: tuple[int, ...]) -> None:
        self.written = 0
        self._row_shape = row_shape
        self._row_values = math.prod(row_shape)
        self._records = 0  # of the payload so far, bad ones included
        self._chunk: tuple[bytearray, int, int] = bytearray(), 0, 0  # what is left of it
        self._lines = 0  # before that

    def begin(self, columns: int) -> None:  # noqa: ARG002
        self._records = 0

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:  # noqa: ARG002
        self._chunk = buffer, start, stop
        self._lines = 0

    def fill(self, rows: Any, filled: int) -> Outcome:
        begin = filled
        while True:
            buffer, start, stop = self._chunk
            code, position, written, lines = read_json_lines(buffer, start, stop, self._row_values, rows, filled)
            filled += written
            self.written = filled - begin
            self._records += written // self._row_values
            self._lines += lines
            self._chunk = buffer, position, stop
            if code in (OK, OUTPUT_FULL):
                return DONE if code == OK else FULL
            line_stop = buffer.find(b"\n", position, stop)
            line_stop = stop if line_stop < 0 else line_stop
            self._chunk = buffer, min(line_stop + 1, stop), stop
            self._lines += 1
            self._records += 1
            line = bytes(memoryview(buffer)[position:line_stop]).removesuffix(b"\r")
            try:
                values = self._read_by_module(line)
            except InputError as error:
                return BadRecord(error.at(line=self._lines), 0, position, position + len(line))
            filled += pour(values, rows, filled)

    def fill_bodies(
        self, buffer: bytearray, bounds: list[tuple[int, int]], first: int, rows: Any, filled: int
    ) -> list[int]:
        counts = []
        start = bounds[first - 1][0] if first else 0
        for stop, error in bounds[first:]:
            if error:
                break
            code, _, written, _ = read_json_lines(buffer, start, stop, self._row_values, rows, filled)
            if code != OK or not written:
                break
            counts.append(written // self._row_values)
            filled += written
            start = stop
        return counts

    def end(self, *, may_be_empty: bool) -> None:
        if not self._records and not may_be_empty:
            raise empty_input(None)

    def release(self) -> None:
        """Nothing is held between calls."""

    def _read_by_module(self, line: bytes) -> NDArray[Any]:
        from .json import decode_json_body
        from .jsonlines import check_record

        array = decode_json_body(line)
        check_record(array.shape, self._row_shape)
        return array.reshape(-1)


def pour(values: NDArray[Any], rows: Any, filled: int) -> int:
    """Writes as many of the values as have room to the flat float32 buffer `rows`, from index `filled` on; returns how many."""
    import numpy as np

    target = np.asarray(rows)[filled:]
    count = min(len(values), len(target))
    with np.errstate(over="ignore"):  # a double beyond float32 is infinite
        target[:count] = values[:count]
    return count
