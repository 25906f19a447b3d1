"""Compressed files, expanded piece by piece: no more is held than was asked for, and damage is always found.

The libraries of Python expand as much as a file holds, or stop where it seems to end. Here a reader says how much it takes,
checksums and lengths are compared by the decoders, and the end of the file must be the end of the compressed data. Several
compressed parts in a row are one, as for gzip, bzip2 and xz; their number has a bound, because empty ones cost time and give
nothing that a reader could count. Zeros behind a part are padding, as for gzip; anything else there is an error, because it
is as likely to be damage as to be meant, and gzip too does not end well with it.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import Any, Callable

from .regular import PathLike, open_regular

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
# What xz -9 needs is 65 MiB; a file may claim a dictionary of 4 GiB.
XZ_MEMORY_LIMIT = 256 << 20
# Each part takes two or three microseconds, also an empty one of 20 bytes. bgzip makes one of 64 KiB.
PARTS_LIMIT = 1_000_000

DECODERS: dict[bytes, Callable[[], Any]] = {
    GZIP: lambda: zlib.decompressobj(wbits=31),
    BZIP2: bz2.BZ2Decompressor,
    XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT),
}
PIECE_BYTES = 1 << 16


class DamagedError(ValueError):
    """The compressed data is damaged or ends too early; the message says how."""


class ExpandedFile:
    """The expanded bytes of a regular file, compressed or not, from the first to the last.

    Args:
        path: the file.

    Attributes:
        position: how many expanded bytes were read.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """

    def __init__(self, path: PathLike) -> None:
        self._file = open_regular(path)
        self._compressed = b""
        self.position = 0
        self._parts = 1
        try:
            self._read_more()
            self._make = next((make for magic, make in DECODERS.items() if self._compressed.startswith(magic)), None)
        except BaseException:
            self._file.close()
            raise
        self._decoder = self._make() if self._make else None

    def __enter__(self) -> ExpandedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def is_gzip(self) -> bool:
        """Whether the file is compressed by gzip."""
        return self._make is DECODERS[GZIP]

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only where the data ends.

        Raises:
            DamagedError: the data is damaged, or the file ends before the compressed data does.
            OSError: the file cannot be read.
        """
        content = io.BytesIO()  # gives its memory away in the end; joining pieces would hold them twice
        while (left := size - content.tell()) > 0 and (piece := self._read_piece(min(left, 1 << 20))):
            content.write(piece)
        self.position += content.tell()
        return content.getvalue()

    def _read_piece(self, most: int) -> bytes:
        """Some bytes, at most ``most``; none at the end."""
        if self._make is None:
            if not self._compressed:
                self._read_more()
            piece, self._compressed = self._compressed[:most], self._compressed[most:]
            return piece
        try:
            while self._decoder is not None:
                piece = self._decoder.decompress(self._compressed, most)
                # zlib gives back what it has not used yet, the other two keep it.
                self._compressed = getattr(self._decoder, "unconsumed_tail", b"")
                if self._decoder.eof:
                    self._compressed = self._decoder.unused_data
                    self._decoder = self._next_decoder()
                elif not piece and not self._compressed:
                    self._read_more()
                    if not self._compressed:
                        raise DamagedError("it ends before the compressed data does")
                if piece:
                    return bytes(piece)
        except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            if isinstance(error, DamagedError) or getattr(error, "errno", None) is not None:
                raise  # the second is one of reading the file
            raise DamagedError(f"the compressed data is damaged: {error}") from error
        return b""

    def _next_decoder(self) -> Any:
        """The decoder of the part that follows, None at the end of the file."""
        self._compressed = self._compressed.lstrip(b"\0")
        while not self._compressed:
            self._read_more()
            if not self._compressed:
                return None
            self._compressed = self._compressed.lstrip(b"\0")
        magic, make = next(item for item in DECODERS.items() if item[1] is self._make)
        if len(self._compressed) < len(magic):
            self._compressed += self._file.read(len(magic))
        if not self._compressed.startswith(magic):
            raise DamagedError("something else follows the compressed data")
        self._parts += 1
        if self._parts > PARTS_LIMIT:
            raise DamagedError(f"it has more than {PARTS_LIMIT:,} compressed parts")
        return make()

    def _read_more(self) -> None:
        self._compressed = b""
        # A read may give less than was asked for.
        while len(self._compressed) < PIECE_BYTES and (piece := self._file.read(PIECE_BYTES - len(self._compressed))):
            self._compressed += piece
