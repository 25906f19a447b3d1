"""Journals: files to which one writer appends entries, each whole or not at all.

A file to which several writers append is torn where one of them writes only a part (the disk is full, or its process is
killed): the next writer's entry follows it on the same line. Here each writer has its own file, and an entry says how long it
is, so that a reader knows a torn one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from .atomic import unwritable

# Before each entry: its length in hexadecimal digits. After it: a line end.
HEAD = "{:08x} "
HEAD_BYTES = len(HEAD.format(0))


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


def read(path: str) -> Iterator[bytes]:
    """The whole entries of a journal; none if it does not exist. Raises OutputError."""
    try:
        with open(path, "rb") as file:
            for line in file:
                head, entry = line[:HEAD_BYTES], line[HEAD_BYTES:-1]
                if line.endswith(b"\n") and head == HEAD.format(len(entry)).encode():
                    yield entry
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(path, error) from error
