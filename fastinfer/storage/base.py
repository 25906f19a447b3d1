"""The contract of a store: objects are listed and read, results are written whole or not at all.

A run reads its inputs through a source and writes its results through a store only. Either is picklable, holds no
open file between calls, and may be used by several threads at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Callable, NamedTuple, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from .claim import Claim

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

    def expect(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Says which blocks, (offset, bytes), will be read next, in order; a store far away reads some of them ahead."""
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


class Source(Protocol):
    """Where objects are read from. Raises InputError, ServiceError."""

    @property
    def ahead_bytes(self) -> int:
        """How much is read ahead for each worker, at most."""
        ...

    def list_objects(self, source: str, select: Select, enter: Select) -> Iterator[Object]:
        """The objects that `source` names, in the order of their keys; in a folder those whose key is selected."""
        ...

    def exists(self, uri: str) -> bool: ...

    def examine(self, uris: Sequence[str], keys: Sequence[str]) -> Iterator[Object]:
        """The objects of these names, in this order; what is wrong with one is kept as its problem."""
        ...

    def open(self, item: Object) -> AbstractContextManager[Reader]: ...

    def read_ahead(self, items: Sequence[Object]) -> AbstractContextManager[GroupReader]:
        """Small objects that will be read in this order; a store far away reads some of them ahead."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files in a folder; none if it does not exist."""
        ...

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """The folders below a folder, and itself, with names of their files; a folder may come several times."""
        ...

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of a file."""
        ...

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of a small file; None if it does not exist."""
        ...


class Store(Source, Protocol):
    """Where objects and results are kept. Reading raises InputError, writing OutputError."""

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> Writing:
        """Writes small results, each whole or not at all, with the labels that are kept with them."""
        ...

    @property
    def groups_under_way(self) -> int:
        """How many groups of results a worker hands over before it waits for the first: 0 where waiting gains nothing."""
        ...

    def begin(self, uri: str, word: str | None = None, label: bytes | None = None) -> Upload:
        """Begins a large result.

        Args:
            uri: its name when it is whole.
            word: distinguishes it from others that are written at the same time; None: the writer, which writes one at a time.
            label: the label that it will probably get; some stores keep it from the beginning.
        """
        ...

    def label(self, uri: str) -> bytes | None:
        """The label of the result with this name; None if there is no result, or not as it was written."""
        ...


class GroupReader(Protocol):
    """Reads small objects in groups."""

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads whole objects one after another into `buffer`, as many as fit: (end, errno or 0) of each; ESTALE for an
        object that has changed."""
        ...


class Writing(Protocol):
    """Small results that are being written."""

    def wait(self) -> list[int]:
        """Waits until all are written, or have failed: errno or 0 of each. Raises OutputError, ServiceError."""
        ...


class RunStore(Store, Protocol):
    """A store for results: what a run keeps beside them as well."""

    @property
    def lists_trees(self) -> bool:
        """Whether :meth:`walk` costs no more than listing the folders one by one."""
        ...

    def for_run(self, root: str, prefix: str, labels: str, label_journal: str) -> RunStore:
        """The same store for one run.

        Args:
            root: the folder of its results.
            prefix: what the names of its hidden files begin with.
            labels, label_journal: the file of labels, and what the names of its journals begin with; for a store that cannot
                keep labels with the results themselves.
        """
        ...

    @property
    def takes_any_key(self) -> bool:
        """Whether every key that S3 allows, such as ``a//b`` and ``a/../b``, names a result of its own."""
        ...

    def for_new_results(self, *, is_first: bool) -> RunStore:
        """The same store, which refuses to replace a result that is not of this run.

        Args:
            is_first: whether the folder has no record of a run yet.
        """
        ...

    def claimed(self, claim: Claim, *, is_outlived: bool) -> RunStore:
        """The same store for the writers of one start of a run: where it can, they look at the folder immediately before
        anything gets its name there, and neither create the folder itself nor write once it is not the run's any more.

        Args:
            claim: of the start.
            is_outlived: whether writers may outlive the run that holds the lock.
        """
        ...

    def lock(self, folder: str) -> AbstractContextManager[None]:
        """Locks a folder, which is created if it is missing, against other runs, where the store can.

        Raises ConfigError (``output_in_use``).
        """
        ...

    def begin_labels(self, record: str, *, read_only: bool = False) -> None:
        """Makes the labels of earlier runs known; `record` is a file of the run that exists."""
        ...

    def settle_labels(self) -> None:
        """Joins what the writers wrote by themselves, when none is running."""
        ...

    def expect_labels(self, uris: Sequence[str]) -> None:
        """Says whose labels will be asked for next; a store far away gets them ahead."""
        ...

    @property
    def labels_ahead(self) -> int:
        """How many labels should be expected at a time; 0: none."""
        ...

    def hidden_names(self, folder: str) -> list[str]:
        """The names of runs' hidden files in a folder, sorted; none if it does not exist."""
        ...

    def read_lines(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The lines of one of our own files, with their ends, without those that are longer; none if it does not exist."""
        ...

    def read_entries(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The whole entries of a journal, without those that are longer."""
        ...

    def append(self, uri: str, entries: Iterable[bytes]) -> None:
        """Appends entries to the journal of one writer, whose name begins with `uri`."""
        ...

    def replace(self, uri: str, pieces: Iterable[bytes], *, is_new: bool = False) -> None:
        """Puts a file in the place of another, whole or not at all, while the folder is locked.

        Args:
            uri: its name.
            pieces: its bytes.
            is_new: whether there was none when the folder was looked at. A store without locks then refuses to replace one:
                ConfigError (``output_in_use``).
        """
        ...

    def remove(self, uri: str, *, may_stay: bool = True) -> None:
        """Removes a file that need not exist; one that cannot be removed is left alone, or is an error."""
        ...

    def remove_uploads(self, root: str, is_ours: Select) -> None:
        """Removes what killed runs uploaded below a folder without giving it a name, where that has no hidden name either."""
        ...

    def scratch_folder(self, root: str) -> str:
        """A folder of this machine for what is sorted outside of memory."""
        ...
