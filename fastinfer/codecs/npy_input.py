"""NPY to float32 rows, straight into a batch, piece by piece: what runs of the engine read. Nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError
from .base import DONE, FULL, Decoder, Framing, Outcome, empty_input
from .json_input import check_shape, pour

if TYPE_CHECKING:
    import numpy as np

# Of an array in Fortran's order all values must be there before the first row is.
FORTRAN_BYTES = 256 << 20


class NpyCodec(NamedTuple):
    """NPY objects, each an array of rows; see :class:`fastinfer.codecs.base.InputCodec`.

    Attributes:
        any_shape: whether a row may have another shape than the model's, of as many values.
    """

    any_shape: bool

    @property
    def framing(self) -> Framing:
        return Framing.PIECES

    @property
    def lines_are_rows(self) -> bool:
        return False

    def decoder(self, row_shape: tuple[int, ...], *, line_is_record: bool) -> Decoder:  # noqa: ARG002
        return NpyDecoder(row_shape, any_shape=self.any_shape)

    def count_columns(self, blocks: Iterable[bytes]) -> int:  # noqa: ARG002
        return 0


class NpyDecoder:
    """Reads NPY bodies; see :class:`fastinfer.codecs.base.Decoder`. For one thread at a time."""

    def __init__(self, row_shape: tuple[int, ...], *, any_shape: bool) -> None:
        self.written = 0
        self._row_shape = row_shape
        self._any_shape = any_shape
        self.begin(0)

    def begin(self, columns: int) -> None:  # noqa: ARG002
        self._held = bytearray()  # what was not used yet: of the header, of a value, of an array in Fortran's order
        self._values: Any = ()  # of the chunk, those that are not written yet
        self._kind: np.dtype[Any] | None = None  # of a value, once the header was read
        self._shape: tuple[int, ...] = ()
        self._is_fortran = False
        self._left = 0  # bytes of the array that were not read yet
        self._size = 0  # bytes of the payload so far

    def start(self, buffer: bytearray, start: int, stop: int, *, first: bool) -> None:  # noqa: ARG002
        import numpy as np

        self._size += stop - start
        with memoryview(buffer) as view:
            self._held += view[start:stop]
        if self._kind is None and not self._read_header():
            return
        assert self._kind is not None
        if len(self._held) > self._left:
            raise InputError(
                f"expected {math.prod(self._shape) * self._kind.itemsize:,} bytes for an array of shape {self._shape} and type "
                f"{self._kind}, found more",
                code="bad_npy",
            )
        if self._is_fortran and len(self._held) < self._left:
            return
        count = len(self._held) // self._kind.itemsize
        used = count * self._kind.itemsize
        values = np.frombuffer(self._held, self._kind, count)
        self._values = values.reshape(self._shape, order="F").reshape(-1) if self._is_fortran else values
        self._left -= used
        self._held = self._held[used:]  # another one: the values are in this one

    def fill(self, rows: Any, filled: int) -> Outcome:
        self.written = pour(self._values, rows, filled) if len(self._values) else 0
        self._values = self._values[self.written :]
        return FULL if len(self._values) else DONE

    def fill_bodies(
        self,
        buffer: bytearray,  # noqa: ARG002
        bounds: list[tuple[int, int]],  # noqa: ARG002
        first: int,  # noqa: ARG002
        rows: Any,  # noqa: ARG002
        filled: int,  # noqa: ARG002
    ) -> list[int]:
        return []

    def end(self, *, may_be_empty: bool) -> None:
        """Raises InputError: ``empty_input``; ``bad_npy`` where the array is not whole."""
        if not self._size and not may_be_empty:
            raise empty_input(None)
        if self._kind is None:
            from .npy import not_npy

            raise not_npy()
        if self._left:
            expected = math.prod(self._shape) * self._kind.itemsize
            found = expected - self._left + len(self._held)
            raise InputError(
                f"expected {expected:,} bytes for an array of shape {self._shape} and type {self._kind}, found {found:,}",
                code="bad_npy",
            )

    def release(self) -> None:
        """Nothing of the chunk's buffer is held between calls."""

    def _read_header(self) -> bool:
        """Whether the header is there, and was read. Raises InputError where it is none, or one of no rows of the model."""
        from .npy import read_npy_header

        header = read_npy_header(self._held)
        if header is None:
            return False
        self._shape, fortran, self._kind, size = header
        del self._held[:size]
        if self._shape[:1] == (0,):
            raise InputError("empty input: no rows found", code="empty_input")
        check_shape(self._shape, self._row_shape, any_shape=self._any_shape)
        self._left = math.prod(self._shape) * self._kind.itemsize
        # Of fewer than two dimensions both orders are the same.
        self._is_fortran = fortran and sum(each > 1 for each in self._shape) > 1
        if self._is_fortran and self._left > FORTRAN_BYTES:
            raise InputError(
                f"an array of {self._left:,} bytes is in Fortran's order", code="bad_npy", hint="save it in C's order"
            )
        return True
