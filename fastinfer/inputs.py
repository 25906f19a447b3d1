"""Where the bytes lie: a folder, a file or a glob becomes a stream of input files, and a file becomes chunks of lines.

Each input has a *key*, its path below the place that was named; its output is that key with ``.out`` behind it, as Batch
Transform names outputs below its prefix.
"""

from __future__ import annotations

import glob
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ._kernels import FILES_PER_CALL, read_files
from .errors import InputError

# What counts as an input in a folder. A file that is named, or matched by a glob, counts whatever it is called.
CSV_SUFFIX = ".csv"

GLOB_SIGNS = "*?["

# How much of a file is read at a time. The buffer grows for a longer line, up to the limit.
CHUNK_BYTES = 1 << 20
LINE_BYTES_LIMIT = 256 << 20
# Files up to this size are read in groups: what they cost is system calls, not bytes.
SMALL_FILE_BYTES = 64 << 10


@dataclass(frozen=True)
class InputFile:
    """One input.

    Attributes:
        path: where it is.
        key: its path below the place that was named, with ``/`` between folders.
        size: bytes, when it was listed.
        modified_ns: time of its last change in nanoseconds, when it was listed.
    """

    path: str
    key: str
    size: int
    modified_ns: int


class Chunk(NamedTuple):
    """Bytes of a file: buffer[start:stop], the first of which is byte ``base`` of the file."""

    start: int
    stop: int
    base: int


def find_inputs(source: str) -> Iterator[InputFile]:
    """Lists what ``source`` names, in the order of the names: all ``.csv`` files below a folder, a file, or a glob.

    Raises:
        InputError: ``input_missing``, ``cannot_read``, or ``link_loop`` where a symbolic link leads back into its folder.
    """
    if os.path.isdir(source):
        yield from _walk(source, "", ())
    elif os.path.lexists(source):
        yield _stat(source, os.path.basename(source))
    elif any(sign in source for sign in GLOB_SIGNS):
        yield from _glob(source)
    else:
        raise InputError("no such file or folder", code="input_missing", path=source)


def read_bodies(files: Sequence[InputFile], buffer: bytearray) -> Iterator[tuple[InputFile, Iterator[Chunk]]]:
    """Reads files in order through one buffer, small ones many at a time.

    Args:
        files: what to read.
        buffer: at least CHUNK_BYTES long.

    Yields:
        A file and its chunks, to be used up before the next is asked for. The chunks raise InputError (``cannot_read``,
        ``input_missing``, ``line_too_long``) where the file cannot be read.
    """
    place = 0
    while place < len(files):
        group, held = [], 0
        for item in itertools.islice(files, place, place + FILES_PER_CALL):
            held += item.size
            if item.size > SMALL_FILE_BYTES or held >= len(buffer):
                break
            group.append(item)
        done = read_files([os.fsencode(item.path) for item in group], buffer) if group else []
        start = 0
        for item, (stop, error) in zip(group, done):
            yield item, _fail(item.path, error) if error else iter((Chunk(start, stop, 0),))
            start = stop
        place += len(done)
        if not done:
            # Large, or grown since it was listed.
            yield files[place], read_chunks(files[place].path, buffer)
            place += 1


def read_chunks(path: str, buffer: bytearray) -> Iterator[Chunk]:
    """Reads a file into ``buffer``, chunk by chunk, each ending where a line ends (or the file).

    Args:
        path: the file.
        buffer: at least CHUNK_BYTES long; overwritten by each chunk, made longer for a longer line.

    Raises:
        InputError: ``cannot_read``, ``input_missing``, ``line_too_long``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        base = kept = 0
        while True:
            if kept == len(buffer):
                if kept >= LINE_BYTES_LIMIT:
                    raise InputError(
                        f"a line that begins at byte {base} is longer than {LINE_BYTES_LIMIT >> 20} MiB",
                        code="line_too_long",
                        path=path,
                        hint="one record stands on one line",
                    )
                buffer.extend(bytes(len(buffer)))
            with memoryview(buffer) as view:
                count = os.readv(handle, [view[kept:]])
            filled = kept + count
            # A regular file gives less than was asked for only at its end, so a small file costs one read.
            if filled < len(buffer):
                yield Chunk(0, filled, base)
                return
            stop = _last_line_end(buffer, filled)
            if stop:
                yield Chunk(0, stop, base)
                base += stop
                kept = filled - stop
                buffer[:kept] = buffer[stop:filled]
            else:
                kept = filled
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(handle)


def unreadable(path: str, error: OSError) -> InputError:
    """The error for a file that the system does not let us read."""
    code = "input_missing" if isinstance(error, FileNotFoundError) else "cannot_read"
    return InputError(f"cannot be read: {error.strerror}", code=code, path=path)


def _fail(path: str, error: int) -> Iterator[Chunk]:
    """The chunks of a file that could not be read."""
    raise unreadable(path, OSError(error, os.strerror(error)))
    yield


def _last_line_end(buffer: bytearray, stop: int) -> int:
    """The last position up to ``stop`` that is behind a line end, 0 if there is none."""
    found = buffer.rfind(b"\n", 0, stop) + 1
    # A CR at the very end may be the first half of a CRLF.
    return found or buffer.rfind(b"\r", 0, stop - 1) + 1


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[InputFile]:
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(folder, error) from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise InputError("a symbolic link leads back to a folder that it lies in", code="link_loop", path=folder)
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
        elif entry.name.lower().endswith(CSV_SUFFIX):
            yield _stat(entry.path, prefix + entry.name)


def _glob(pattern: str) -> Iterator[InputFile]:
    """Files that match; keys are relative to the part of the pattern before its first sign, cut at the last ``/``."""
    first_sign = min(pattern.index(sign) for sign in GLOB_SIGNS if sign in pattern)
    base = pattern[: pattern.rfind("/", 0, first_sign) + 1]
    paths = [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]
    if not paths:
        raise InputError("no file matches", code="input_missing", path=pattern)
    for path in sorted(paths):
        yield _stat(path, path[len(base) :])


def _stat(path: str, key: str) -> InputFile:
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        # Opening a pipe would wait for its writer; a device may never end.
        raise InputError("is not a regular file", code="cannot_read", path=path)
    return InputFile(path, key, status.st_size, status.st_mtime_ns)
