"""Compressed bytes, expanded piece by piece: no more is held than was asked for, and damage is always found.

The libraries of Python expand as much as a file holds, or stop where it seems to end. Here a reader says how much it takes,
checksums and lengths are compared by the decoders, and the end of the file must be the end of the compressed data. Several
compressed parts in a row are one, as for gzip, bzip2, xz and zstd; their number has a bound, because empty ones cost time and
give nothing that a reader could count. Zeros behind a part are padding, as for gzip; anything else there is an error, because
it is as likely to be damage as to be meant, and gzip too does not end well with it.
"""

from __future__ import annotations

import io
from typing import Any, Callable

from ..errors import ConfigError
from ..extras import install_command
from .regular import PathLike, open_regular

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
# What xz -9 needs is 65 MiB; a file may claim a dictionary of 4 GiB. zstd's decoders accept windows up to 128 MiB.
XZ_MEMORY_LIMIT = 256 << 20
# lzma's CHECK_NONE, CHECK_CRC32, CHECK_CRC64, CHECK_SHA256; CHECK_UNKNOWN, before the header was read.
XZ_CHECKS = (0, 1, 4, 10, 16)
# Each part takes two or three microseconds, also an empty one of 20 bytes. bgzip makes one of 64 KiB.
PARTS_LIMIT = 1_000_000


def _gzip_decoder() -> Any:
    import zlib  # late, as the others: a plain run reads none of them

    return zlib.decompressobj(wbits=31)


def _bzip2_decoder() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _xz_decoder() -> Any:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT)


def _zstd_decoder() -> Any:
    """Python 3.14's own, else that of the package backports.zstd."""
    try:
        import compression.zstd as zstd  # pyright: ignore[reportMissingImports]
    except ImportError:
        try:
            import backports.zstd as zstd
        except ImportError as error:
            raise ConfigError(
                "reading zstd requires Python 3.14 or the package backports.zstd",
                code="zstd_missing",
                hint=install_command("zstd"),
            ) from error
    return _ZstdDecoder(zstd)


class _ZstdDecoder:
    """A decoder of one frame that compares its size with that in its header.

    libzstd does so too, but not where a frame comes in pieces and its last block is empty: a damaged one seems to end there.
    """

    HEADER_BYTES = 18

    def __init__(self, zstd: Any) -> None:
        self._decoder, self._frame_info = zstd.ZstdDecompressor(), zstd.get_frame_info
        self._start = b""
        self._count = 0

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    def decompress(self, content: bytes, most: int) -> bytes:
        """Raises ValueError, and what the package raises."""
        if len(self._start) < self.HEADER_BYTES:
            self._start += content[: self.HEADER_BYTES]
        piece: bytes = self._decoder.decompress(content, most)
        self._count += len(piece)
        if self.eof:
            size = self._frame_info(self._start).decompressed_size
            if size not in (None, self._count):
                raise ValueError(f"a frame has {self._count:,} bytes, and {size:,} in its header")
        return piece


DECODERS: dict[bytes, Callable[[], Any]] = {
    GZIP: _gzip_decoder,
    BZIP2: _bzip2_decoder,
    XZ: _xz_decoder,
    ZSTD: _zstd_decoder,
}
# Frames that zstd's decoders skip; pzstd begins a file with one.
ZSTD_SKIPPED = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
MAGIC_BYTES = max(map(len, DECODERS))
PIECE_BYTES = 1 << 16


class DamagedError(ValueError):
    """The compressed data is damaged; the message says how."""


class CutError(DamagedError):
    """The compressed data ends too early."""


def magic_of(start: bytes) -> bytes | None:
    """The first bytes of the kind of compression that data which begins so has; None for other data."""
    return ZSTD if start.startswith(ZSTD_SKIPPED) else next((each for each in DECODERS if start.startswith(each)), None)


class Expander:
    """The expanded bytes of a stream, from the first to the last.

    Args:
        read: the next bytes of the compressed stream, up to a number; none only where it ends.
        magic: the kind of its compression, a key of :data:`DECODERS`; None: it is not compressed.
        start: first bytes of the stream that were read already.

    Attributes:
        position: how many expanded bytes were read.

    Raises:
        ConfigError: ``zstd_missing``.
    """

    def __init__(self, read: Callable[[int], bytes], magic: bytes | None, start: bytes = b"") -> None:
        self._read = read
        self._magic = magic
        self._compressed = start
        self._parts = 1
        self._decoder = DECODERS[magic]() if magic else None
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only where the data ends.

        Raises:
            DamagedError: the data is damaged, or the stream ends before the compressed data does.
        """
        content = io.BytesIO()  # gives its memory away in the end; joining pieces would hold them twice
        while (left := size - content.tell()) > 0 and (piece := self._read_piece(min(left, 1 << 20))):
            content.write(piece)
        self.position += content.tell()
        return content.getvalue()

    def _read_piece(self, most: int) -> bytes:
        """Some bytes, at most ``most``; none at the end."""
        if self._magic is None:
            if not self._compressed:
                self._read_more()
            piece, self._compressed = self._compressed[:most], self._compressed[most:]
            return piece
        while self._decoder is not None:
            piece = self._decode(most)
            if self._decoder.eof:
                self._compressed = self._decoder.unused_data
                self._decoder = self._next_decoder()
            elif not piece and not self._compressed:
                self._read_more()
                if not self._compressed:
                    raise CutError("it ends before the compressed data does")
            if piece:
                return piece
        return b""

    def _decode(self, most: int) -> bytes:
        assert self._decoder is not None
        try:
            piece: bytes = self._decoder.decompress(self._compressed, most)
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            raise DamagedError(f"the compressed data is damaged: {error}") from error
        check = getattr(self._decoder, "check", None)  # of xz; a kind that is not known would not be compared
        if check is not None and check not in XZ_CHECKS:
            raise DamagedError(f"its checksums are of the kind {check}, which is not known")
        # zlib gives back what it has not used yet, the others keep it.
        self._compressed = getattr(self._decoder, "unconsumed_tail", b"")
        return piece

    def _next_decoder(self) -> Any:
        """The decoder of the part that follows, None at the end of the stream."""
        assert self._magic is not None
        self._compressed = self._compressed.lstrip(b"\0")
        while not self._compressed:
            self._read_more()
            if not self._compressed:
                return None
            self._compressed = self._compressed.lstrip(b"\0")
        while len(self._compressed) < len(self._magic) and (more := self._read(len(self._magic))):
            self._compressed += more
        if magic_of(self._compressed) != self._magic:
            raise DamagedError("something else follows the compressed data")
        self._parts += 1
        if self._parts > PARTS_LIMIT:
            raise DamagedError(f"it has more than {PARTS_LIMIT:,} compressed parts")
        return DECODERS[self._magic]()

    def _read_more(self) -> None:
        self._compressed = b""
        # A read may give less than was asked for.
        while len(self._compressed) < PIECE_BYTES and (piece := self._read(PIECE_BYTES - len(self._compressed))):
            self._compressed += piece


class ExpandedFile(Expander):
    """The expanded bytes of a regular file, compressed in any of these ways or not.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
        ConfigError: ``zstd_missing``.
    """

    def __init__(self, path: PathLike) -> None:
        self._file = open_regular(path)
        try:
            start = b""
            while len(start) < PIECE_BYTES and (piece := self._file.read(PIECE_BYTES - len(start))):
                start += piece
            super().__init__(self._file.read, magic_of(start), start)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ExpandedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def is_gzip(self) -> bool:
        """Whether the file is compressed by gzip."""
        return self._magic == GZIP
