"""The files of this machine as objects: lists a folder, a file or a glob, reads files, writes results.

An object's *key* is its path below the source; its result is the key with ``.out`` appended, as Batch Transform names results
below its prefix. A file's version is its modification time, and a result gets the version of its object. Small files
are read and written in groups, by csrc/files.h, because their cost is system calls, not bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .._native.files import FILES_PER_CALL, read_files, stat_files, write_files
from ..errors import ConfigError, InputError
from .atomic import replacing, sync_folder, unreadable, unwritable
from .base import Object, Select, Version

GLOB_SIGNS = "*?["

# Kinds of stat_files().
FILE, FOLDER = 1, 2

# An unfinished file has a hidden name beside the final one, which begins with this.
TEMPORARY_PREFIX = ".fastinfer-"

PIECE_BYTES = 1 << 20


def every_name(_: str) -> bool:
    """Selects every file of a folder."""
    return True


class LocalReader:
    """A file that is being read. Raises InputError if it cannot be opened."""

    def __init__(self, item: Object) -> None:
        self._item = item
        try:
            self._handle = os.open(item.uri, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(item.uri, error) from error

    def __enter__(self) -> LocalReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def read_into(self, view: memoryview, offset: int) -> int:
        try:
            return os.preadv(self._handle, [view], offset)
        except OSError as error:
            raise unreadable(self._item.uri, error) from error

    def check_unchanged(self) -> None:
        try:
            status = os.fstat(self._handle)
        except OSError as error:
            raise unreadable(self._item.uri, error) from error
        if (status.st_size, status.st_mtime_ns) != (self._item.size, self._item.version):
            raise InputError(
                f"changed while it was read: {self._item.size:,} bytes when it was listed, {status.st_size:,} now",
                code="input_changed",
                path=self._item.uri,
                hint="run again when it is complete",
            )


class LocalUpload:
    """A large result that is being written: a temporary file in its final folder, renamed when it is whole."""

    def __init__(self, uri: str, temporary: str, *, durable: bool) -> None:
        self._uri = uri
        self._temporary = f"{os.path.dirname(uri)}/{temporary}"
        self._durable = durable
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            try:
                self._handle = os.open(self._temporary, flags, 0o666)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(uri), exist_ok=True)
                self._handle = os.open(self._temporary, flags, 0o666)
        except OSError as error:
            raise unwritable(uri, error) from error

    def write(self, content: bytes) -> None:
        try:
            written = 0
            while written < len(content):
                written += os.write(self._handle, content[written:] if written else content)
        except OSError as error:
            self.abort()
            raise unwritable(self._uri, error) from error

    def commit(self, version: Version) -> None:
        modified_ns = int(version)
        try:
            os.utime(self._handle, ns=(modified_ns, modified_ns))
            if self._durable:
                os.fsync(self._handle)
            handle, self._handle = self._handle, -1
            os.close(handle)
            # Through the module, so that a test can stop the process exactly here.
            os.replace(self._temporary, self._uri)
        except OSError as error:
            self.abort()
            raise unwritable(self._uri, error) from error
        if self._durable:
            sync_folder(os.path.dirname(self._uri))

    def abort(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = -1
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)


@dataclass(frozen=True)
class LocalStore:
    """The files of this machine.

    Attributes:
        durable: whether a result is written to the disk, not only to the system's memory, before it gets its name.
    """

    durable: bool = False

    def list_objects(self, source: str, select: Select = every_name, enter: Select = every_name) -> Iterator[Object]:
        """The objects that `source` names, in the order of their names: all selected files below a folder, a file, or the
        files that match a glob. Files that are named or match a glob need not be selected.

        Raises:
            InputError: ``input_missing``, ``cannot_read``. A problem with a file in a folder is kept with its object.
        """
        if os.path.isdir(source):
            yield from _walk(source.rstrip("/") or "/", "", (), select, enter)
        elif os.path.lexists(source):
            yield _stat(source, os.path.basename(source))
        elif any(sign in source for sign in GLOB_SIGNS):
            yield from _glob(source)
        else:
            raise InputError("no such file or folder", code="input_missing", path=source)

    def open(self, item: Object) -> LocalReader:
        """Opens a file to read it. Raises InputError (``input_missing``, ``cannot_read``)."""
        return LocalReader(item)

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads at most FILES_PER_CALL small files one after another, as many as fit: (end, errno or 0) of each."""
        return read_files([os.fsencode(item.uri) for item in items], buffer)

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], versions: Sequence[Version]) -> list[int]:
        """Writes small files, each whole or not at all: errno or 0 of each. Missing folders are created.

        Raises:
            OutputError: a folder cannot be created, or cannot be written to the disk.
        """
        errors = self._write(uris, texts, versions)
        if errno.ENOENT in errors:
            missing = [index for index, code in enumerate(errors) if code == errno.ENOENT]
            for folder in {os.path.dirname(uris[index]) for index in missing}:
                try:
                    os.makedirs(folder, exist_ok=True)
                except OSError as error:
                    raise unwritable(folder, error) from error
            again = self._write(
                [uris[index] for index in missing],
                [texts[index] for index in missing],
                [versions[index] for index in missing],
            )
            for index, code in zip(missing, again):
                errors[index] = code
        if self.durable:
            for folder in {os.path.dirname(uri) for uri in uris}:
                sync_folder(folder)
        return errors

    def begin(self, uri: str, word: str | None = None) -> LocalUpload:
        """Begins a large result. Raises OutputError.

        Args:
            uri: its name when it is whole.
            word: distinguishes it from others that are written at the same time; None: process and thread, each of which
                writes one at a time.
        """
        return LocalUpload(uri, f"{TEMPORARY_PREFIX}{word}" if word else _temporary_name(), durable=self.durable)

    def version(self, uri: str) -> Version | None:
        """The version of a file; None if there is none. Raises OutputError."""
        times = self.times(uri)
        return times and times[0]

    def times(self, uri: str) -> tuple[int, int] | None:
        """A file's modification time and inode change time, in nanoseconds; None if there is no file."""
        try:
            status = os.stat(uri)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(uri, error) from error
        return status.st_mtime_ns, status.st_ctime_ns

    def now_ns(self, folder: str) -> int:
        """The current time of the folder's file system. Raises OutputError."""
        path = os.path.join(folder, f"{TEMPORARY_PREFIX}{os.getpid()}-0")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                return os.fstat(handle).st_ctime_ns
            finally:
                os.close(handle)
                os.unlink(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of one of our own results. Raises OutputError."""
        try:
            with open(uri, "rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise unwritable(uri, error) from error

    def append(self, uri: str, content: bytes) -> None:
        """Appends in one call, so that lines of different writers do not mix. Raises OutputError."""
        try:
            handle = os.open(uri, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                while content:
                    content = content[os.write(handle, content) :]
            finally:
                os.close(handle)
        except OSError as error:
            raise unwritable(uri, error) from error

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """The lines of one of our own files; none if it does not exist. Raises OutputError."""
        try:
            with open(uri, "rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(uri, error) from error

    def replace(self, uri: str, content: bytes) -> None:
        """Puts a small file in the place of another, whole or not at all. Raises OutputError."""
        with replacing(Path(uri)) as temporary:
            temporary.write_bytes(content)

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files in a folder; none if it does not exist. Raises OutputError."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry.name
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(folder, error) from error

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """A folder and all folders below it, each with the names of its files."""
        return ((folder, names) for folder, _, names in os.walk(root))

    def remove(self, uri: str, *, may_stay: bool = True) -> None:
        """Removes a file that need not exist.

        Args:
            uri: the file.
            may_stay: whether a file that cannot be removed is left alone; else OutputError is raised.
        """
        try:
            os.unlink(uri)
        except FileNotFoundError:
            return
        except OSError as error:
            if not may_stay:
                raise unwritable(uri, error) from error

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Locks a folder, which is created if it is missing, against other runs on this machine or over NFS.

        The lock is on the folder itself: it leaves no file behind and ends with the process, however that ends.

        Raises:
            ConfigError: ``output_in_use``.
            OutputError: the folder cannot be created or opened.
        """
        try:
            os.makedirs(folder, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(folder, error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    "another run is writing to this folder",
                    code="output_in_use",
                    path=folder,
                    hint="wait until it ends, or name another folder",
                ) from error
            yield
        finally:
            os.close(handle)

    def _write(self, uris: Sequence[str], texts: Sequence[bytes], versions: Sequence[Version]) -> list[int]:
        temporary = os.fsencode(_temporary_name())
        errors: list[int] = []
        times_ns = cast("list[int]", versions)  # of files
        for first in range(0, len(uris), FILES_PER_CALL):
            group = slice(first, first + FILES_PER_CALL)
            paths = [os.fsencode(uri) for uri in uris[group]]
            errors += write_files(paths, list(texts[group]), times_ns[group], temporary, self.durable)
        return errors


def _temporary_name() -> str:
    """A name that no other writer uses at this time."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}"


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], select: Select, enter: Select
) -> Iterator[Object]:
    try:
        status = os.stat(folder)
        # Only names, not entries: up to a million are held in memory to be sorted.
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield _unusable(folder, prefix, unreadable(folder, error))
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        message = "a symbolic link leads back to a folder above it"
        yield _unusable(folder, prefix, InputError(message, code="link_loop", path=folder))
        return
    encoded = os.fsencode(f"{folder}/")
    for first in range(0, len(names), FILES_PER_CALL):
        group = names[first : first + FILES_PER_CALL]
        facts = stat_files(encoded, [os.fsencode(name) for name in group])
        for name, (kind, size, modified_ns, code) in zip(group, facts):
            path = f"{folder}/{name}"
            if kind == FOLDER:
                if enter(name):
                    yield from _walk(path, f"{prefix}{name}/", (*above, here), select, enter)
            elif select(name):
                if code:
                    yield _unusable(path, prefix + name, unreadable(path, OSError(code, os.strerror(code))))
                elif kind != FILE:
                    yield _unusable(path, prefix + name, _not_regular(path))
                else:
                    yield Object(path, prefix + name, size, modified_ns)


def _unusable(path: str, key: str, problem: InputError) -> Object:
    return Object(path, key.rstrip("/"), 0, 0, problem)


def _glob(pattern: str) -> Iterator[Object]:
    """The files that match; their keys are relative to the folder in which the pattern's first sign is."""
    first_sign = min(pattern.index(sign) for sign in GLOB_SIGNS if sign in pattern)
    base = pattern[: pattern.rfind("/", 0, first_sign) + 1]
    paths = sorted({path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)})
    if not paths:
        raise InputError("no file matches", code="input_missing", path=pattern)
    for path in paths:
        key = path[len(base) :]
        if ".." in key.split("/"):
            raise InputError(
                "a pattern may not contain .. after its first *, ? or [: results would be outside of their folder",
                path=pattern,
            )
        try:
            yield _stat(path, key)
        except InputError as error:
            yield _unusable(path, key, error)


def _stat(path: str, key: str) -> Object:
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    return Object(path, key, status.st_size, status.st_mtime_ns)


def _not_regular(path: str) -> InputError:
    # Opening a pipe would wait for its writer; a device may never end.
    return InputError("is not a regular file", code="cannot_read", path=path)
