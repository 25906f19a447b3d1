"""Where the bytes lie: a folder, a file or a glob becomes a stream of input files, and a file becomes chunks of lines.

Each input has a *key*, its path below the place that was named; its output is that key with ``.out`` behind it, as Batch
Transform names outputs below its prefix.
"""

from __future__ import annotations

import glob
import itertools
import os
import stat
from array import array
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from .._native.files import FILES_PER_CALL, read_files, stat_files
from .._native.text import CsvParser, find_line_start
from ..errors import InputError
from .atomic import unreadable

T = TypeVar("T")

# What some programs put before a UTF-8 text; it opens a file and means nothing.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What counts as an input in a folder. A file that is named, or matched by a glob, counts whatever it is called.
CSV_SUFFIX = ".csv"

GLOB_SIGNS = "*?["

# Kinds of stat_files().
FILE, FOLDER = 1, 2

# How much of a file is read at a time. The buffer grows for a longer line, up to the limit.
CHUNK_BYTES = 1 << 20
LINE_BYTES_LIMIT = 256 << 20
# Files up to this size are read in groups: what they cost is system calls, not bytes.
SMALL_FILE_BYTES = 64 << 10


class CsvOptions(NamedTuple):
    """What is accepted beyond plain numbers: a comment sign, a value for empty cells, a first line to pass over."""

    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False


class InputFile(NamedTuple):
    """One input.

    Attributes:
        path: where it is.
        key: its path below the place that was named, with ``/`` between folders.
        size: bytes, when it was listed.
        modified_ns: time of its last change in nanoseconds, when it was listed.
        problem: why it cannot be an input, found when it was listed; raised when it is its turn.
    """

    path: str
    key: str
    size: int
    modified_ns: int
    problem: InputError | None = None


class Part(NamedTuple):
    """Lines of a large input that are worked on by themselves.

    Attributes:
        file: the whole input.
        start, stop: its bytes from a line's start to another's, or to the end.
        columns: cells of a line, as the first line has them.
    """

    file: InputFile
    start: int
    stop: int
    columns: int


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
        yield from _walk(source.rstrip("/") or "/", "", ())
    elif os.path.lexists(source):
        yield _stat(source, os.path.basename(source))
    elif any(sign in source for sign in GLOB_SIGNS):
        yield from _glob(source)
    else:
        raise InputError("no such file or folder", code="input_missing", path=source)


class Group(NamedTuple):
    """Small files that were read in one call, one behind another into the buffer.

    Attributes:
        buffer: where they are.
        files: which.
        bounds: (where its bytes end, errno or 0) of each; they begin where those of the file before end.
    """

    buffer: bytearray
    files: list[InputFile]
    bounds: list[tuple[int, int]]

    def chunks(self, place: int) -> Iterator[Chunk]:
        """The bytes of one of the files. Raises InputError where it could not be read."""
        stop, error = self.bounds[place]
        if error:
            raise unreadable(self.files[place].path, OSError(error, os.strerror(error)))
        yield Chunk(self.bounds[place - 1][0] if place else 0, stop, 0)


def read_groups(
    items: Sequence[InputFile | Part], buffers: Sequence[bytearray]
) -> Generator[Group | InputFile | Part, None, None]:
    """Reads small files in groups.

    Args:
        items: what to read, in order.
        buffers: of the same length; the groups go to them in turn.

    Yields:
        A group, to be used up before its buffer's turn comes again; or an item that is not small, unread.
    """
    place, turns = 0, itertools.cycle(buffers)
    buffer = next(turns)
    while place < len(items):
        files: list[InputFile] = []
        held = 0
        for item in items[place : place + FILES_PER_CALL]:
            if isinstance(item, Part) or item.size > SMALL_FILE_BYTES or item.problem:
                break
            held += item.size
            if held >= len(buffer):
                break
            files.append(item)
        bounds = read_files([os.fsencode(file.path) for file in files], buffer) if files else []
        if bounds:
            yield Group(buffer, files[: len(bounds)], bounds)
            buffer = next(turns)
            place += len(bounds)
        else:
            # Large, or grown since it was listed.
            yield items[place]
            place += 1


def read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, each made ready by a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "fastinfer-read") as reader:
        ahead = reader.submit(next, items, None)
        while (item := ahead.result()) is not None:
            ahead = reader.submit(next, items, None)
            yield item


def read_chunks(item: InputFile | Part, buffer: bytearray, line_bytes: int = LINE_BYTES_LIMIT) -> Iterator[Chunk]:
    """Reads a file, or a part of one, into ``buffer``, chunk by chunk, each ending where a line ends (or the file).

    Args:
        item: as it was listed.
        buffer: at least CHUNK_BYTES long; overwritten by each chunk, made longer for a longer line.
        line_bytes: how long a line may be.

    Raises:
        InputError: ``cannot_read``, ``input_missing``, ``line_too_long``; ``input_changed`` where the file is no longer
            what was listed.
    """
    file, start, stop = (item.file, item.start, item.stop) if isinstance(item, Part) else (item, 0, None)
    path = file.path
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        base, kept = start, 0
        ended = False
        while not ended:
            if kept == len(buffer):
                if kept >= line_bytes:
                    raise InputError(
                        f"a line that begins at byte {base:,} is longer than {line_bytes:,} bytes",
                        code="line_too_long",
                        path=path,
                        hint="one record stands on one line",
                    )
                buffer.extend(bytes(min(len(buffer), line_bytes - kept)))
            room = len(buffer) - kept
            wanted = room if stop is None else min(room, stop - base - kept)
            with memoryview(buffer) as view:
                count = os.preadv(handle, [view[kept : kept + wanted]], base + kept)
            filled = kept + count
            # A regular file gives less than was asked for only at its end, so no read is spent on seeing the end.
            ended = count < wanted or (stop is not None and base + filled == stop)
            cut = filled if ended else _last_line_end(buffer, filled)
            if ended:
                _check_unchanged(handle, file)
            if cut or ended:
                yield Chunk(0, cut, base)
                base += cut
                buffer[: filled - cut] = buffer[cut:filled]
            kept = filled - cut
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(handle)


def cut_file(
    file: InputFile,
    part_bytes: int,
    row_values: int,
    csv: CsvOptions,
    line_bytes: int = LINE_BYTES_LIMIT,
    columns: int = 0,
) -> list[Part]:
    """Divides a large file at line ends into parts of about ``part_bytes``.

    None where its lines are not whole records, or where it cannot be read: whoever reads it all will say so.

    Args:
        file: what to divide.
        part_bytes: how large a part should be.
        row_values: cells of one record.
        csv: how the file is read.
        line_bytes: how long a line may be.
        columns: cells of a line; 0: as the first record has them.
    """
    try:
        with open(file.path, "rb", buffering=0) as handle:
            columns = columns or _count_columns(handle.fileno(), csv, line_bytes)
            if columns == 0 or columns % row_values:
                return []
            count = max(1, round(file.size / part_bytes))
            offsets = (file.size * number // count for number in range(1, count))
            starts = [_next_line(handle.fileno(), offset, line_bytes) for offset in offsets]
    except OSError:
        return []
    if None in starts:
        return []
    bounds = sorted({0, *(start for start in starts if start is not None and start < file.size), file.size})
    return [Part(file, start, stop, columns) for start, stop in zip(bounds, bounds[1:])]


def check_unchanged(file: InputFile) -> None:
    """Raises InputError (``input_changed``) where a file is no longer what was listed."""
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(file.path, error) from error
    try:
        _check_unchanged(handle, file)
    finally:
        os.close(handle)


def _check_unchanged(handle: int, file: InputFile) -> None:
    status = os.fstat(handle)
    if (status.st_size, status.st_mtime_ns) != (file.size, file.modified_ns):
        raise InputError(
            f"changed while it was read: {file.size:,} bytes when it was listed, {status.st_size:,} now",
            code="input_changed",
            path=file.path,
            hint="run again when it is complete",
        )


def _count_columns(handle: int, csv: CsvOptions, line_bytes: int) -> int:
    """Cells of a file's first record; 0 where there is none, or an error that whoever reads it all will name."""
    start = _next_line(handle, 1, line_bytes) if csv.skip_header else 0
    while start is not None:
        stop = _next_line(handle, start + 1, line_bytes)
        line = os.pread(handle, stop - start, start) if stop is not None else b""
        if not line:
            break
        parser = CsvParser(comment=csv.comment, missing=csv.missing)
        parser.reset(line, len(BYTE_ORDER_MARK) if start == 0 and line.startswith(BYTE_ORDER_MARK) else 0)
        parser.parse(array("f", bytes(4 * (line.count(b",") + 1))))
        if parser.columns or not parser.done:
            return parser.columns
        start = stop  # a blank line, or a comment
    return 0


def _next_line(handle: int, position: int, line_bytes: int) -> int | None:
    """The first byte at or behind ``position`` (above 0) that begins a line; None where a line is too long."""
    size = SMALL_FILE_BYTES
    # From one byte before, to see whether a line ends there.
    for begin in range(position - 1, position + line_bytes, size - 1):
        block = os.pread(handle, size, begin)
        found = find_line_start(block, 1) if len(block) > 1 else len(block)
        # A line end at the very end of a block may be the first half of a CRLF: the next block begins with that byte.
        if found < len(block) or len(block) < size:
            return begin + found
    return None


def _last_line_end(buffer: bytearray, stop: int) -> int:
    """The last position up to ``stop`` that is behind a line end, 0 if there is none."""
    found = buffer.rfind(b"\n", 0, stop) + 1
    # A CR at the very end may be the first half of a CRLF.
    return found or buffer.rfind(b"\r", 0, stop - 1) + 1


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[InputFile]:
    try:
        status = os.stat(folder)
        # Names alone, not entries: a million of them are held at once, to be sorted.
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield _unusable(folder, prefix, unreadable(folder, error))
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        message = "a symbolic link leads back to a folder that it lies in"
        yield _unusable(folder, prefix, InputError(message, code="link_loop", path=folder))
        return
    place = os.fsencode(f"{folder}/")
    for first in range(0, len(names), FILES_PER_CALL):
        group = names[first : first + FILES_PER_CALL]
        for name, (kind, size, modified_ns, code) in zip(
            group, stat_files(place, [os.fsencode(name) for name in group])
        ):
            path = f"{folder}/{name}"
            if kind == FOLDER:
                yield from _walk(path, f"{prefix}{name}/", (*above, here))
            elif name.endswith(CSV_SUFFIX) or name.lower().endswith(CSV_SUFFIX):
                if code:
                    yield _unusable(path, prefix + name, unreadable(path, OSError(code, os.strerror(code))))
                elif kind != FILE:
                    yield _unusable(path, prefix + name, _not_regular(path))
                else:
                    yield InputFile(path, prefix + name, size, modified_ns)


def _unusable(path: str, key: str, problem: InputError) -> InputFile:
    return InputFile(path, key.rstrip("/"), 0, 0, problem)


def _glob(pattern: str) -> Iterator[InputFile]:
    """Files that match; keys are relative to the part of the pattern before its first sign, cut at the last ``/``."""
    first_sign = min(pattern.index(sign) for sign in GLOB_SIGNS if sign in pattern)
    base = pattern[: pattern.rfind("/", 0, first_sign) + 1]
    paths = sorted({path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)})
    if not paths:
        raise InputError("no file matches", code="input_missing", path=pattern)
    for path in paths:
        key = path[len(base) :]
        if ".." in key.split("/"):
            raise InputError(
                "a pattern may not go up behind its first sign: outputs would lie outside of their folder", path=pattern
            )
        try:
            yield _stat(path, key)
        except InputError as error:
            yield _unusable(path, key, error)


def _stat(path: str, key: str) -> InputFile:
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    return InputFile(path, key, status.st_size, status.st_mtime_ns)


def _not_regular(path: str) -> InputError:
    # Opening a pipe would wait for its writer; a device may never end.
    return InputError("is not a regular file", code="cannot_read", path=path)
