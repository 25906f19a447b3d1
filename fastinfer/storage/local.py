"""The files of this machine: reads them as they were listed, writes results, each with a label.

An object's *key* is its path below the source; its result is the key with ``.out`` appended, as Batch Transform names results
below its prefix. A file's version is its identity (csrc/files.h): inode, size, and times of modification and change. Small
files are read and written in groups, because their cost is system calls, not bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._native.files import FILES_PER_CALL, read_files, write_files
from ..errors import OutputError
from . import exclusive, journal
from .atomic import TEMPORARY_PREFIX, create_folders, locking, sync_folder, unreadable_result, unwritable
from .base import Object, Select
from .claim import Claim
from .label_log import LabelLog
from .listing import every_key, examine_file, list_files
from .local_file import LocalReader, LocalUpload
from .regular import open_regular, read_regular
from .writer import writer_name

# The attribute with a result's size and label, csrc/files.h.
ATTRIBUTE = "user.fastinfer"
SIZE_BYTES = 8

PIECE_BYTES = 1 << 20


class Written(list[int] if TYPE_CHECKING else list):  # type: ignore[misc]
    """Small files that are written: errno or 0 of each."""

    def wait(self) -> list[int]:
        return self


@dataclass(frozen=True)
class LocalStore:
    """The files of this machine.

    Attributes:
        durable: whether a result is written to the disk, not only to the system's memory, before it gets its name.
        prefix: what the names of unfinished files begin with; they are hidden beside the final ones.
        log: keeps labels where the file system does not; None: writing a label there is an error.
        claim: of the run that writes; the folder is looked at before anything gets its name there. None: it is not.
        is_outlived: whether writers may outlive the run that holds the lock.
    """

    durable: bool = False
    prefix: str = f"{TEMPORARY_PREFIX}{'0' * 16}-"
    log: LabelLog | None = None
    claim: Claim | None = None
    is_outlived: bool = False

    lists_trees = False  # folders are listed one by one, when an input needs them
    labels_ahead = ahead_bytes = 0  # the system reads ahead
    groups_under_way = 0
    takes_any_key = False

    def for_run(self, root: str, prefix: str, labels: str, label_journal: str) -> LocalStore:
        """The same store with the names of one run; see :class:`~fastinfer.storage.base.RunStore`."""
        log = LabelLog(LocalStore(self.durable), root, labels, label_journal)
        return dataclasses.replace(self, prefix=prefix, log=log)

    def for_new_results(self, *, is_first: bool) -> LocalStore:  # noqa: ARG002
        """Itself: what stands in the place of a result is looked at before the run."""
        return self

    def claimed(self, claim: Claim, *, is_outlived: bool) -> LocalStore:
        """The same store for the writers of one start of a run; see :class:`~fastinfer.storage.base.RunStore`."""
        return dataclasses.replace(self, claim=claim, is_outlived=is_outlived)

    def begin_labels(self, record: str, *, read_only: bool = False) -> None:
        """Reads earlier runs' labels that are not attributes, and finds out whether this run's can be. Raises OutputError.

        Args:
            record: a file of the run.
            read_only: whether nothing is written; then `record` need not exist.
        """
        if self.log is None:
            return
        self.log.merge(read_only=read_only)
        if not read_only:
            self.log.is_used = not self.keeps_labels(record)

    def settle_labels(self) -> None:
        """Merges the writers' labels that are not attributes, when none is running. Raises OutputError."""
        if self.log is not None and self.log.is_used:  # else the next run does it, without listing the folder once more
            self.log.merge()

    def expect_labels(self, uris: Sequence[str]) -> None:
        """Labels are read when they are asked for."""

    def exists(self, uri: str) -> bool:
        """Whether there is anything of this name."""
        return os.path.lexists(uri)

    def remove_uploads(self, root: str, is_ours: Select) -> None:
        """What is unfinished has a hidden name here."""

    def scratch_folder(self, root: str) -> str:
        """The folder itself, whose disk has room for the results."""
        return root

    def list_objects(self, source: str, select: Select = every_key, enter: Select = every_key) -> Iterator[Object]:
        """See :func:`fastinfer.storage.listing.list_files`."""
        return list_files(source, select, enter)

    def examine(self, uris: Sequence[str], keys: Sequence[str]) -> Iterator[Object]:
        """The files of these paths."""
        return map(examine_file, uris, keys)

    def open(self, item: Object) -> LocalReader:
        """Opens a file to read it. Raises InputError (``input_missing``, ``cannot_read``)."""
        return LocalReader(item)

    @contextlib.contextmanager
    def read_ahead(self, items: Sequence[Object]) -> Iterator[LocalStore]:  # noqa: ARG002
        """Itself: reading a group ahead is enough for files."""
        yield self

    def read_many(self, items: Sequence[Object], buffer: bytearray) -> list[tuple[int, int]]:
        """Reads at most FILES_PER_CALL small files one after another, as many as fit: (end, errno or 0) of each."""
        return read_files([os.fsencode(item.uri) for item in items], [item.version for item in items], buffer)

    def write_many(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> Written:
        """Writes small files, each whole or not at all. Missing folders are created.

        Raises:
            OutputError: a folder cannot be written to the disk, or the log of labels cannot be written; ``folder_lost``.
        """
        if self.claim is not None and self.is_outlived:
            return Written(self._write_outlived(uris, texts, labels, self.claim))
        self._check()
        errors = self._write(uris, texts, labels)
        if errno.ENOENT in errors:
            missing = [index for index, code in enumerate(errors) if code == errno.ENOENT]
            made: dict[str, int] = {}
            for folder in {os.path.dirname(uris[index]) for index in missing}:
                try:
                    create_folders(folder, durable=self.durable, below=self.claim and self.claim.root)
                except OSError as error:
                    made[folder] = error.errno or errno.EIO
            again = [index for index in missing if os.path.dirname(uris[index]) not in made]
            for index in missing:
                errors[index] = made.get(os.path.dirname(uris[index]), 0)
            codes = self._write(
                [uris[index] for index in again], [texts[index] for index in again], [labels[index] for index in again]
            )
            for index, code in zip(again, codes):
                errors[index] = code
            if errno.ENOENT in errors:
                self._check()  # so that the error says it
        if self.durable:
            for folder in {os.path.dirname(uri) for uri, code in zip(uris, errors) if not code}:
                sync_folder(folder)
        return Written(errors)

    def begin(self, uri: str, word: str | None = None, label: bytes | None = None) -> LocalUpload:  # noqa: ARG002
        """Begins a large result. Raises OutputError.

        Args:
            uri: its name when it is whole.
            word: distinguishes it from others that are written at the same time; None: the writer, which writes one at a time.
            label: not needed before the end.
        """
        if self.is_outlived:
            self._check()  # so that a late writer leaves no hidden file behind, should it be killed
        temporary = self.prefix + (word or writer_name())
        return LocalUpload(uri, temporary, self.log, durable=self.durable, claim=self.claim)

    def label(self, uri: str) -> bytes | None:
        """The label of a file that has the size with which it was written; else None. Raises OutputError."""
        try:
            size = os.stat(uri).st_size
            try:
                value = os.getxattr(uri, ATTRIBUTE)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.EPERM):
                    raise
                return self.log.find(uri, size) if self.log is not None else None
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
                return None
            raise unreadable_result(uri, error) from error
        except ValueError:  # no file can have this name
            return None
        return value[SIZE_BYTES:] if int.from_bytes(value[:SIZE_BYTES], "little") == size else None

    def read_pieces(self, uri: str) -> Iterator[bytes]:
        """The bytes of one of our own results. Raises OutputError."""
        try:
            with open_regular(uri) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise unreadable_result(uri, error) from error

    def append(self, uri: str, entries: Iterable[bytes]) -> None:
        """Appends entries to the journal of one writer. Raises OutputError."""
        self._check()
        journal.append(uri, entries, durable=self.durable)

    def read_entries(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The entries of a journal; see :func:`fastinfer.storage.journal.read`. Raises OutputError."""
        return journal.read(uri, most_bytes)

    def read_lines(self, uri: str, most_bytes: int) -> Iterator[bytes]:
        """The lines of one of our own files; see :func:`fastinfer.storage.journal.read_lines`. Raises OutputError."""
        return journal.read_lines(uri, most_bytes)

    def read_small(self, uri: str, most_bytes: int) -> bytes | None:
        """The bytes of one of our own small files; None if it does not exist. Raises OutputError, also if it is larger."""
        try:
            return read_regular(uri, most_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable_result(uri, error) from error

    def replace(self, uri: str, pieces: Iterable[bytes], *, is_new: bool = False) -> None:  # noqa: ARG002
        """Puts a file in the place of another, whole or not at all, while the folder is locked. Raises OutputError."""
        self._check()
        exclusive.replace(uri, pieces, durable=self.durable)

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files in a folder; none if it does not exist. Raises OutputError."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry.name
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable_result(folder, error) from error

    def hidden_names(self, folder: str) -> list[str]:
        """The names of runs' hidden files in a folder, sorted; none if it does not exist. Raises OutputError."""
        try:
            return sorted(name for name in os.listdir(folder) if name.startswith(TEMPORARY_PREFIX))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable_result(folder, error) from error

    def keeps_labels(self, uri: str) -> bool:
        """Whether the file system of one of our files keeps labels as attributes."""
        try:
            os.setxattr(uri, ATTRIBUTE, b"")
        except OSError:
            return False
        return True

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """A folder and all folders below it, each with the names of its files; what cannot be read is left out."""
        waiting = [root]  # not by recursion: folders may be nested deeper than Python's calls
        while waiting:
            folder = waiting.pop()
            names = []
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        names.append(entry.name)
            yield folder, names

    def remove(self, uri: str, *, may_stay: bool = True) -> None:
        """Removes a file that need not exist.

        Args:
            uri: the file.
            may_stay: whether a file that cannot be removed is left alone; else OutputError is raised.
        """
        try:
            os.unlink(uri)
        except FileNotFoundError:
            return
        except OSError as error:
            if not may_stay:
                raise unwritable(uri, error) from error

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Locks a folder, which is created if it is missing, against other runs on this machine.

        Raises:
            ConfigError: ``output_in_use``.
            OutputError: the folder cannot be created or opened.
        """
        try:
            create_folders(folder, durable=self.durable)
        except OSError as error:
            raise unwritable(folder, error) from error
        with locking(folder):
            yield

    def _check(self) -> None:
        """Raises OutputError (``folder_lost``) where the folder is not that of the run any more."""
        if self.claim is not None:
            self.claim.check()

    def _write_outlived(
        self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes], claim: Claim
    ) -> list[int]:
        """Writes small files under temporary names, looks whether the folder is the run's, and renames them.

        A run that begins after the look removes the temporary files before it reads or writes anything in their folder: then
        they cannot be renamed any more.
        """
        claim.check()
        errors = [0] * len(uris)
        temporary = self.prefix + writer_name()
        uploads: dict[int, LocalUpload] = {}
        try:
            for index, (uri, text, label) in enumerate(zip(uris, texts, labels)):
                try:
                    upload = LocalUpload(uri, f"{temporary}-{index}", self.log, durable=self.durable, claim=claim)
                    upload.write(text)
                    upload.seal(label)
                    uploads[index] = upload
                except OutputError as error:
                    errors[index] = _code_of(error)
            claim.check()
            for index in list(uploads):
                try:
                    uploads.pop(index).give_name()
                except OutputError as error:
                    errors[index] = _code_of(error)
            if errno.ENOENT in errors:
                claim.check()  # so that the error says it
        finally:
            for upload in uploads.values():
                upload.abort()
        if self.durable:
            for folder in {os.path.dirname(uri) for uri, code in zip(uris, errors) if not code}:
                sync_folder(folder)
        return errors

    def _write(self, uris: Sequence[str], texts: Sequence[bytes], labels: Sequence[bytes]) -> list[int]:
        temporary = os.fsencode(self.prefix + writer_name())
        errors: list[int] = []
        for first in range(0, len(uris), FILES_PER_CALL):
            group = slice(first, first + FILES_PER_CALL)
            paths = [os.fsencode(uri) for uri in uris[group]]
            errors += write_files(paths, list(texts[group]), list(labels[group]), temporary, self.durable)
        if self.log is not None and errno.ENOTSUP in errors:
            writer = writer_name()
            for index, code in enumerate(errors):
                if code == errno.ENOTSUP:
                    uri, text = uris[index], texts[index]
                    errors[index] = self.log.remove(uri)
                    if not errors[index]:
                        self.log.add(writer, [(uri, len(text), labels[index])])
                        (errors[index],) = write_files([os.fsencode(uri)], [text], [b""], temporary, self.durable)
        return errors


def _code_of(error: OutputError) -> int:
    """The errno of what could not be written; raises the error itself where it has none."""
    code = getattr(error.__cause__, "errno", None)
    if not code:
        raise error
    return int(code)
