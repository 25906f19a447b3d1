"""Files that only the holder of their folder's lock writes: whole, or as they were before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from ..errors import OutputError
from .atomic import sync_folder, unwritable


def temporary_name(name: str) -> str:
    """The name under which such a file is written. It is always the same: the next holder of the lock removes it."""
    return f".{name}.tmp"


def replace(path: str, pieces: Iterable[bytes], *, durable: bool = False) -> None:
    """Gives a file new content; the caller holds the lock of its folder.

    Raises:
        OutputError: ``cannot_write``; the file is as it was.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, temporary_name(name))
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # left by a killed holder, or put there by somebody else
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise unwritable(path, error) from error
        raise
    if durable:
        sync_folder(folder)
