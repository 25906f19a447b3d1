"""Objects at URLs that are neither files nor S3: gs, az, http, hdfs, memory and all else that fsspec has a package for.

They are only read, by whole calls that ask for all bytes of an object or for a range of them; nothing is kept open. What a
request answered is checked against the listing, since a server may give less, or all where a part was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ConfigError, FastinferError, InputError, ServiceError, quote
from ..extras import install_command
from .atomic import unreadable
from .base import Object, Select
from .crew import gathering, the_crew
from .listing import GLOB_SIGNS, every_key
from .remote_reader import GroupReader

T = TypeVar("T")

# What file systems call an object's version.
VERSIONS = (
    *("ETag", "etag", "md5Hash", "content_md5", "generation", "version_id"),
    *("mtime", "updated", "LastModified", "last_modified", "modified", "created"),
)
PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class FilesystemStore:
    """What any of fsspec's file systems has, to be read. It finds its settings as the file system's own package does."""

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
        files, path = _connect(source)
        is_folder = source.endswith("/")
        with _reading(source):
            entry = None if is_folder else _find(source)
            if entry is None and not is_folder:
                raise _missing(source)
            if entry is not None and entry["type"] == "file":
                yield _object(source, source.rpartition("/")[2], entry)
                return
        root = str(files.unstrip_protocol(path)).rstrip("/") + "/"
        for uri, entry in sorted(_files_below(source, root, enter), key=lambda each: each[0]):
            key = uri[len(root) :]
            if select(key):
                if entry.get("size") is None:  # the page of a web server has links alone
                    with _reading(uri):
                        entry = _ask(uri, functools.partial(files.info, entry["name"]))
                yield _object(uri, key, entry)

    def examine(self, uris: Sequence[str], keys: Sequence[str]) -> Iterator[Object]:
        """The objects of these names; what is wrong with one is kept as its problem."""
        for uri, key in zip(uris, keys):
            files, path = _connect(uri)
            try:
                yield _object(uri, key, _ask(uri, lambda: files.info(path)))  # noqa: B023 - is called at once
            except InputError as error:
                yield Object(uri, key, 0, b"", error)
            except OSError as error:
                yield Object(uri, key, 0, b"", unreadable(uri, _plain(error)))

    def exists(self, uri: str) -> bool:
        """Whether there is an object of this name. Raises InputError, ServiceError: nobody could say."""
        with _reading(uri):
            entry = _find(uri)
        return entry is not None and entry["type"] == "file"

    def open(self, item: Object) -> FilesystemReader:
        """Reads an object by ranges; nothing is asked for yet."""
        return FilesystemReader(item)

    @contextlib.contextmanager
    def read_ahead(self, items: Sequence[Object]) -> Iterator[GroupReader]:
        """Small objects that will be read in this order, several at a time."""

        def read(index: int) -> bytes:
            item = items[index]
            content = _read(item, 0, item.size)
            _check_unchanged(item)
            return content

        with gathering(read) as gathered:
            yield GroupReader(items, gathered, the_crew())

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files in a folder; none if it does not exist."""
        files, path = _connect(folder)
        with _reading(folder), contextlib.suppress(FileNotFoundError):
            for entry in _ask(folder, lambda: files.ls(path, detail=True)):
                if entry["type"] == "file":
                    yield str(entry["name"]).rpartition("/")[2]

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """The folders below a folder, and itself, with the names of their files."""
        root = root.rstrip("/")
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
        """The bytes of an object. Raises OSError, ServiceError."""
        (item,) = self.examine([uri], [uri])
        if item.problem is not None:
            raise item.problem
        for start in range(0, item.size, PIECE_BYTES):
            yield _read(item, start, min(PIECE_BYTES, item.size - start))
        _check_unchanged(item)

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of a small object; None if it does not exist. Raises OSError."""
        entry = _find(uri)
        if entry is None:
            return None
        item = _object(uri, uri, entry)
        if item.size > most_bytes:
            raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
        return _read(item, 0, item.size)


class FilesystemReader:
    """An object that is being read by ranges; a context manager."""

    def __init__(self, item: Object) -> None:
        self._item = item

    def __enter__(self) -> FilesystemReader:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def expect(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Nothing is read ahead."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads bytes from `offset` into `view`. Raises InputError, ServiceError."""
        wanted = min(len(view), self._item.size - offset)
        if wanted <= 0:
            return 0
        with _reading(self._item.uri):
            view[:wanted] = _read(self._item, offset, wanted)
        return wanted

    def check_unchanged(self) -> None:
        """Raises InputError (``input_changed``) if the object changed after it was listed, as far as its version says."""
        with _reading(self._item.uri):
            _check_unchanged(self._item)


def _connect(uri: str) -> tuple[Any, str]:
    """The file system of a URL, and the URL's name there."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{quote(uri)} requires fsspec, which is not installed",
            code="fsspec_missing",
            hint=f"{install_command('urls')}, and the package of that file system",
        ) from error
    try:
        files, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise ConfigError(f"{quote(uri)}: {_first_line(error)}", code="fsspec_missing") from error
    except ValueError as error:
        raise ConfigError(
            f"expected s3://, file://, a URL that fsspec knows, or a path, found {quote(uri)}: {_first_line(error)}",
            code="bad_place",
        ) from error
    except Exception as error:
        raise ServiceError(f"{uri}: {_first_line(error)}", code="url_failed") from error
    return files, str(path)


def _ask(uri: str, request: Callable[[], T]) -> T:
    """Carries out a request; what is no fact about the object is a ServiceError. Packages of file systems raise anything."""
    try:
        return request()
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, (FileNotFoundError, KeyError)):
            raise
        # Over HTTP whatever fails is called so.
        raise ServiceError(f"{uri}: {_first_line(cause)}", code="url_failed") from error
    except (FastinferError, PermissionError, IsADirectoryError, NotADirectoryError):
        raise
    except Exception as error:
        raise ServiceError(f"{uri}: {_first_line(error)}", code="url_failed") from error


def _files_below(source: str, root: str, enter: Select) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files below a folder, in any order. fsspec's own find() passes over folders that it fails to list."""
    files, path = _connect(source)
    folders = [(source, path)]
    known = {path}
    while folders:
        at, folder = folders.pop()
        entries: list[dict[str, Any]] = []
        with _reading(at), contextlib.suppress(FileNotFoundError) if at == source else contextlib.nullcontext():
            entries = _ask(at, functools.partial(files.ls, folder, detail=True))
        named = [(str(files.unstrip_protocol(entry["name"])), entry) for entry in entries]
        below = [(uri, entry) for uri, entry in named if uri.startswith(root) and uri != root]
        if at == source and not below:
            raise _missing(source)
        for uri, entry in below:
            key, name = uri[len(root) :].rstrip("/"), entry["name"]
            if entry["type"] != "directory":
                if not uri.endswith("/"):  # else it only marks a folder
                    yield uri, entry
            elif name not in known and enter(key):
                known.add(name)
                folders.append((uri, name))


def _find(uri: str) -> dict[str, Any] | None:
    """What the file system says of a file or folder; None if there is none. Raises OSError, ServiceError."""
    files, path = _connect(uri)
    try:
        entry: dict[str, Any] = _ask(uri, lambda: files.info(path))
    except FileNotFoundError:
        return None
    return entry


@contextlib.contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Where a request is refused, that is an error of the input."""
    try:
        yield
    except OSError as error:
        raise unreadable(uri, _plain(error)) from error


def _object(uri: str, key: str, entry: dict[str, Any]) -> Object:
    size = entry.get("size")
    if size is None:
        raise InputError("its size is not told, so nobody could say whether all of it came", path=uri)
    return Object(uri, key, int(size), _version(entry))


def _version(entry: dict[str, Any]) -> bytes:
    """What changes with an object's bytes; empty where the file system says nothing of that kind."""
    # The same time comes as a datetime and as seconds.
    known = {
        name: str(getattr(each, "timestamp", lambda each=each: each)())
        for name in VERSIONS
        if (each := entry.get(name))
    }
    return json.dumps(known).encode() if known else b""


def _read(item: Object, start: int, size: int) -> bytes:
    """Bytes of an object. Raises OSError: ESTALE where other bytes came than were listed."""
    files, path = _connect(item.uri)
    if not size:
        return b""
    is_whole = (start, size) == (0, item.size)
    bounds = {} if is_whole else {"start": start, "end": start + size}
    content = bytes(_ask(item.uri, lambda: files.cat_file(path, **bounds)))
    if len(content) == item.size:  # all of it, where the server knows no ranges
        content = content[start : start + size]
    if len(content) != size:
        raise OSError(errno.ESTALE, f"{len(content):,} bytes came instead of {size:,}")
    return content


def _check_unchanged(item: Object) -> None:
    """Raises OSError (ESTALE) if the object has another size or version than when it was listed."""
    files, path = _connect(item.uri)

    def look() -> Any:
        files.invalidate_cache()
        return files.info(path)

    entry = _ask(item.uri, look)
    # A listing may say less of an object than the object itself, or something else.
    before, now = (json.loads(version or b"{}") for version in (item.version, _version(entry)))
    if entry.get("size") != item.size or any(now[name] != before[name] for name in {*now} & {*before}):
        raise OSError(errno.ESTALE, "it changed after it was listed")


def _plain(error: OSError) -> OSError:
    """The error with an errno and a text, which packages of file systems leave out."""
    if error.strerror:
        return error
    number = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}.get(type(error), errno.EIO)
    return OSError(number, _first_line(error))


def _missing(source: str) -> InputError:
    is_glob = any(sign in source for sign in GLOB_SIGNS)
    return InputError(
        "there is no object of this name, or below it",
        code="input_missing",
        path=source,
        hint="a glob works for files and S3 only" if is_glob else None,
    )


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
