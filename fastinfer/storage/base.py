"""The contract of a store: objects are listed and read, results are written whole or not at all.

Nothing outside this folder opens a file of the user's data or of its results: the engine takes objects and a store. A
:class:`Store` is picklable, holds no open file between calls, and may be used by several threads at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Callable, NamedTuple, Protocol, Union

from ..errors import InputError

# What changes whenever an object's bytes do: a file's time of last change in nanoseconds; an ETag.
Version = Union[int, str]
# Which names a listing gives.
Select = Callable[[str], bool]


class Object(NamedTuple):
    """Bytes with a name.

    Attributes:
        uri: where it is: a path, or ``s3://bucket/key``.
        key: its name below the source, with ``/`` between folders; its result is named by it.
        size: bytes, when it was listed.
        version: its version, when it was listed.
        problem: why it cannot be read, found when it was listed; raised when it is its turn.
    """

    uri: str
    key: str
    size: int
    version: Version
    problem: InputError | None = None


class Reader(Protocol):
    """An object that is being read; a context manager."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads bytes from `offset` on into `view`; returns how many, fewer than asked for only at the end."""
        ...

    def check_unchanged(self) -> None:
        """Raises InputError (``input_changed``) where the object is no longer what was listed."""
        ...


class Upload(Protocol):
    """A large result that is being written; nothing bears its name before :meth:`commit`."""

    def write(self, content: bytes) -> None: ...

    def commit(self, version: Version) -> None:
        """Gives the result its name, and the version of the object that it is of."""
        ...

    def abort(self) -> None:
        """Leaves no trace."""
        ...


class Store(Protocol):
    """Where objects lie. Reading raises InputError, writing OutputError."""

    def list_objects(self, source: str, select: Select) -> Iterator[Object]:
        """The objects that `source` names, in the order of their keys; of a folder those whose name is selected."""
        ...

    def open(self, item: Object) -> AbstractContextManager[Reader]: ...

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads whole small objects one behind another into `buffer`: (end, errno or 0) of each, of as many as fit."""
        ...

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], versions: Sequence[Version]) -> list[int]:
        """Writes small results, each whole or not at all, with the versions of their objects: an errno or 0 of each."""
        ...

    def begin(self, uri: str) -> Upload: ...

    def version(self, uri: str) -> Version | None:
        """The version of what is there now; None where nothing is."""
        ...
