"""One file of this machine: read as it was listed, or a large result that is being written."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

from .._native.files import check_file, label_file, wait_for_next_tick
from ..errors import OutputError
from .atomic import create_folders, sync_folder, unreadable, unwritable
from .base import Object
from .claim import Claim
from .label_log import LabelLog
from .regular import open_regular
from .writer import writer_name


class LocalReader:
    """A file that is being read, of the version that was listed. Raises InputError if it cannot be opened."""

    def __init__(self, item: Object) -> None:
        self._item = item
        wait_for_next_tick(item.version)
        try:
            self._file = open_regular(item.uri)
        except OSError as error:
            raise unreadable(item.uri, error) from error

    def __enter__(self) -> LocalReader:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what was read is read
            self._file.close()

    def read_into(self, view: memoryview, offset: int) -> int:
        try:
            return os.preadv(self._file.fileno(), [view], offset)
        except OSError as error:
            raise unreadable(self._item.uri, error) from error

    def expect(self, blocks: Iterable[tuple[int, int]]) -> None:
        """The system reads files ahead by itself."""

    def check_unchanged(self) -> None:
        code = check_file(self._file.fileno(), self._item.version)
        if code == 0:
            return
        problem = unreadable(self._item.uri, OSError(code, os.strerror(code)))
        if code == errno.ESTALE:
            size = os.fstat(self._file.fileno()).st_size
            found = f"{self._item.size:,} bytes then, {size:,} now" if size != self._item.size else "of the same size"
            problem = problem.at(hint=f"{found}; run again when it is complete")
        raise problem


class LocalUpload:
    """A result that is being written: a temporary file in its final folder, renamed when it is whole.

    Args:
        uri: its name when it is whole.
        temporary: its name until then.
        log: keeps labels where the file system does not.
        durable: whether it is on the disk before it gets its name.
        claim: of the run; the folder itself is not created then, and looked at before the result gets its name.
    """

    def __init__(
        self, uri: str, temporary: str, log: LabelLog | None, *, durable: bool, claim: Claim | None = None
    ) -> None:
        self._uri = uri
        self._log = log
        self._durable = durable
        self._claim = claim
        self._size = 0
        self._unkept: bytes | None = None  # the label, if the file system does not keep it
        folder = os.path.dirname(uri)
        self._temporary = os.path.join(folder, temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            try:
                self._handle = os.open(self._temporary, flags, 0o666)
            except FileNotFoundError:
                if claim is not None:
                    claim.check()
                create_folders(folder, durable=durable, below=claim and claim.root)
                self._handle = os.open(self._temporary, flags, 0o666)
        except OSError as error:
            raise unwritable(uri, error) from error

    def write(self, content: bytes) -> None:
        try:
            written = 0
            while written < len(content):
                written += os.write(self._handle, content[written:] if written else content)
        except OSError as error:
            self.abort()
            raise unwritable(self._uri, error) from error
        self._size += len(content)

    def commit(self, label: bytes) -> None:
        self.seal(label)
        if self._claim is not None:
            try:
                self._claim.check()
            except OutputError:
                self.abort()
                raise
        self.give_name()
        if self._durable:
            sync_folder(os.path.dirname(self._uri))

    def seal(self, label: bytes) -> None:
        """Ends the file, which has its temporary name still. Raises OutputError."""
        try:
            code = label_file(self._handle, self._size, label)
            if code == errno.ENOTSUP and self._log is not None:
                self._unkept = label
            elif code:
                raise OSError(code, os.strerror(code))
            if self._durable:
                os.fsync(self._handle)
            handle, self._handle = self._handle, -1
            os.close(handle)
        except OSError as error:
            self.abort()
            raise unwritable(self._uri, error) from error

    def give_name(self) -> None:
        """Gives the file its name after :meth:`seal`; nothing is looked at any more. Raises OutputError."""
        try:
            if self._unkept is not None and self._log is not None:
                code = self._log.remove(self._uri)
                if code:
                    raise OSError(code, os.strerror(code))
                self._log.add(writer_name(), [(self._uri, self._size, self._unkept)])
            os.replace(self._temporary, self._uri)
        except OutputError:  # of the log
            self.abort()
            raise
        except OSError as error:
            self.abort()
            raise unwritable(self._uri, error) from error

    def abort(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = -1
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
