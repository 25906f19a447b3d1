"""Compressed objects: their bytes are expanded piece by piece while they are read.

Kinds of compression are ``none``, ``gzip`` and ``zstd``; ``auto`` decides by the first bytes of each object. The caller
says how much is expanded at a time, so that a small object which holds terabytes does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from ..errors import InputError
from ..storage.base import Object, Reader
from ..storage.expanded import GZIP, MAGIC_BYTES, ZSTD, CutError, DamagedError, Expander, magic_of

# What users may name; a kind's first bytes.
NONE, AUTO = "none", "auto"
KINDS: dict[str, bytes | None] = {NONE: None, "gzip": GZIP, "zstd": ZSTD}
COMPRESSION_TYPES = (*KINDS, AUTO)
PIECE_BYTES = 1 << 16

# How many first bytes show the kind.
START_BYTES = MAGIC_BYTES

# Reads the next bytes of a stream, up to a number; none only at its end.
Read = Callable[[int], bytes]


class Expanded:
    """The expanded bytes of an object, read from its start to its end.

    Args:
        source: the object that is being read, or what reads its next bytes.
        kind: one of :data:`COMPRESSION_TYPES`.
        item: the object; errors name it.

    Attributes:
        is_compressed: whether it is.
        position: how many bytes were read.

    Raises:
        InputError: ``bad_compression`` where it is not of the kind that was named; what the source raises.
        ConfigError: ``zstd_missing``.
    """

    def __init__(self, source: Reader | Read, kind: str, item: Object) -> None:
        self._uri = item.uri
        read = source if callable(source) else _sequential(source, item.size)
        start = b""
        while len(start) < START_BYTES and (more := read(START_BYTES - len(start))):
            start += more
        magic = magic_of(start)
        if kind == AUTO:
            magic = magic if begins_compressed(start) else None
        elif kind == NONE:
            magic = None
        elif magic != KINDS[kind]:
            raise InputError(f"is not compressed with {kind}", code="bad_compression", path=item.uri)
        self.is_compressed = magic is not None
        self._expander = Expander(read, magic, start)

    @property
    def position(self) -> int:
        return self._expander.position

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only where the data ends.

        Raises:
            InputError: ``bad_compression`` where the data is damaged or followed by something else; ``truncated`` where it ends
                too early; what the source raises.
        """
        try:
            return self._expander.read(size)
        except DamagedError as error:
            code = "truncated" if isinstance(error, CutError) else "bad_compression"
            raise InputError(f"{error}, after {self.position:,} expanded bytes", code=code, path=self._uri) from error


def begins_compressed(start: bytes) -> bool:
    """Whether the first bytes of an object say that it is compressed."""
    return magic_of(start) in (GZIP, ZSTD)


def is_compressed(reader: Reader, kind: str, item: Object) -> bool:
    """Whether an object must be expanded. Arguments and errors are those of :class:`Expanded`."""
    return kind != NONE and Expanded(reader, kind, item).is_compressed


def expand(
    source: Reader | Read, kind: str, item: Object, *, most_bytes: int | None = None, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The expanded bytes of an object, in pieces of ``piece_bytes``.

    Args:
        source, kind, item: as for :class:`Expanded`.
        most_bytes: how many bytes there may be in all; None: any number.
        piece_bytes: the size of all pieces but the last.

    Raises:
        InputError: as :class:`Expanded` and its ``read``; ``payload_too_large``.
    """
    expanded = Expanded(source, kind, item)
    if most_bytes is not None and item.size > most_bytes and not expanded.is_compressed:
        raise _too_large(item, most_bytes)
    while piece := expanded.read(piece_bytes):
        if most_bytes is not None and expanded.position > most_bytes:
            raise _too_large(item, most_bytes, " when it is expanded")
        yield piece


def _too_large(item: Object, most_bytes: int, when: str = "") -> InputError:
    return InputError(
        f"holds more than {most_bytes:,} bytes{when}, which must be held as a whole",
        code="payload_too_large",
        path=item.uri,
        hint="divide it, or split it into payloads of a limited size",
    )


def _sequential(reader: Reader, size: int) -> Read:
    """Reads an object of ``size`` bytes from its start; at its end, checks that it is as it was listed."""
    position = 0

    def read(most: int) -> bytes:
        nonlocal position
        buffer = bytearray(min(most, size - position))
        with memoryview(buffer) as view:
            count = reader.read_into(view, position) if buffer else 0
        position += count
        if not count:
            reader.check_unchanged()
            if position < size:
                raise InputError(
                    f"ends at byte {position:,}, expected {size:,} bytes as when it was listed", code="input_changed"
                )
        return bytes(buffer[:count])

    return read
