"""Requests to fsspec's file systems: what they say of an object, its bytes, and what went wrong, in one line.

Packages of file systems raise anything. What is a fact about one object is an OSError with an errno here; all else is a
ServiceError. The packages try again by themselves what may pass.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..errors import ConfigError, FastinferError, InputError, ServiceError, quote
from ..extras import install_command
from .atomic import unreadable
from .base import Object

T = TypeVar("T")

# What file systems call an object's version, what is made of its bytes first; times are the last resort.
VERSIONS = (
    *("ETag", "etag", "md5Hash", "content_md5", "generation", "version_id"),
    *("mtime", "updated", "LastModified", "last_modified", "modified"),
    *("modificationTime", "timeModified", "modify", "created"),
)
# What is no place by itself, but a view of another one.
VIEWS = {
    **dict.fromkeys(("zip", "tar", "libarchive"), "it is an archive, and no place by itself"),
    **dict.fromkeys(
        (
            *("cached", "blockcache", "filecache", "simplecache"),
            *("dir", "reference", "generic", "async_wrapper", "asyncwrapper", "dask"),
        ),
        "it is a view of another place",
    ),
}
_PASSWORD = re.compile(r"([^/]*://[^/:@]*:)[^/]*@")
# By default smbprotocol lets nobody open a file that is open, not even this process for another range of it.
OPTIONS = {"smb": {"share_access": "rwd"}}
# So many connections of one process to a server.
CONNECTIONS = 4
# Errors that say something of one object, or of the place where it is.
FACTS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
FACT_NUMBERS = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
# The numbers of FACTS, which smbprotocol's errors have without being of these classes.
CLASS_NUMBERS = {errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR}


def class_of(uri: str) -> Any:
    """The class of a URL's file system.

    Raises:
        ConfigError: ``fsspec_missing``, ``bad_place``.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{quote(uri)} requires fsspec, which is not installed",
            code="fsspec_missing",
            hint=f"{install_command('urls')}, and the package of that file system",
        ) from error
    scheme = uri.partition("://")[0].lower()
    view = VIEWS.get(scheme.partition("::")[0])
    if view is not None:
        message = f"{quote(uri)}: {view}"
        raise ConfigError(message, code="bad_place", hint="name that place; unpack an archive first")
    hidden = r"\1(hidden)@"
    if _PASSWORD.match(uri):
        raise ConfigError(
            f"a URL with a password would be kept in the record of the run: {quote(_PASSWORD.sub(hidden, uri))}",
            code="bad_place",
            hint=f"leave it out, and set $FSSPEC_{scheme.upper()}_PASSWORD",
        )
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ConfigError(f"{quote(uri)}: {first_line(error)}", code="fsspec_missing") from error
    except ValueError as error:
        raise ConfigError(
            f"expected s3://, file://, a URL that fsspec knows, or a path, found {quote(uri)}: {first_line(error)}",
            code="bad_place",
        ) from error


class _Connections:
    """The connections to one server, each lent to one thread at a time."""

    def __init__(self) -> None:
        self._free: list[Any] = []
        self._room = threading.Semaphore(CONNECTIONS)

    @contextlib.contextmanager
    def lent(self, make: Callable[[], Any]) -> Iterator[Any]:
        with self._room:
            try:
                files = self._free.pop()
            except IndexError:  # not asked before: another thread may take the last one in between
                files = make()
            try:
                yield files
            except OSError:  # a fact about an object
                self._free.append(files)
                raise
            self._free.append(files)  # after a failure it may be broken


_connections: dict[object, _Connections] = {}
atexit.register(_connections.clear)  # else they close when half of Python is gone, and say so


@contextlib.contextmanager
def connected(uri: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the URL's name there.

    Packages that are asynchronous inside share one client among all threads. Others have one connection each time one is
    made, and ftplib's may not be used by two threads: a few are made, and lent.

    Raises:
        ConfigError: ``fsspec_missing``, ``bad_place``.
        ServiceError: the file system failed.
    """
    kind = class_of(uri)
    # Neither fsspec.core.url_to_fs() nor all packages see that :: may be in a key: they take what is behind it for a URL.
    above, colons, rest = uri.partition("::")
    try:
        options, path = kind._get_kwargs_from_urls(uri), str(kind._strip_protocol(above + colons[:1]))
        options = {**OPTIONS.get(uri.partition("://")[0].lower(), {}), **options}
    except Exception as error:
        raise ServiceError(f"{uri}: {first_line(error)}", code="url_failed") from error

    path += colons[1:] + rest

    def make(**more: bool) -> Any:
        try:
            return kind(**options, **more)
        except ImportError as error:
            raise ConfigError(f"{quote(uri)}: {first_line(error)}", code="fsspec_missing") from error
        except Exception as error:
            raise ServiceError(f"{uri}: {first_line(error)}", code="url_failed") from error

    if kind.async_impl:
        yield make(), path
        return
    server = _connections.setdefault((kind, repr(sorted(options.items())), os.getpid()), _Connections())
    with server.lent(lambda: make(skip_instance_cache=True)) as files:
        yield files, path


def ask(uri: str, request: Callable[[Any, str], T]) -> T:
    """Carries out a request of a file system and the URL's name there.

    Raises:
        OSError: a fact about the object.
        ConfigError, ServiceError: as :func:`connected`.
    """
    with connected(uri) as (files, path):
        try:
            return request(files, path)
        except FileNotFoundError as error:
            if _is_missing(error):
                raise plain(error) from error
            raise ServiceError(f"{uri}: {first_line(error.__cause__ or error)}", code="url_failed") from error
        except FastinferError:
            raise
        except FACTS as error:
            raise plain(error) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FACT_NUMBERS:
                raise
            if isinstance(error, OSError) and error.errno in CLASS_NUMBERS:
                raise OSError(error.errno, error.strerror) from error
            raise ServiceError(f"{uri}: {first_line(error)}", code="url_failed") from error


def look_up(uri: str) -> dict[str, Any]:
    """What the file system says now of a file or folder. Raises OSError, ServiceError."""

    def look(files: Any, path: str) -> dict[str, Any]:
        files.invalidate_cache()
        return dict(files.info(path))

    return ask(uri, look)


def list_folder(uri: str) -> list[dict[str, Any]]:
    """What is in a folder now, by its names there. Raises OSError, ServiceError."""

    def look(files: Any, path: str) -> list[dict[str, Any]]:
        files.invalidate_cache()
        return list(files.ls(path, detail=True))

    return ask(uri, look)


def find(uri: str) -> dict[str, Any] | None:
    """As :func:`look_up`; None if there is nothing of this name."""
    try:
        return look_up(uri)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def reading(uri: str) -> Iterator[None]:
    """Where a request is refused, that is an error of the input."""
    try:
        yield
    except OSError as error:
        raise unreadable(uri, error) from error


def object_of(uri: str, key: str, entry: dict[str, Any]) -> Object:
    """The object of an entry of a listing. Raises InputError if its size is not told."""
    size = entry.get("size")
    if size is None:
        raise InputError("its size is not told, so nobody could say whether all of it came", path=uri)
    return Object(uri, key, int(size), version_of(entry))


def version_of(entry: dict[str, Any]) -> bytes:
    """What changes with an object's bytes; empty where the file system says nothing of that kind.

    >>> version_of({"size": 3, "mtime": 1.5, "etag": "abc"}), version_of({"size": 3, "ETag": 'W/"weak"'})
    (b'etag:abc', b'')
    """
    for name in VERSIONS:
        value = _said(entry, name)
        if value:
            return f"{name}:{value}".encode()
    return b""


def read(item: Object, start: int, size: int) -> bytes:
    """Bytes of an object. Raises OSError: ESTALE where other bytes came than were listed."""
    if not size:
        return b""
    is_whole = (start, size) == (0, item.size)
    bounds = {} if is_whole else {"start": start, "end": start + size}
    content = ask(item.uri, lambda files, path: bytes(files.cat_file(path, **bounds)))
    if len(content) == item.size:  # all of it, where the server knows no ranges
        content = content[start : start + size]
    if len(content) != size:
        raise OSError(errno.ESTALE, f"{len(content):,} bytes came instead of {size:,}")
    return content


def check_unchanged(item: Object) -> None:
    """Raises OSError (ESTALE) if the object has another size or version than when it was listed."""
    entry = look_up(item.uri)
    name, _, value = item.version.decode().partition(":")
    # A listing may say something of an object that the object itself does not.
    if entry.get("size") != item.size or (name and _said(entry, name) not in ("", value)):
        raise OSError(errno.ESTALE, "it changed after it was listed")


def _is_missing(error: FileNotFoundError) -> bool:
    """Whether there is no such object: over HTTP and FTP whatever fails is called so, and its cause is kept."""
    cause = error.__cause__
    return (
        cause is None
        or error.errno is not None
        or isinstance(cause, (FileNotFoundError, LookupError, StopIteration))
        or str(cause).startswith("550 ")  # of FTP
    )


def plain(error: OSError) -> OSError:
    """The error with an errno and a text, which packages of file systems leave out."""
    if error.strerror and error.errno:
        return error
    numbers = (errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EISDIR, errno.ENOTDIR)
    number = next((number for kind, number in zip(FACTS, numbers) if isinstance(error, kind)), errno.EIO)
    return OSError(number, first_line(error))


def first_line(error: BaseException) -> str:
    """What an error says, in one line that is not long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"


def _said(entry: dict[str, Any], name: str) -> str:
    """What an entry says under a name of VERSIONS; empty if nothing, or what other bytes may have as well."""
    value = entry.get(name)
    if not value:
        return ""
    # The same time comes as a datetime and as seconds.
    text = str(getattr(value, "timestamp", lambda: value)())
    return "" if text.startswith("W/") else text
