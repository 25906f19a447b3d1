"""Journals: files to which one writer appends entries, each whole or not at all.

A file to which several writers append is torn where one of them writes only a part (the disk is full, or its process is
killed): the next writer's entry follows it on the same line. Here each writer has its own file, and an entry says how long it
is, so that a reader knows a torn one.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator

from .atomic import unreadable_result, unwritable
from .regular import open_regular

# Before each entry: its length in hexadecimal digits. After it: a line end.
HEAD = "{:08x} "
HEAD_BYTES = len(HEAD.format(0))

PIECE_BYTES = 1 << 20


def frame(entry: bytes) -> bytes:
    """An entry, which has no line end, as it stands in a journal."""
    return HEAD.format(len(entry)).encode() + entry + b"\n"


def append(path: str, entries: Iterable[bytes], *, durable: bool = False) -> None:
    """Appends entries; creates the file if it is missing. No other writer may use it.

    Args:
        path: the journal.
        entries: without line ends.
        durable: whether they are on the disk when this returns.

    Raises:
        OutputError: ``cannot_write``; what these entries stand for must not be done then.
    """
    content = b"".join(map(frame, entries))
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                content = b"\n" + content  # a part that could not be removed
            try:
                written = 0
                while written < len(content):
                    written += os.pwrite(handle, content[written:] if written else content, size + written)
                if durable:
                    os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error


def read(path: str, most_bytes: int) -> Iterator[bytes]:
    """The whole entries of a journal, without those that are longer; none if it does not exist. Raises OutputError."""
    yield from entries_of(read_lines(path, most_line_bytes(most_bytes)))


def most_line_bytes(most_bytes: int) -> int:
    """The length of the line of an entry of so many bytes."""
    return HEAD_BYTES + most_bytes + 1


def entries_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The whole entries among the lines of a journal."""
    for line in lines:
        head, entry = line[:HEAD_BYTES], line[HEAD_BYTES:-1]
        if head == HEAD.format(len(entry)).encode():
            yield entry


def read_lines(path: str, most_bytes: int) -> Iterator[bytes]:
    """The lines of one of our own files, with their ends, without those that are longer; none if it does not exist.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        with open_regular(path) as raw:
            yield from lines_of(raw, most_bytes)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable_result(path, error) from error


def lines_of(raw: io.RawIOBase, most_bytes: int) -> Iterator[bytes]:
    """The lines of an open file, with their ends, without those that are longer. Raises what the file raises."""
    with io.BufferedReader(raw, PIECE_BYTES) as file:
        is_rest = False  # of a line that is too long
        while line := file.readline(most_bytes):
            is_whole = line.endswith(b"\n")
            if is_whole and not is_rest:
                yield line
            is_rest = not is_whole
