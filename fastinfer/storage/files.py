"""Local files with the methods of :class:`~fastinfer.storage.s3.S3Store`: listed, read, copied, written whole or not at all.

Unlike the inputs of a run, a folder's objects are all of its files, whatever their names.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .atomic import make_folder, replacing, unreadable
from .base import Object
from .local import LocalStore
from .regular import open_regular, read_regular

COPY_BYTES = 1 << 20


class FileStore:
    """The files of this machine; their URIs are paths."""

    def list_objects(self, uri: str) -> Iterator[Object]:
        """The one file of that path, or the files below that folder in the order of their keys.

        Hidden files, and files in hidden folders, are left out; links are followed.

        Raises:
            InputError: ``no_such_place``.
        """
        if not os.path.exists(uri):
            raise InputError("no such file or folder", code="no_such_place", path=uri)
        if not os.path.isdir(uri):
            return LocalStore().list_objects(uri)
        # As S3 lists keys: by the whole of them.
        return iter(sorted(LocalStore().list_objects(uri, _is_shown, _is_shown), key=lambda item: item.key))

    def read(self, uri: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
        """
        try:
            return read_regular(uri, sys.maxsize - 1)
        except OSError as error:
            raise _unreadable(uri, error) from error

    def fetch(self, uri: str, target: Path) -> None:
        """Copies a file to the file `target`, whole or not at all.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
            OutputError: ``cannot_write``.
        """
        make_folder(target.parent)
        try:
            source = open_regular(uri)
        except OSError as error:
            raise _unreadable(uri, error) from error
        with source, replacing(target) as temporary, open(temporary, "wb") as copy:
            shutil.copyfileobj(source, copy, COPY_BYTES)

    def put(self, source: Path | bytes, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> None:
        """Writes a file's bytes, or the given ones, as one file; missing folders are created.

        Args:
            source: a file, or the bytes themselves.
            uri: the file's path.
            kms_key, encrypt: for S3; ignored here.

        Raises:
            OutputError: ``cannot_write``.
        """
        del kms_key, encrypt
        path = Path(uri)
        make_folder(path.parent)
        with replacing(path) as temporary:
            if isinstance(source, bytes):
                temporary.write_bytes(source)
            else:
                with open_regular(source) as content, open(temporary, "wb") as copy:
                    shutil.copyfileobj(content, copy, COPY_BYTES)


def _is_shown(key: str) -> bool:
    return not key.rpartition("/")[2].startswith(".")


def _unreadable(uri: str, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("no such file", code="no_such_place", path=uri)
    return unreadable(uri, error)
