"""Files that are whole or do not exist: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, InputError, OutputError

# Unfinished files have hidden names, which no pattern of finished files matches. Those of runs have the run's id behind the
# prefix; those of :func:`replacing` have the suffix.
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".fastinfer-", ".tmp"
# The errors of a name that a result cannot have: it is too long, or that of a folder or of another result.
NAME_ERRORS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}


def create_folders(folder: str, *, durable: bool = False, below: str | None = None) -> None:
    """Creates a folder and those above it where they are missing. Raises OSError.

    Args:
        folder: its path.
        durable: whether the names of new folders are on the disk when this returns.
        below: a folder that is not created, nor any above it; None: all may be.
    """
    missing = []
    while folder and not os.path.isdir(folder):
        if folder == below:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        missing.append(folder)
        folder = os.path.dirname(folder)
    # Not by recursion, as os.makedirs does: they may be nested deeper than Python's calls.
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):  # not made by another worker meanwhile
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        if durable:
            sync_folder(os.path.dirname(path))


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents where they are missing, and checks that it can be written.

    Raises:
        OutputError: ``cannot_write``.
    """
    try:
        create_folders(str(folder))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(f"the folder cannot be written: {error.strerror}", path=str(folder)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write; on a clean exit that file takes the name `path`, else it is removed.

    The temporary name is beside `path`, hidden, and nobody else's: of two writers at a time the last gives its whole file the
    name. What a killed writer leaves behind is removed by :func:`remove_leftovers`.

    Raises:
        OutputError: ``cannot_write``, for any OSError while writing or renaming.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        # Through the module, so that a test can stop the process exactly here.
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise unwritable(str(path), error) from error
        raise


@contextlib.contextmanager
def replacing_long(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a file that takes long to write: what killed writers left of it is removed first.

    Raises:
        OutputError: as :func:`replacing`.
    """
    import hashlib  # late: no run needs it

    prefix = f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"
    temporary = path.with_name(f"{prefix}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    try:
        for name in os.listdir(path.parent):
            if name.startswith(prefix):
                _remove_unlocked(path.with_name(name))
        with open(temporary, "xb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX)  # ends with the process, however that ends
                yield temporary
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
    except OSError as error:
        raise unwritable(str(path), error) from error


def _remove_unlocked(path: Path) -> None:
    """Removes a file unless somebody has locked it."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


@contextlib.contextmanager
def locking(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other programs that lock `folder` out of it.

    The lock is on the folder itself: it leaves no file behind and ends with the process, however that ends.

    Raises:
        ConfigError: ``output_in_use``.
        OutputError: ``cannot_write``.
    """
    path = os.fspath(folder)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                "another program is writing to this folder",
                code="output_in_use",
                path=path,
                hint="wait until it ends, or name another folder",
            ) from error
        except OSError as error:
            raise OutputError(f"cannot be locked: {error.strerror}", path=path) from error
        yield
    finally:
        with contextlib.suppress(OSError):  # it is closed all the same
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files of killed writers from `folder`. Call it only with the folder's lock."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()


def sync_folder(folder: str) -> None:
    """Writes a folder's names to the disk (fsync). Raises OutputError."""
    try:
        handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(path: str, error: OSError) -> OutputError:
    """The error for a path that cannot be written."""
    if isinstance(error, OutputError):
        return error  # it names the path already
    return OutputError(f"cannot be written: {error.strerror or error}", path=path)


def unreadable(path: str, error: OSError) -> InputError:
    """The error for a file that cannot be read, or (ESTALE) is not the one that was listed any more."""
    if error.errno == errno.ESTALE:
        return InputError("changed after it was listed", code="input_changed", path=path)
    code = "input_missing" if isinstance(error, FileNotFoundError) else "cannot_read"
    return InputError(f"cannot be read: {error.strerror or error}", code=code, path=path)


def unreadable_result(path: str, error: OSError) -> OutputError:
    """The error for a file or folder of results that cannot be read."""
    return OutputError(f"cannot be read: {error.strerror or error}", path=path)
