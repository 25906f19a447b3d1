"""Objects at URLs that are neither files nor S3: gs, az, http, hdfs, memory and all else that fsspec has a package for.

They are only read, by whole calls that ask for all bytes of an object or for a range of them; nothing is kept open. What a
request answered is checked against the listing, since a server may give less, or all where a part was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .atomic import unreadable
from .base import Object, Select
from .crew import Gathering, answered, gathering, the_crew
from .filesystem_requests import check_unchanged, connected, find, list_folder, look_up, object_of, read, reading
from .listing import every_key
from .remote_reader import GROUP_AHEAD_BYTES, GroupReader
from .uri import GLOB_SIGNS

PIECE_BYTES = 8 << 20


# Objects that are read alone are read as a whole up to this size.
WHOLE_BYTES = 8 << 20


@dataclass(frozen=True)
class FilesystemSource:
    """What any of fsspec's file systems has, to be read. It finds its settings as the file system's own package does."""

    # Small objects; those that are read alone, as many as are opened ahead, and the one in use.
    ahead_bytes = GROUP_AHEAD_BYTES + 3 * WHOLE_BYTES

    def list_objects(self, source: str, select: Select = every_key, enter: Select = every_key) -> Iterator[Object]:
        """The object of that name, or those below that folder, in the order of their keys.

        Args:
            source: a URL; one that ends with a slash is a folder.
            select: which keys below the folder are listed; an object that is named itself need not be selected.
            enter: the keys of which folders below the folder are entered.

        Raises:
            InputError: ``input_missing``, ``cannot_read``.
            ServiceError: the file system failed.
        """
        is_folder = source.endswith("/")
        with reading(source):
            entry = None if is_folder else find(source)
            if entry is None and not is_folder:
                raise _missing(source)
            if entry is not None and entry["type"] == "file":
                yield object_of(source, source.rpartition("/")[2], entry)
                return
        root = _slashless(source)
        listed = sorted(_files_below(root, enter), key=lambda each: each[0])
        entries = [(f"{root}/{key}", key, entry) for key, entry in listed if select(key)]
        if all(entry.get("size") is not None for _, _, entry in entries):
            yield from itertools.starmap(object_of, entries)
            return

        def sized(index: int) -> Object:
            uri, key, entry = entries[index]
            with reading(uri):
                return object_of(uri, key, entry if entry.get("size") is not None else look_up(uri))

        # The page of a web server has links alone.
        yield from answered(sized, range(len(entries)))

    def examine(self, uris: Sequence[str], keys: Sequence[str]) -> Iterator[Object]:
        """The objects of these names, looked up several at a time; what is wrong with one is kept as its problem."""

        def examined(index: int) -> Object:
            return _examine(uris[index], keys[index])

        return answered(examined, range(len(uris)))

    def exists(self, uri: str) -> bool:
        """Whether there is an object of this name. Raises InputError, ServiceError: nobody could say."""
        with reading(uri):
            entry = find(uri)
        return entry is not None and entry["type"] == "file"

    def open(self, item: Object) -> FilesystemReader:
        """Reads an object by ranges; nothing is asked for yet."""
        return FilesystemReader(item)

    @contextlib.contextmanager
    def read_ahead(self, items: Sequence[Object]) -> Iterator[GroupReader]:
        """Small objects that will be read in this order, several at a time."""

        def read_whole(index: int) -> bytes:
            item = items[index]
            content = read(item, 0, item.size)
            check_unchanged(item)
            return content

        with gathering(read_whole) as gathered:
            yield GroupReader(items, gathered)

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files in a folder; none if it does not exist."""
        with reading(folder), contextlib.suppress(FileNotFoundError):
            for entry in list_folder(folder):
                if entry["type"] == "file":
                    yield str(entry["name"]).rpartition("/")[2]

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """The folders below a folder, and itself, with the names of their files."""
        root = _slashless(root)
        is_empty = True
        try:
            for item in self.list_objects(f"{root}/"):
                is_empty = False
                above, _, name = f"{root}/{item.key}".rpartition("/")
                yield above, [name]
        except InputError as error:
            if not is_empty or error.code != "input_missing":
                raise

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object. Raises InputError, OSError, ServiceError."""
        item = _examine(uri, uri)  # by this thread: it may be one of the crew, and all of them waiting for another
        if item.problem is not None:
            raise item.problem
        for start in range(0, item.size, PIECE_BYTES):
            yield read(item, start, min(PIECE_BYTES, item.size - start))
        check_unchanged(item)

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of a small object; None if it does not exist. Raises InputError, OSError, ServiceError."""
        entry = find(uri)
        if entry is None:
            return None
        item = object_of(uri, uri, entry)
        if item.size > most_bytes:
            raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
        return read(item, 0, item.size)


class FilesystemReader:
    """An object that is being read: a small one as a whole, ahead; a larger one by ranges. A context manager."""

    def __init__(self, item: Object) -> None:
        self._item = item
        self._gathered = Gathering(the_crew(is_large=True), self._read)
        self._whole: bytes | None = None

    def __enter__(self) -> FilesystemReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._gathered.close()

    def expect(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Begins to read an object that is expected from its first byte to its last, if it has no more than WHOLE_BYTES."""
        if 0 < self._item.size <= WHOLE_BYTES:
            starts, sizes = zip(*blocks)
            if not starts[0] and sum(sizes) == self._item.size:
                self._gathered.begin([self._item.size])  # the only request, whose key is what it needs to know

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads bytes from `offset` into `view`. Raises InputError, ServiceError."""
        wanted = min(len(view), self._item.size - offset)
        if wanted <= 0:
            return 0
        if self._gathered.has(self._item.size):
            self._whole = self._gathered.take(self._item.size)
        with reading(self._item.uri):
            if self._whole is not None:
                view[:wanted] = self._whole[offset : offset + wanted]
            else:
                view[:wanted] = read(self._item, offset, wanted)
        return wanted

    def _read(self, size: int) -> bytes:
        with reading(self._item.uri):
            content = read(self._item, 0, size)
            check_unchanged(self._item)
            return content

    def check_unchanged(self) -> None:
        """Raises InputError (``input_changed``) if the object changed after it was listed, as far as its version says."""
        if self._whole is None:  # else that was seen when it was read
            with reading(self._item.uri):
                check_unchanged(self._item)


def _examine(uri: str, key: str) -> Object:
    """The object of a name; what is wrong with it is kept as its problem."""
    try:
        return object_of(uri, key, look_up(uri))
    except InputError as error:
        return Object(uri, key, 0, b"", error)
    except OSError as error:
        return Object(uri, key, 0, b"", unreadable(uri, error))


def _files_below(root: str, enter: Select) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of the files below a folder, in any order. fsspec's own find() passes over folders that it fails to list."""
    with connected(f"{root}/") as (_, path):
        pass
    # Packages name a folder with or without slashes around it.
    inside = f"{path.strip('/')}/" if path.strip("/") else ""
    folders = [""]
    known = set(folders)
    while folders:
        above = folders.pop()
        at = f"{root}/{above}"
        entries: list[dict[str, Any]] = []
        with reading(at), contextlib.nullcontext() if above else contextlib.suppress(FileNotFoundError):
            entries = list_folder(at)
        named = [(str(entry["name"]).lstrip("/"), entry) for entry in entries]
        below = [(name[len(inside) :], entry) for name, entry in named if name.startswith(inside) and name != inside]
        if not (above or below):
            raise _missing(root)
        for key, entry in below:
            if entry["type"] != "directory":
                if not key.endswith("/"):  # else it only marks a folder
                    yield key, entry
            elif (folder := key.rstrip("/")) not in known and enter(folder):
                known.add(folder)
                folders.append(folder)


def _slashless(folder: str) -> str:
    """A folder without the slashes at its end: to a slash and a key it is the URL of an object."""
    root = folder.rstrip("/")
    return f"{root}/" if root.endswith(":") else root


def _missing(source: str) -> InputError:
    is_glob = any(sign in source for sign in GLOB_SIGNS)
    return InputError(
        "there is no object of this name, or below it",
        code="input_missing",
        path=source,
        hint="a glob works for files and S3 only" if is_glob else None,
    )
