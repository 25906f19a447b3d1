"""Sorts more lines than memory holds: sorted parts go to unnamed files, which are merged."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator
from typing import IO, Any, Callable, TypeVar

# So many bytes of lines are sorted in memory.
PART_BYTES = 4 << 20
# So many files are merged at a time: each takes a descriptor, and a buffer of some kilobytes.
MOST_FILES = 128

Key = TypeVar("Key")


def sort_lines(
    lines: Iterable[bytes], key: Callable[[bytes], Key], folder: str, prefix: str, part_bytes: int = PART_BYTES
) -> Iterator[tuple[Key, bytes]]:
    """The lines with their keys, sorted by key and then by themselves, each once.

    Args:
        lines: with their ends.
        key: what to sort by.
        folder: where the unnamed files are put if the lines are more than `part_bytes`.
        prefix: what their names begin with on file systems where a file must have one at first.
        part_bytes: how many bytes are sorted at a time.

    Raises:
        OSError: the folder has no room.
    """

    def with_keys(lines: Iterable[bytes]) -> Iterator[tuple[Any, bytes]]:
        return ((key(line), line) for line in lines)

    files: list[IO[bytes]] = []
    try:
        part: list[bytes] = []
        held = 0
        for line in lines:
            part.append(line)
            held += len(line)
            if held >= part_bytes:
                files.append(_write((line for _, line in sorted(with_keys(part))), folder, prefix))
                part, held = [], 0
            if len(files) == MOST_FILES:
                merged = _write((line for _, line in heapq.merge(*map(with_keys, files))), folder, prefix)
                for file in files:
                    file.close()
                files = [merged]
        last = None
        for pair in heapq.merge(*map(with_keys, files), sorted(with_keys(part))):
            if pair[1] != last:
                yield pair
            last = pair[1]
    finally:
        for file in files:
            file.close()


def _write(lines: Iterable[bytes], folder: str, prefix: str) -> IO[bytes]:
    from tempfile import TemporaryFile  # late: few runs have so many rejects

    file = TemporaryFile("w+b", buffering=io.DEFAULT_BUFFER_SIZE, dir=folder, prefix=prefix)  # noqa: SIM115
    try:
        file.writelines(lines)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
