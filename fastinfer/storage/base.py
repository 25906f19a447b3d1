"""The contract of a store: objects are listed and read, results are written whole or not at all.

A run reads its inputs and writes its results through a store only. A :class:`Store` is picklable, holds no open file between
calls, and may be used by several threads at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Callable, NamedTuple, Protocol

from ..errors import InputError

# Changes whenever an object's bytes change; empty if it is not known. What is in it is the store's own matter.
Version = bytes
# Which keys a listing includes.
Select = Callable[[str], bool]


class Object(NamedTuple):
    """Bytes with a name.

    Attributes:
        uri: where it is: a path, or ``s3://bucket/key``.
        key: its name below the source, with ``/`` between folders; its result is named after it.
        size: its size in bytes when it was listed.
        version: its version when it was listed; what is read is of this version, or an error.
        problem: why it cannot be read, if the listing found a reason; raised when the object is read.
    """

    uri: str
    key: str
    size: int
    version: Version
    problem: InputError | None = None


class Reader(Protocol):
    """An object that is being read; a context manager."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads bytes from `offset` into `view`; returns how many, at least one unless the object ends there."""
        ...

    def check_unchanged(self) -> None:
        """Raises InputError (``input_changed``) if the object changed after it was listed."""
        ...


class Upload(Protocol):
    """A large result that is being written; it has no name before :meth:`commit`."""

    def write(self, content: bytes) -> None: ...

    def commit(self, label: bytes) -> None:
        """Gives the result its name, and keeps the label with it."""
        ...

    def abort(self) -> None:
        """Removes what was written."""
        ...


class Store(Protocol):
    """Where objects and results are kept. Reading raises InputError, writing OutputError."""

    def list_objects(self, source: str, select: Select, enter: Select) -> Iterator[Object]:
        """The objects that `source` names, in the order of their keys; in a folder those whose key is selected."""
        ...

    def open(self, item: Object) -> AbstractContextManager[Reader]: ...

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads whole small objects one after another into `buffer`, as many as fit: (end, errno or 0) of each; ESTALE for an
        object that has changed."""
        ...

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> list[int]:
        """Writes small results, each whole or not at all, with the labels that are kept with them: errno or 0 of each."""
        ...

    def begin(self, uri: str) -> Upload: ...

    def label(self, uri: str) -> bytes | None:
        """The label of the result with this name; None if there is no result, or not as it was written."""
        ...
