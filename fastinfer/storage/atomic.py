"""Files that are whole or do not exist: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, OutputError


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents where they are missing.

    Raises:
        OutputError: ``cannot_write``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise OutputError(f"the folder cannot be written: {error.strerror}", path=str(folder)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write; on a clean exit that file takes the name `path`, else it is removed.

    The temporary name is `path`'s between a dot and `.tmp`: no pattern of finished files matches it, and the
    next writer of `path` overwrites what a killed one left behind.

    Raises:
        OutputError: ``cannot_write``, for any OSError while writing or renaming.
    """
    temporary = path.with_name(f".{path.name}.tmp")
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
    return InputError(f"cannot be read: {error.strerror}", code=code, path=path)
