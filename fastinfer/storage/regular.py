"""Regular files only: opening a pipe would wait for its writer, a device may never end."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import Union

PathLike = Union[str, "os.PathLike[str]"]


def open_regular(path: PathLike) -> io.FileIO:
    """Opens a regular file to read it, unbuffered; never waits for another process. Raises OSError."""
    # Without the flag, opening a pipe waits until somebody writes to it; for a regular file it has no effect.
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: PathLike, most_bytes: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file, or (EFBIG) has more than ``most_bytes`` bytes.
    """
    content = io.BytesIO()  # gives its memory away in the end; joining pieces would hold them twice
    with open_regular(path) as file:
        # Read on until nothing comes: a read may give less than was asked for, and a size may be out of date.
        while piece := file.read(min(1 << 20, most_bytes + 1 - content.tell())):
            content.write(piece)
            if content.tell() > most_bytes:
                raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", os.fspath(path))
    return content.getvalue()
