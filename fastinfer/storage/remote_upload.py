"""Writes results to S3: a small one by one request, a large one in parts while it grows; no half has a name."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Callable, NamedTuple

from ..errors import FastinferError, OutputError
from .atomic import unwritable
from .crew import Gathering, the_crew
from .lease import Guard
from .retry import END_S, beginning_within
from .s3_client import Bucket, Part
from .s3_errors import ConditionNotMet
from .uri import is_path

# S3 takes parts of 5 MiB and more, and 10,000 of them.
PART_BYTES = 8 << 20
# After so many parts each is twice as large.
PARTS_OF_A_SIZE = 1000
PARTS_UNDER_WAY = 3
RUN_BYTES = 8  # a label begins with its run
# So often a result is put in the place of what was just seen there, before it is an error.
MOST_LOOKS = 5


class Terms(NamedTuple):
    """On what terms results are written.

    Attributes:
        guard: says when nothing may be written any more.
        replaced: the version in whose place a result is put, as it was when the run looked; empty: where there is none;
            None: in the place of any, without a lease.
        creates: whether it replaces only one of the same run.
    """

    guard: Guard
    replaced: bytes | None = None
    creates: bool = False


def put_result(bucket: Bucket, key: str, text: bytes, label: bytes | None, terms: Terms) -> bytes:
    """Writes a whole result; returns its version.

    Args:
        bucket, key: its name.
        text: its bytes.
        label: its label.
        terms: on which it is written.

    Raises:
        OutputError: ``foreign_files`` if there is a result of another run, or somebody else's object; ``lease_lost``.
        OSError, ServiceError: it cannot be written.
    """
    with terms.guard.writing(bucket.patience.longest_s(len(text), by_boto3=not is_path(key))):
        return _write(lambda replaced: bucket.put(key, text, label, replaced=replaced), bucket, key, label, terms)


def _write(
    write: Callable[[bytes | None], bytes], bucket: Bucket, key: str, label: bytes | None, terms: Terms
) -> bytes:
    """Writes a result in the place of what the run has seen there.

    What is seen only now may be replaced as well, since the guard is asked after the look: it was there before another run
    could begin. What such a run puts there later has another version, and stays.
    """
    replaced, problem = terms.replaced, ""
    for _ in range(MOST_LOOKS):
        try:
            return write(replaced)
        except ConditionNotMet as error:
            found = bucket.look(key)
            replaced, kept = found or (b"", None)
            if found is not None and label is not None and kept == label:
                return replaced  # written by a request whose reply was lost, or by a worker that died
            if found is not None and terms.creates and (kept is None or kept[:RUN_BYTES] != (label or b"")[:RUN_BYTES]):
                raise OutputError(
                    "an object that is not of this run appeared in the place of an output",
                    code="foreign_files",
                    path=f"s3://{bucket.name}/{key}",
                    hint="name another folder",
                ) from error
            problem = str(error)
    raise OSError(errno.EBUSY, f"somebody else is writing it ({problem})")


class RemoteUpload:
    """A large result that is being written.

    Args:
        bucket, key: its name when it is whole.
        label: the label that it will probably get.
        terms: on which it is written.

    Attributes:
        version: of the object when it has its name.
    """

    def __init__(self, bucket: Bucket, key: str, label: bytes | None, terms: Terms) -> None:
        self._bucket = bucket
        self._key = key
        self._label = label
        self._terms = terms
        self.version = b""
        self._texts: list[bytes] = []
        self._held = 0
        self._upload: str | None = None
        self._waiting: dict[int, bytes] = {}  # parts that are not uploaded
        self._parts: list[Part] = []
        self._gathered = Gathering(the_crew(is_large=True), self._put_part)

    def write(self, content: bytes) -> None:
        """Adds bytes. Raises OutputError, ServiceError; nothing is left then."""
        self._texts.append(content)
        self._held += len(content)
        if self._held >= PART_BYTES << ((len(self._parts) + len(self._waiting)) // PARTS_OF_A_SIZE):
            with self._aborting():
                self._terms.guard.check()
                if self._upload is None:
                    self._upload = self._bucket.begin_upload(self._key, self._label)
                self._send_part()
                self._wait(PARTS_UNDER_WAY)

    def commit(self, label: bytes | None) -> None:
        """Gives the result its name. Raises OutputError, ServiceError; nothing is left then."""
        with self._aborting():
            self._terms.guard.check()
            if self._upload is None:
                self.version = put_result(self._bucket, self._key, b"".join(self._texts), label, self._terms)
                return
            if self._held:
                self._send_part()
            self._wait(0)
            patience = self._bucket.patience
            with self._terms.guard.writing(patience.connect_s + patience.large_request_s):
                self.version = self._complete(self._upload)
                self._upload = None
                if label is not None and label != self._label:
                    self._relabel(label)

    def abort(self) -> None:
        """Removes what was uploaded."""
        self._gathered.close(END_S)
        upload, self._upload = self._upload, None
        self._texts, self._held = [], 0
        self._waiting.clear()
        if upload is not None:
            with contextlib.suppress(OSError, FastinferError), beginning_within(END_S):  # the next run does it
                self._bucket.abort_upload(self._key, upload)

    def _complete(self, upload: str) -> bytes:
        def complete(replaced: bytes | None) -> bytes:
            return self._bucket.complete_upload(self._key, upload, self._parts, replaced=replaced)

        try:
            return _write(complete, self._bucket, self._key, self._label, self._terms)
        except FileNotFoundError:
            found = self._bucket.look(self._key)
            if found is None or found[1] != self._label:
                raise
            return found[0]  # it is complete, and the reply was lost

    def _relabel(self, label: bytes) -> None:
        try:
            self._bucket.relabel(self._key, label, self.version)
        except ConditionNotMet as error:
            if self._bucket.label(self._key) != label:  # as if the copy's reply was lost: it may have another version
                raise OSError(errno.EBUSY, f"somebody else is writing it ({error})") from error

    def _send_part(self) -> None:
        number = len(self._parts) + len(self._waiting) + 1
        self._waiting[number] = b"".join(self._texts)
        self._texts, self._held = [], 0
        self._gathered.begin([number])

    def _put_part(self, number: int) -> Part:
        assert self._upload is not None
        return self._bucket.put_part(self._key, self._upload, number, self._waiting[number])

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            number = min(self._waiting)
            self._parts.append(self._gathered.take(number))
            del self._waiting[number]

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise unwritable(f"s3://{self._bucket.name}/{self._key}", error) from error
            raise
