"""Objects and results on S3: many requests under way at a time, each whole or not at all.

A result's label is among its metadata, an object's version is its ETag, the lock is a lease, and a journal is many objects, one
for each time that entries are added. What is read is of the version that was listed: every request says so to the server.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import FastinferError, InputError, OutputError
from . import journal
from .atomic import TEMPORARY_PREFIX, unreadable, unreadable_result, unwritable
from .base import Object, Select
from .claim import Claim
from .crew import GROUPS_UNDER_WAY, LABELS_AHEAD, Gathering, Puts, gathering, the_crew
from .lease import Guard, Holder, Witness
from .listing import enters_folders, every_key
from .remote_reader import MOST_AHEAD_BYTES, SMALL_BYTES, GroupReader, RangeFile, RemoteReader
from .remote_upload import RemoteUpload, Terms, put_result
from .retry import Patience, with_deadline
from .s3_client import Bucket, open_bucket
from .s3_listing import Listed
from .uri import GLOB_SIGNS, key_below, matches_glob, split_exactly
from .versions import Versions

LEASE = "_run.lock"
# S3 allows no longer keys, in UTF-8.
MOST_KEY_BYTES = 1024

_journal_numbers = itertools.count()


class _Shared:
    """What the copies of a store have in common in one process."""

    def __init__(self, lease: tuple[str, str] | None = None, results: Versions | None = None) -> None:
        self.guard: Guard | None = None
        # The URI and the holder of the lease, while one is held; for other processes.
        self.lease = lease
        # Of all that a run may overwrite, as it was listed.
        self.results = results
        # Of the run's own files, as this process has read or written them last.
        self.files: dict[str, bytes] = {}
        self.labels: Gathering | None = None
        # One look at the environment for a store, not one for each object.
        self.buckets: dict[str, Bucket] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Shared, (self.lease, self.results))


@dataclass(frozen=True)
class RemoteStore:
    """The objects of S3, by the URIs ``s3://bucket/key``.

    Attributes:
        patience: how long to wait for S3.
        session: a ``boto3.Session``; None: botocore's chain, also in other processes.
        creates: whether a result does not replace one that is not of the same run.
    """

    patience: Patience = field(default_factory=Patience)
    session: Any = None
    creates: bool = False
    _shared: _Shared = field(default_factory=_Shared, repr=False)

    lists_trees = True
    labels_ahead = LABELS_AHEAD
    ahead_bytes = MOST_AHEAD_BYTES
    groups_under_way = GROUPS_UNDER_WAY
    takes_any_key = True

    # Objects

    def list_objects(self, source: str, select: Select = every_key, enter: Select = every_key) -> Iterator[Object]:
        """All objects whose key begins with the source's, in the order of their keys, as S3 means a prefix.

        Keys that end with a slash only mark folders and are left out. Where no key begins so, the source may be a glob: ``*``
        and ``?`` match within a name, ``**`` any names.

        Args:
            source: a URI.
            select: which keys below the source are listed; the object of exactly the source's key need not be selected.
            enter: the keys of which folders below the source are entered.

        Raises:
            InputError: ``input_missing``.
            ServiceError: S3 refused.
        """
        bucket, prefix = self._split(source)
        enters = enters_folders(enter)
        is_empty = True
        for entry in bucket.entries(prefix):
            is_empty = False
            if entry.key.endswith("/"):
                continue
            below = key_below(prefix, entry.key)
            if entry.key == prefix or (enters(below) and select(below)):
                yield Object(f"s3://{bucket.name}/{entry.key}", below, entry.size, entry.version)
        if not is_empty:
            return
        if not any(sign in prefix for sign in GLOB_SIGNS):
            raise InputError("no object has a key that begins so", code="input_missing", path=source)
        base = prefix[: min(prefix.index(sign) for sign in GLOB_SIGNS if sign in prefix)]
        matches = matches_glob(prefix)
        folder = base[: base.rfind("/") + 1]
        for entry in bucket.entries(base):
            if not entry.key.endswith("/") and matches(entry.key):
                is_empty = False
                yield Object(f"s3://{bucket.name}/{entry.key}", entry.key[len(folder) :], entry.size, entry.version)
        if is_empty:
            raise InputError("no object matches", code="input_missing", path=source)

    def examine(self, uris: Sequence[str], keys: Sequence[str]) -> Iterator[Object]:
        """The objects of these URIs."""

        def look(uri: str) -> Listed | None:
            bucket, key = self._split(uri)
            return bucket.find(key)

        with gathering(look) as gathered:
            for first in range(0, len(uris), LABELS_AHEAD):
                group = slice(first, first + LABELS_AHEAD)
                gathered.begin(uris[group])
                for uri, key in zip(uris[group], keys[group]):
                    entry = gathered.take(uri)
                    if entry is None:
                        missing = FileNotFoundError(errno.ENOENT, "there is no such object")
                        yield Object(uri, key, 0, b"", unreadable(uri, missing))
                    else:
                        yield Object(uri, key, entry.size, entry.version)

    def open(self, item: Object) -> RemoteReader:
        """Reads an object by ranges; nothing is asked of S3 yet."""
        return RemoteReader(*self._split(item.uri), item, is_small=item.size <= SMALL_BYTES)

    @contextlib.contextmanager
    def read_ahead(self, items: Sequence[Object]) -> Iterator[GroupReader]:
        """Small objects that will be read in this order: so many are under way that the machine is busy."""

        def read(index: int) -> Any:
            item = items[index]
            bucket, key = self._split(item.uri)
            return bucket.get(key, item.version)

        with gathering(read) as gathered:
            yield GroupReader(items, gathered)

    # Results

    def for_run(self, root: str, prefix: str, labels: str, label_journal: str) -> RemoteStore:  # noqa: ARG002
        """Itself: nothing that is unfinished has a name."""
        return self

    def for_new_results(self, *, is_first: bool) -> RemoteStore:  # noqa: ARG002
        """The same store, which does not replace a result of another run or of somebody else."""
        self._shared.results = None
        return replace(self, creates=True)

    def claimed(self, claim: Claim, *, is_outlived: bool) -> RemoteStore:  # noqa: ARG002
        """Itself: who writes looks before a group of results."""
        return self

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> Puts:
        """Begins to write small results."""
        guard = self._guard()  # also if some are put when the lease was given back
        return Puts(lambda index: self._put(guard, uris[index], texts[index], labels[index]), len(uris))

    def _put(self, guard: Guard, uri: str, text: bytes, label: bytes) -> int:
        """Writes a result: 0, or an errno if it cannot have this name. Raises OutputError, ServiceError."""
        guard.check()
        bucket, key = self._split(uri)
        if len(key) * 4 > MOST_KEY_BYTES and len(key.encode()) > MOST_KEY_BYTES:
            return errno.ENAMETOOLONG
        try:
            put_result(bucket, key, text, label, self._terms(guard, uri))
        except OSError as error:
            raise (error if isinstance(error, OutputError) else unwritable(uri, error)) from error
        return 0

    def begin(self, uri: str, word: str | None = None, label: bytes | None = None) -> RemoteUpload:  # noqa: ARG002
        """Begins a large result."""
        bucket, key = self._split(uri)
        if len(key.encode()) > MOST_KEY_BYTES:
            error = OSError(errno.ENAMETOOLONG, f"a key has at most {MOST_KEY_BYTES:,} bytes")
            raise unwritable(uri, error) from error
        return RemoteUpload(bucket, key, label, self._terms(self._guard(), uri))

    def label(self, uri: str) -> bytes | None:
        """The label of a result, which S3 keeps with it."""
        expected = self._shared.labels
        try:
            if expected is not None and expected.has(uri):
                label: bytes | None = expected.take(uri)
                return label
            return self._label(uri)
        except OSError as error:
            raise unreadable_result(uri, error) from error

    def expect_labels(self, uris: Sequence[str]) -> None:
        """Begins to get labels that will be asked for."""
        self._shared.labels = Gathering(the_crew(), with_deadline(self._label))
        self._shared.labels.begin(uris)

    def begin_labels(self, record: str, *, read_only: bool = False) -> None:
        """Labels are with their results."""

    def settle_labels(self) -> None:
        """Labels are with their results."""

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Holds the lease of a folder. Raises ConfigError (``output_in_use``), ServiceError."""
        bucket, prefix = self._split(_slashed(folder))
        shared, holder = self._shared, Holder(bucket, prefix + LEASE)
        shared.guard, shared.lease, shared.results = holder, (holder.uri, holder.name), Versions()
        try:
            with holder.hold():
                yield
        finally:
            shared.guard = shared.lease = shared.results = None
            shared.files.clear()

    # Files of the run

    def exists(self, uri: str) -> bool:
        """Whether there is an object of exactly this key."""
        bucket, key = self._split(uri)
        return bucket.find(key) is not None

    def names(self, folder: str) -> Iterator[str]:
        """The names of the objects in a folder."""
        bucket, prefix = self._split(_slashed(folder))
        for entry in bucket.entries(prefix, folder=True):
            name = entry.key[len(prefix) :]
            if name and not name.endswith("/"):
                yield name

    def hidden_names(self, folder: str) -> list[str]:
        """The names of runs' hidden objects in a folder, sorted."""
        bucket, prefix = self._split(_slashed(folder))
        found = bucket.entries(prefix + TEMPORARY_PREFIX, folder=True)
        return [entry.key[len(prefix) :] for entry in found if entry.size >= 0]

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """The folders below a folder, each as often as names of it follow each other in the listing."""
        bucket, prefix = self._split(_slashed(root))
        entries, results = bucket.entries(prefix), self._shared.results
        if results is not None and not results.is_complete:
            entries = results.noting(entries, bucket.name)
        keys = (entry.key for entry in entries)
        for folder, group in itertools.groupby(keys, key=lambda key: key[: key.rfind("/") + 1]):
            start = len(folder)
            yield f"s3://{bucket.name}/{folder}"[:-1], [key[start:] for key in group]

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of one of our own results. Raises OutputError."""
        with self._translating(uri), self._open_own(uri) as file:
            while piece := file.read(RangeFile.PIECE_BYTES):
                yield piece

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of one of our own small objects; None if there is none. Raises OutputError, also if it is larger."""
        bucket, key = self._split(uri)
        with self._translating(uri):
            try:
                entry = self._find_file(uri)
                if entry.size > most_bytes:
                    raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
                return bytes(bucket.get(key, entry.version, size=entry.size))
            except FileNotFoundError:
                return None

    def read_lines(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The lines of one of our own objects. Raises OutputError."""
        with self._translating(uri):
            try:
                file = RangeFile(self._split(uri)[0], self._find_file(uri))
            except FileNotFoundError:
                return
            yield from journal.lines_of(file, most_bytes)

    def read_entries(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The entries of a journal. Raises OutputError."""
        yield from journal.entries_of(self.read_lines(uri, journal.most_line_bytes(most_bytes)))

    def append(self, uri: str, entries: Iterable[bytes]) -> None:
        """Writes entries as one more object of a journal. Raises OutputError."""
        guard = self._guard()
        guard.check()
        bucket, key = self._split(uri)
        with self._translating(uri):
            content = b"".join(map(journal.frame, entries))
            put_result(bucket, f"{key}.{next(_journal_numbers)}", content, None, Terms(guard))

    def replace(self, uri: str, pieces: Iterable[bytes], *, is_new: bool = False) -> None:  # noqa: ARG002
        """Puts an object in the place of another, whole or not at all. Raises OutputError."""
        bucket, key = self._split(uri)
        terms = Terms(self._guard(), None if self._shared.lease is None else self._shared.files.get(uri, b""))
        upload = RemoteUpload(bucket, key, None, terms)
        try:
            for piece in pieces:
                upload.write(piece)
            upload.commit(None)
            self._shared.files[uri] = upload.version
        except BaseException:
            upload.abort()
            raise

    def remove(self, uri: str, *, may_stay: bool = True) -> None:
        """Removes an object that need not exist."""
        bucket, key = self._split(uri)
        try:
            with self._guard().writing(self.patience.longest_short_s):
                bucket.delete(key)
            self._shared.files.pop(uri, None)
        except (OSError, FastinferError) as error:
            if not may_stay:
                raise (error if isinstance(error, FastinferError) else unwritable(uri, error)) from error

    def remove_uploads(self, root: str, is_ours: Select) -> None:
        """Aborts the unfinished uploads below a folder that are ours."""
        bucket, prefix = self._split(_slashed(root))
        # Not every server lists them, and not everybody may: then they stay, until a rule of the bucket clears them.
        with contextlib.suppress(OSError, FastinferError), self._guard().writing(self.patience.longest_short_s):
            for key, upload in bucket.list_uploads(prefix):
                if is_ours(f"s3://{bucket.name}/{key}"):
                    bucket.abort_upload(key, upload)

    def scratch_folder(self, root: str) -> str:  # noqa: ARG002
        """The system's folder of temporary files."""
        return tempfile.gettempdir()

    def _label(self, uri: str) -> bytes | None:
        bucket, key = self._split(uri)
        return bucket.label(key)

    def _open_own(self, uri: str) -> RangeFile:
        bucket, key = self._split(uri)
        entry = bucket.find(key)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object")
        return RangeFile(bucket, entry)

    def _split(self, uri: str) -> tuple[Bucket, str]:
        name, key = split_exactly(uri)
        bucket = self._shared.buckets.get(name)
        if bucket is None:
            bucket = self._shared.buckets[name] = open_bucket(name, self.session, self.patience)
        return bucket, key

    def _guard(self) -> Guard:
        """Says whether this run may write."""
        shared = self._shared
        if shared.guard is None:
            if shared.lease is None:
                return Guard()
            uri, holder = shared.lease
            shared.guard = _witness(*self._split(uri), holder)
        return shared.guard

    def _terms(self, guard: Guard, uri: str) -> Terms:
        """On what terms a result is put."""
        shared = self._shared
        if self.creates:
            return Terms(guard, b"", creates=True)
        if shared.lease is None:
            return Terms(guard)
        return Terms(guard, b"" if shared.results is None else shared.results.get(uri))

    def _find_file(self, uri: str) -> Listed:
        """One of the run's files as it is listed, whose version is kept. Raises FileNotFoundError."""
        bucket, key = self._split(uri)
        entry = bucket.find(key)
        if self._shared.lease is not None and not uri.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
            self._shared.files[uri] = entry.version if entry is not None else b""
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object")
        return entry

    @staticmethod
    @contextlib.contextmanager
    def _translating(uri: str) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise unreadable_result(uri, error) from error


@functools.lru_cache(maxsize=8)
def _witness(bucket: Bucket, key: str, holder: str) -> Witness:
    """One for a run, however many of its tasks come to this process."""
    return Witness(bucket, key, holder)


def _slashed(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"
