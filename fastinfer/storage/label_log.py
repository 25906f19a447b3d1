"""Labels of results where they cannot be kept with the results: a log of each writer, merged by the next run.

An entry is written before its result gets its name, and after the result of that name that may have stood there was removed:
a result that has its name and an entry is therefore the one of the entry.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, NamedTuple

from ..errors import OutputError
from . import journal
from .base import RunStore

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
        store: where the folder is; it writes the log, without labels.
        root: the folder.
        merged: the file of all entries of earlier runs.
        prefix: what the names of the writers' files in the folder begin with.

    Attributes:
        is_used: whether a label could not be kept with its result, as far as this process knows.
    """

    def __init__(self, store: RunStore, root: str, merged: str, prefix: str) -> None:
        self.is_used = False
        self._store = store
        self._root = root
        self._above = os.path.join(root, "")
        self._merged = f"{self._above}{merged}"
        self._prefix = prefix
        self._entries: dict[str, _Entry] | None = None  # not read yet

    def __getstate__(self) -> dict[str, object]:
        # A worker mostly adds entries.
        return {**self.__dict__, "_entries": None}

    def remove(self, uri: str) -> int:
        """Removes the result of that name, before :meth:`add`: 0, also if there is none, or an errno. Raises ServiceError."""
        self.is_used = True
        try:
            self._store.remove(uri, may_stay=False)
        except OutputError as error:
            return getattr(error.__cause__, "errno", None) or errno.EIO
        return 0

    def add(self, writer: str, entries: Iterable[tuple[str, int, bytes]]) -> None:
        """Adds entries, each the name, size and label of a result, before the results get their names. Raises OutputError."""
        self.is_used = True
        lines = (ENTRY.format(self._name(uri), size, label.hex()).encode() for uri, size, label in entries)
        self._store.append(f"{self._above}{self._prefix}{writer}", lines)

    def find(self, uri: str, size: int | None = None) -> bytes | None:
        """The label of a result of this size (None: of any), if there is an entry of an earlier run; see :meth:`merge`."""
        if self._entries is None:
            self._read(self._journals())
        assert self._entries is not None
        entry = self._entries.get(self._name(uri))
        return entry.label if entry is not None and size in (None, entry.size) else None

    def merge(self, *, read_only: bool = False) -> None:
        """Reads all entries, and merges the writers' files. Call only when nobody writes. Raises OutputError.

        Args:
            read_only: whether the files stay as they are.
        """
        journals = self._journals()
        entries = self._read(journals)
        if not journals or read_only:
            return
        lines = (ENTRY.format(name, size, label.hex()) for name, (size, label) in entries.items())
        self._store.replace(self._merged, (journal.frame(line.encode()) for line in lines))
        list(_answered(lambda uri: self._store.remove(uri, may_stay=False), journals))

    def _journals(self) -> list[str]:
        names = self._store.hidden_names(self._root)
        return [f"{self._above}{name}" for name in names if name.startswith(self._prefix)]

    def _read(self, journals: Sequence[str]) -> dict[str, _Entry]:
        self._entries = entries = {}
        merged = self._store.read_entries(self._merged, MOST_ENTRY_BYTES)
        later = _answered(lambda uri: list(self._store.read_entries(uri, MOST_ENTRY_BYTES)), journals)
        for line in itertools.chain(merged, itertools.chain.from_iterable(later)):
            match = _ENTRY.fullmatch(line)
            if match is not None:
                name, size, label = (part.decode() for part in match.groups())
                entries[name] = _Entry(int(size, 16), bytes.fromhex(label))
        return entries

    def _name(self, uri: str) -> str:
        # Short: there may be millions.
        import hashlib  # late: most file systems have attributes

        return hashlib.sha256(os.fsencode(uri[len(self._above) :])).hexdigest()[:32]


def _answered(request: Callable[[str], Any], uris: Sequence[str]) -> Iterator[Any]:
    if uris:
        from .crew import answered  # late: where labels are attributes there is nothing to ask for

        yield from answered(request, uris)
