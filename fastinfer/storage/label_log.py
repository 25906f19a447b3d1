"""Labels of results on file systems without extended attributes: a log of each writer, merged by the next run.

An entry is written before its result gets its name, and after the result of that name that may have stood there was removed:
a result that has its name and an entry is therefore the one of the entry.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from typing import NamedTuple

from . import exclusive, journal
from .atomic import unreadable_result, unwritable

ENTRY = "{} {:x} {}"
# No entry is longer.
MOST_ENTRY_BYTES = 1 << 10
_ENTRY = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]{1,16}) ((?:[0-9a-f]{2})*)")


class _Entry(NamedTuple):
    size: int
    label: bytes


class LabelLog:
    """The log of one folder of results.

    Args:
        root: the folder.
        merged: the file of all entries of earlier runs.
        prefix: what the names of the writers' files in the folder begin with.

    Attributes:
        is_used: whether a label could not be an attribute, as far as this process knows.
    """

    def __init__(self, root: str, merged: str, prefix: str) -> None:
        self.is_used = False
        self._root = root
        self._merged = merged
        self._prefix = prefix
        self._entries: dict[str, _Entry] = {}

    def __getstate__(self) -> dict[str, object]:
        # A worker only adds entries.
        return {**self.__dict__, "_entries": {}}

    def remove(self, uri: str) -> int:
        """Removes the result of that name, before :meth:`add`: 0, also if there is none, or an errno."""
        self.is_used = True
        try:
            os.unlink(uri)
        except FileNotFoundError:
            pass
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def add(self, writer: str, uri: str, size: int, label: bytes, *, durable: bool) -> None:
        """Adds an entry, before the result gets its name. Raises OutputError."""
        entry = ENTRY.format(self._name(uri), size, label.hex()).encode()
        journal.append(os.path.join(self._root, self._prefix + writer), [entry], durable=durable)

    def find(self, uri: str, size: int) -> bytes | None:
        """The label of a result of this size, if there is an entry of an earlier run; see :meth:`merge`."""
        entry = self._entries.get(self._name(uri))
        return entry.label if entry is not None and entry.size == size else None

    def merge(self, *, read_only: bool = False, durable: bool = False) -> None:
        """Reads all entries, and merges the writers' files. Call only when nobody writes. Raises OutputError.

        Args:
            read_only: whether the files stay as they are.
            durable: whether the merged file is on the disk when the others go.
        """
        try:
            names = sorted(name for name in os.listdir(self._root) if name.startswith(self._prefix))
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise unreadable_result(self._root, error) from error
        merged = os.path.join(self._root, self._merged)
        journals = [os.path.join(self._root, name) for name in names]
        self._entries = {}
        for path in (merged, *journals):
            for match in filter(None, map(_ENTRY.fullmatch, journal.read(path, MOST_ENTRY_BYTES))):
                name, size, label = (part.decode() for part in match.groups())
                self._entries[name] = _Entry(int(size, 16), bytes.fromhex(label))
        if not journals or read_only:
            return
        entries = (ENTRY.format(name, size, label.hex()) for name, (size, label) in self._entries.items())
        exclusive.replace(merged, (journal.frame(entry.encode()) for entry in entries), durable=durable)
        try:
            for path in journals:
                os.unlink(path)
        except OSError as error:
            raise unwritable(self._root, error) from error

    def _name(self, uri: str) -> str:
        # Short: there may be millions.
        return hashlib.sha256(os.fsencode(os.path.relpath(uri, self._root))).hexdigest()[:32]
