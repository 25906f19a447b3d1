"""A folder of results at a URL of fsspec's: each is put whole; labels are in a log, as on a disk without attributes.

No package has a lock, or a condition on what is replaced: two runs in one folder are not kept apart, unless they begin in the
same moment and the package can put an object where there is none.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, FastinferError, InputError, OutputError
from . import exclusive, filesystem_writing, journal
from .atomic import NAME_ERRORS, TEMPORARY_PREFIX, unreadable_result, unwritable
from .base import Select
from .claim import Claim
from .crew import GROUPS_UNDER_WAY, LABELS_AHEAD, Gathering, Puts, answered, the_crew
from .filesystem import FilesystemSource
from .filesystem_requests import find
from .filesystem_writing import FilesystemUpload
from .label_log import LabelLog
from .writer import writer_name

_numbers = itertools.count()


class _Shared:
    """What the copies of a store have in common in one process."""

    def __init__(self) -> None:
        self.labels: Gathering | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Shared, ())


@dataclass(frozen=True)
class FilesystemStore(FilesystemSource):
    """What some of fsspec's file systems have, to be read and written.

    Attributes:
        prefix: what hidden names begin with, where a file is renamed when it is whole.
        log: the labels of results; None: none are written.
        is_first: whether no result of an earlier run can be in the folder, so that none is removed before its name is given.
    """

    prefix: str = f"{TEMPORARY_PREFIX}{'0' * 16}-"
    log: LabelLog | None = None
    is_first: bool = False
    _shared: _Shared = field(default_factory=_Shared, repr=False)

    lists_trees = False  # fsspec lists folders one by one
    labels_ahead = LABELS_AHEAD
    groups_under_way = GROUPS_UNDER_WAY
    takes_any_key = False

    def for_run(self, root: str, prefix: str, labels: str, label_journal: str) -> FilesystemStore:
        """The same store with the names of one run; see :class:`~fastinfer.storage.base.RunStore`."""
        log = LabelLog(FilesystemStore(prefix=prefix), root, labels, label_journal)
        return dataclasses.replace(self, prefix=prefix, log=log)

    def for_new_results(self, *, is_first: bool) -> FilesystemStore:
        """The same store; what stands in the place of a result is looked at before the run."""
        return dataclasses.replace(self, is_first=is_first)

    def claimed(self, claim: Claim, *, is_outlived: bool) -> FilesystemStore:  # noqa: ARG002
        """Itself: who writes looks before a group of results."""
        return self

    @contextmanager
    def lock(self, folder: str) -> Iterator[None]:  # noqa: ARG002
        """Nothing: there are no locks. :meth:`replace` sees another run that begins in the same moment."""
        yield

    # Results

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> Puts:
        """Begins to write small results; their labels are written first. Raises OutputError, ServiceError."""
        if self.log is not None:
            gone = [0] * len(uris) if self.is_first else list(answered(self.log.remove, uris))
            entries = zip(uris, map(len, texts), labels)
            self.log.add(writer_name(), (entry for entry, code in zip(entries, gone) if not code))
        else:
            gone = [0] * len(uris)
        return Puts(lambda index: gone[index] or self._put(uris[index], texts[index]), len(uris))

    def begin(self, uri: str, word: str | None = None, label: bytes | None = None) -> FilesystemUpload:  # noqa: ARG002
        """Begins a large result."""

        def prepare(size: int, label: bytes) -> None:
            if self.log is not None:
                code = 0 if self.is_first else self.log.remove(uri)
                if code:
                    raise OSError(code, "what stands there cannot be removed")
                self.log.add(writer_name(), [(uri, size, label)])

        return FilesystemUpload(uri, self._hidden(), prepare)

    def label(self, uri: str) -> bytes | None:
        """The label of a result that has the size with which it was written; else None. Raises OutputError, ServiceError."""
        expected = self._shared.labels
        try:
            label: bytes | None = expected.take(uri) if expected is not None and expected.has(uri) else self._label(uri)
        except OSError as error:
            raise unreadable_result(uri, error) from error
        return label

    def expect_labels(self, uris: Sequence[str]) -> None:
        """Begins to look at results whose labels will be asked for."""
        self._shared.labels = Gathering(the_crew(), self._label)
        self._shared.labels.begin([uri for uri in uris if self.log is not None and self.log.find(uri) is not None])

    def begin_labels(self, record: str, *, read_only: bool = False) -> None:  # noqa: ARG002
        """Reads earlier runs' labels. Raises OutputError, ServiceError."""
        if self.log is not None:
            self.log.merge(read_only=read_only)

    def settle_labels(self) -> None:
        """Merges the writers' labels, when none is running. Raises OutputError, ServiceError."""
        if self.log is not None:
            self.log.merge()

    # Files of the run; errors in reading them are OutputErrors

    def exists(self, uri: str) -> bool:
        """Whether there is an object of this name."""
        with _of_results(uri):
            return super().exists(uri)

    def names(self, folder: str) -> Iterator[str]:
        """The names of the objects in a folder."""
        with _of_results(folder):
            yield from super().names(folder)

    def hidden_names(self, folder: str) -> list[str]:
        """The names of runs' hidden objects in a folder, sorted."""
        return sorted(name for name in self.names(folder) if name.startswith(TEMPORARY_PREFIX))

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """The folders below a folder, and itself, with the names of their objects."""
        with _of_results(root):
            yield from super().walk(root)

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of one of our own results."""
        with _of_results(uri):
            yield from super().read_pieces(uri)

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of one of our own small objects; None if there is none."""
        with _of_results(uri):
            return super().read_small(uri, most_bytes)

    def read_lines(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The lines of one of our own objects; none if it does not exist."""
        if self.exists(uri):
            yield from journal.lines_of(_Pieces(self.read_pieces(uri)), most_bytes)

    def read_entries(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The entries of a journal."""
        yield from journal.entries_of(self.read_lines(uri, journal.most_line_bytes(most_bytes)))

    def append(self, uri: str, entries: Iterable[bytes]) -> None:
        """Writes entries as one more object of a journal. Raises OutputError, ServiceError."""
        content = b"".join(map(journal.frame, entries))
        if content:
            self._write(f"{uri}.{next(_numbers)}", content)

    def replace(self, uri: str, pieces: Iterable[bytes], *, is_new: bool = False) -> None:
        """Puts an object in the place of another, whole or not at all.

        Args:
            uri: its name.
            pieces: its bytes.
            is_new: whether it is an error if there is one by now, as far as the package can tell.

        Raises:
            ConfigError: ``output_in_use``.
            OutputError, ServiceError: it cannot be written.
        """
        if is_new:
            self._create(uri, b"".join(pieces))
            return
        upload = FilesystemUpload(uri, self._unfinished(uri), lambda *_: None)
        try:
            for piece in pieces:
                upload.write(piece)
            upload.commit(None)
        except BaseException:
            upload.abort()
            raise

    def remove(self, uri: str, *, may_stay: bool = True) -> None:
        """Removes an object that need not exist."""
        try:
            filesystem_writing.remove(uri)
        except (OSError, FastinferError) as error:
            if not may_stay:
                raise (error if isinstance(error, FastinferError) else unwritable(uri, error)) from error

    def remove_uploads(self, root: str, is_ours: Select) -> None:
        """Packages do not list unfinished uploads; the services drop them in time."""

    def scratch_folder(self, root: str) -> str:  # noqa: ARG002
        """The system's folder of temporary files."""
        return tempfile.gettempdir()

    def _create(self, uri: str, content: bytes) -> None:
        try:
            filesystem_writing.create(uri, content, self._unfinished(uri))
        except FileExistsError as error:
            raise ConfigError(
                "another run began in this folder in the same moment",
                code="output_in_use",
                path=uri,
                hint="wait until it ends, or name another folder",
            ) from error
        except OSError as error:
            raise unwritable(uri, error) from error

    def _hidden(self) -> str:
        """A name that no other writer has."""
        return f"{self.prefix}{writer_name()}-{next(_numbers)}"

    def _unfinished(self, uri: str) -> str:
        """A name that no other writer has. The next run knows it even if this one could not leave its id."""
        if self.log is None:
            return self._hidden()
        # Without a lock two runs may write the same file: neither may give its name to what the other has half written.
        return f"{exclusive.temporary_name(uri.rpartition('/')[2])}-{writer_name()}-{next(_numbers)}"

    def _put(self, uri: str, text: bytes) -> int:
        try:
            self._write(uri, text)
        except OutputError as error:
            code = getattr(error.__cause__, "errno", None)
            if code in NAME_ERRORS:
                return int(code)
            raise
        return 0

    def _write(self, uri: str, content: bytes) -> None:
        try:
            filesystem_writing.put(uri, content, len(content), self._hidden())
        except OSError as error:
            raise unwritable(uri, error) from error

    def _label(self, uri: str) -> bytes | None:
        if self.log is None or self.log.find(uri) is None:
            return None  # nobody need be asked
        entry = find(uri)
        return None if entry is None or entry["type"] != "file" else self.log.find(uri, entry["size"])


class _Pieces(io.RawIOBase):
    """An object as a file that is read from the beginning. Raises what reading its pieces does."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        with memoryview(buffer).cast("B") as view:
            count = min(len(view), len(self._held))
            view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


@contextmanager
def _of_results(uri: str) -> Iterator[None]:
    """Where a result cannot be read, that is no error of an input."""
    try:
        yield
    except OutputError:
        raise
    except InputError as error:
        raise OutputError(error.message, path=error.path) from (error.__cause__ or error)
    except OSError as error:
        raise unreadable_result(uri, error) from error
