"""Writes results by fsspec: an object is put whole, or it has no name.

Never by fsspec's file-like writers under the final name: when an exception passes, they close, and closing gives the half its
name. Where a package's own call puts an object whole, that call is made. Where it writes files, as over SFTP, a file is
written under a hidden name, renamed, and looked at. What else a package may do is not known, and is refused.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from ..errors import ConfigError, FastinferError, OutputError, ServiceError, quote
from .atomic import unwritable
from .filesystem_requests import FACT_NUMBERS, VIEWS, ask, class_of, find

# Classes whose pipe_file() and put_file() put an object by one request, or in parts that have no name before the last one.
WHOLE = {
    "fsspec.implementations.memory.MemoryFileSystem",
    "gcsfs.core.GCSFileSystem",
    "adlfs.spec.AzureBlobFileSystem",
    "s3fs.core.S3FileSystem",
}
# Classes whose mv() renames; others copy, and remove.
RENAMED = {
    "fsspec.implementations.arrow.HadoopFileSystem",
    "fsspec.implementations.ftp.FTPFileSystem",
    "fsspec.implementations.local.LocalFileSystem",
    "fsspec.implementations.sftp.SFTPFileSystem",
    "fsspec.implementations.smb.SMBFileSystem",
}
# Why others are not written.
REASONS = {
    **dict.fromkeys(("http", "https"), "web servers take no results"),
    **VIEWS,
    **dict.fromkeys(("git", "github", "gist", "hf"), "it is a repository"),
    **dict.fromkeys(("webdav", "webdavs", "dav", "davs"), "its package copies and removes, where others rename"),
    "webhdfs": "its renaming replaces nothing, and does not say so; hdfs:// does",
}
UNKNOWN = "it is not known that its package writes an object whole or not at all"

# So much of a large result is held in memory, and put by one call; more is kept in a file of this machine first.
SPOOL_BYTES = 8 << 20
PIECE_BYTES = 1 << 20


def is_whole(uri: str) -> bool:
    """Whether the package of a URL puts objects whole by itself; else they are written under a hidden name, and renamed.

    Raises:
        ConfigError: ``fsspec_missing``; ``bad_place`` where nothing is written, and why.
    """
    scheme = uri.partition("://")[0].lower()
    reason = REASONS.get(scheme, UNKNOWN)
    if scheme not in REASONS:
        names = {f"{each.__module__}.{each.__qualname__}" for each in class_of(uri).__mro__}
        if names & (WHOLE | RENAMED):
            return bool(names & WHOLE)
    raise ConfigError(
        f"no results are written to {scheme}://, found {quote(uri)}: {reason}",
        code="bad_place",
        hint="write them to a folder or to s3://, and copy them there",
    )


def put(uri: str, content: bytes | str, size: int, hidden: str) -> None:
    """Puts an object in the place of another, or where there is none.

    Args:
        uri: its name.
        content: its bytes; or the path of a file with them.
        size: how many there are.
        hidden: the name that it has in its folder until it is whole, where it is renamed.

    Raises:
        OSError: it cannot have this name, or there is no room or no right to write it.
        ServiceError: the file system failed.
    """
    if is_whole(uri):
        ask(uri, lambda files, path: _send(files, content, path))
        return
    ask(uri, lambda files, path: _send_and_rename(files, content, path, hidden))
    entry = find(uri)
    if entry is not None and entry["type"] != "file":
        with contextlib.suppress(OSError, FastinferError):  # some move into a folder of that name
            remove(f"{uri}/{hidden}")
        raise IsADirectoryError(errno.EISDIR, "there is a folder of this name")
    if entry is None or entry["size"] != size:
        raise ServiceError(f"{uri}: it was renamed, and is not there with its {size:,} bytes", code="url_failed")


def create(uri: str, content: bytes, hidden: str) -> None:
    """Puts a small object where there is none, if the package offers that; else as :func:`put`.

    Raises:
        FileExistsError: somebody else has put one there.
        OSError, ServiceError: as :func:`put`.
    """
    options = ask(uri, lambda files, _: _exclusive(files.pipe_file)) if is_whole(uri) else {}
    if not options:
        put(uri, content, len(content), hidden)
        return
    try:
        ask(uri, lambda files, path: files.pipe_file(path, content, **options))
    except (OSError, ServiceError) as error:
        # It may be our own, of an attempt whose reply was lost.
        there = ask(uri, lambda files, path: files.cat_file(path)) if find(uri) is not None else None
        if there is None:
            raise
        if bytes(there) != content:
            raise FileExistsError(errno.EEXIST, "somebody else has written it") from error


def remove(uri: str) -> None:
    """Removes an object that need not exist. Raises OSError, ServiceError."""
    try:
        ask(uri, lambda files, path: files.rm_file(path))
    except (OSError, ServiceError):
        entry = find(uri)
        if entry is not None and entry["type"] == "file":  # packages say in many ways that there was none
            raise


class FilesystemUpload:
    """A large result that is being written: held in memory or a temporary file of this machine until it is whole.

    Args:
        uri: its name when it is whole.
        hidden: the name that it has in its folder until it is whole, where it is renamed.
        prepare: is called with its size and label before it gets its name.
    """

    def __init__(self, uri: str, hidden: str, prepare: Callable[[int, bytes], None]) -> None:
        self._uri = uri
        self._hidden = hidden
        self._prepare = prepare
        self._texts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._held = 0
        self._size = 0

    def write(self, content: bytes) -> None:
        """Adds bytes. Raises OutputError; nothing is left then."""
        self._texts.append(content)
        self._held += len(content)
        self._size += len(content)
        if self._held > SPOOL_BYTES:
            with self._spooling():
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="fastinfer-")  # noqa: SIM115 - is open between calls
                self._file.writelines(self._texts)
            self._texts, self._held = [], 0

    def commit(self, label: bytes | None) -> None:
        """Gives the result its name. Raises OutputError, ServiceError; nothing is left then."""
        try:
            content: bytes | str = b""
            if self._file is None:
                content = b"".join(self._texts)
            else:
                with self._spooling():
                    self._file.writelines(self._texts)
                    self._file.flush()
                # It has no name that a killed run could leave behind.
                content = f"/proc/self/fd/{self._file.fileno()}"
            if label is not None:
                self._prepare(self._size, label)
            put(self._uri, content, self._size, self._hidden)
        except OSError as error:
            raise unwritable(self._uri, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Drops what was written."""
        self._texts, self._held = [], 0
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    @contextlib.contextmanager
    def _spooling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            raise OutputError(
                f"cannot be kept in {tempfile.gettempdir()} until it is whole: {error.strerror or error}",
                path=self._uri,
            ) from error


def _send(files: Any, content: bytes | str, path: str) -> None:
    if isinstance(content, bytes):
        files.pipe_file(path, content)
    else:
        files.put_file(content, path)


def _send_and_rename(files: Any, content: bytes | str, path: str, hidden: str) -> None:
    """Writes a file under a hidden name into its folder, which is created if it is missing, and renames it."""
    folder = path.rpartition("/")[0]
    unfinished = f"{folder}/{hidden}"
    try:
        try:
            _send(files, content, unfinished)
        except Exception as error:
            if not folder or (isinstance(error, OSError) and error.errno in FACT_NUMBERS):
                raise
            # Also if the folder is there by now: another thread may have created it since.
            try:
                files.makedirs(folder, exist_ok=True)
            except Exception:
                if not files.exists(folder):
                    raise
            _send(files, content, unfinished)
        _move(files, unfinished, path)
    except BaseException:
        with contextlib.suppress(Exception):
            files.rm_file(unfinished)
        raise


def _move(files: Any, path: str, target: str) -> None:
    """Renames a file, in the place of another or where there is none."""
    if files.protocol != "smb":
        files.mv(path, target)
        return
    # fsspec's own mv() refuses to replace a file, where this call replaces it at once.
    import smbclient  # pyright: ignore[reportMissingImports]

    names = (f"\\\\{files.host}{each}".replace("/", "\\") for each in (path, target))
    smbclient.replace(*names, port=files._port)


def _exclusive(pipe_file: Callable[..., Any]) -> dict[str, Any]:
    """How a package is asked to replace nothing; empty if it cannot."""
    parameters = inspect.signature(pipe_file).parameters
    if "mode" in parameters:
        return {"mode": "create"}
    return {"overwrite": False} if "overwrite" in parameters else {}
