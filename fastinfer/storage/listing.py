"""Lists the files of this machine: a folder and all folders below it, one file, or the files that match a glob."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from .._native.files import FILES_PER_CALL, stat_files
from ..errors import InputError
from .atomic import unreadable
from .base import Object, Select
from .uri import GLOB_SIGNS

# At the end of a name: whatever begins with it.
BEGINNING = "**"

# Kinds of stat_files().
FILE, FOLDER = 1, 2


def every_key(_: str) -> bool:
    """Selects every file of a folder."""
    return True


def enters_folders(enter: Select) -> Select:
    """Whether all folders of a key are entered; each is asked for once where its keys follow each other."""
    last: list[tuple[str, bool]] = []  # the folders of the last key, from the outermost

    def enters(key: str) -> bool:
        folder = key[: key.rfind("/") + 1]
        while last and not folder.startswith(last[-1][0]):
            last.pop()
        if last and not last[-1][1]:
            return False
        start = len(last[-1][0]) if last else 0
        while start < len(folder):
            stop = folder.index("/", start) + 1
            last.append((folder[:stop], enter(folder[: stop - 1])))
            if not last[-1][1]:
                return False
            start = stop
        return True

    return enters


def list_files(source: str, select: Select = every_key, enter: Select = every_key) -> Iterator[Object]:
    """The files that `source` names, in the order of their names: all selected files below a folder, a file, or the
    files that match a glob. Files that are named or match a glob need not be selected.

    Args:
        source: a path or a glob.
        select: which keys of a folder's files are listed.
        enter: which folders, by their keys, are entered.

    Raises:
        InputError: ``input_missing``, ``cannot_read``. A problem with a file in a folder is kept with its object.
    """
    if os.path.isdir(source):
        yield from _walk(source.rstrip("/") or "/", select, enter)
    elif os.path.lexists(source):
        item = examine_file(source, os.path.basename(source))
        if item.problem is not None:
            raise item.problem
        yield item
    elif any(sign in source for sign in GLOB_SIGNS):
        yield from _glob(source)
    else:
        raise InputError("no such file or folder", code="input_missing", path=source)


def examine_file(path: str, key: str) -> Object:
    """The object of one file; what is wrong with it is kept as its problem."""
    folder, name = os.path.split(path)
    ((kind, size, version, code),) = stat_files(os.fsencode(os.path.join(folder, "")), [os.fsencode(name)])
    return _object(path, key, kind, size, version, code)


class _Folder(NamedTuple):
    """A folder that is being listed, and the folders that it is in."""

    identity: tuple[int, int]
    above: _Folder | None

    def is_within(self, identity: tuple[int, int]) -> bool:
        folder: _Folder | None = self
        while folder is not None:
            if folder.identity == identity:
                return True
            folder = folder.above
        return False


def _walk(source: str, select: Select, enter: Select) -> Iterator[Object]:
    # Not by recursion: folders may be nested deeper than Python's calls.
    waiting: list[Iterator[Object | _Entry]] = [_list(_Entry(source, "", None), select, enter)]
    while waiting:
        for entry in waiting[-1]:
            if isinstance(entry, _Entry):
                waiting.append(_list(entry, select, enter))
                break
            yield entry
        else:
            waiting.pop()


class _Entry(NamedTuple):
    """A folder that is to be listed."""

    path: str
    prefix: str
    above: _Folder | None


def _list(entry: _Entry, select: Select, enter: Select) -> Iterator[Object | _Entry]:
    """What is in a folder: its files, and the folders to list in their place."""
    path, prefix, above = entry
    try:
        status = os.stat(path)
        # Only names, not entries: up to a million are held in memory to be sorted.
        names = sorted(os.listdir(path))
    except OSError as error:
        yield _unusable(path, prefix, unreadable(path, error))
        return
    identity = (status.st_dev, status.st_ino)
    if above is not None and above.is_within(identity):
        message = "a symbolic link leads back to a folder above it"
        yield _unusable(path, prefix, InputError(message, code="link_loop", path=path))
        return
    here = _Folder(identity, above)
    encoded = os.fsencode(f"{path}/")
    for first in range(0, len(names), FILES_PER_CALL):
        group = names[first : first + FILES_PER_CALL]
        facts = stat_files(encoded, [os.fsencode(name) for name in group])
        for name, (kind, size, version, code) in zip(group, facts):
            if kind == FILE:  # first: nearly all
                if select(prefix + name):
                    yield Object(f"{path}/{name}", prefix + name, size, version)
            elif kind == FOLDER:
                if enter(prefix + name):
                    yield _Entry(f"{path}/{name}", f"{prefix}{name}/", here)
            # What cannot be examined may be a folder; a link that leads nowhere is no folder.
            elif (select if code in (0, errno.ENOENT, errno.ELOOP) else enter)(prefix + name):
                yield _object(f"{path}/{name}", prefix + name, kind, size, version, code)


def _glob(pattern: str) -> Iterator[Object]:
    """The files that match; their keys are relative to the folder in which the pattern's first sign is.

    A pattern that ends with ``**`` within a name, ``in/part-0**``, matches whatever begins so: also files below folders.
    """
    import glob  # late: most sources are folders

    first_sign = min(pattern.index(sign) for sign in GLOB_SIGNS if sign in pattern)
    base = pattern[: pattern.rfind("/", 0, first_sign) + 1]
    found = glob.glob(pattern, recursive=True)
    if pattern.endswith(BEGINNING) and not pattern.endswith(f"/{BEGINNING}"):
        found += glob.glob(f"{pattern[:-1]}/**", recursive=True)
    paths = sorted({path for path in found if not os.path.isdir(path)})
    if not paths:
        raise InputError("no file matches", code="input_missing", path=pattern)
    for path in paths:
        key = path[len(base) :]
        if ".." in key.split("/"):
            raise InputError(
                "a pattern may not contain .. after its first *, ? or [: results would be outside of their folder",
                path=pattern,
            )
        yield examine_file(path, key)


def _object(path: str, key: str, kind: int, size: int, version: bytes, code: int) -> Object:
    if code:
        return _unusable(path, key, unreadable(path, OSError(code, os.strerror(code))))
    if kind != FILE:
        # Opening a pipe would wait for its writer; a device may never end.
        return _unusable(path, key, InputError("is not a regular file", code="cannot_read", path=path))
    return Object(path, key, size, version)


def _unusable(path: str, key: str, problem: InputError) -> Object:
    return Object(path, key.rstrip("/"), 0, b"", problem)
