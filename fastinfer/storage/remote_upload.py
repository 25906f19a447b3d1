"""Writes results to S3: a small one by one request, a large one in parts while it grows; no half has a name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

from ..errors import FastinferError, OutputError
from .atomic import unwritable
from .crew import Gathering, the_crew
from .retry import END_S, beginning_within
from .s3_client import Bucket, Part
from .s3_errors import ConditionNotMet

# S3 takes parts of 5 MiB and more, and 10,000 of them.
PART_BYTES = 8 << 20
# After so many parts each is twice as large.
PARTS_OF_A_SIZE = 1000
PARTS_UNDER_WAY = 3
RUN_BYTES = 8  # a label begins with its run


def put_result(bucket: Bucket, key: str, text: bytes, label: bytes | None, *, create: bool) -> None:
    """Writes a whole result.

    Args:
        bucket, key: its name.
        text: its bytes.
        label: its label.
        create: whether it replaces only one of the same run.

    Raises:
        OutputError: ``foreign_files`` if there is a result of another run, or somebody else's object.
        OSError, ServiceError: it cannot be written.
    """
    try:
        bucket.put(key, text, label, create=create)
    except ConditionNotMet as error:
        if not _is_written(bucket, key, label, error):
            bucket.put(key, text, label)


def _is_written(bucket: Bucket, key: str, label: bytes | None, error: Exception) -> bool:
    """Whether the object that stands in a result's way is that result, from a request whose reply was lost or a worker that
    died; False if it is an older one of the same run. Raises OutputError if it is somebody else's."""
    kept = bucket.label(key)
    if kept == label:
        return True
    if kept is None or label is None or kept[:RUN_BYTES] != label[:RUN_BYTES]:
        raise OutputError(
            "an object that is not of this run appeared in the place of an output",
            code="foreign_files",
            path=f"s3://{bucket.name}/{key}",
            hint="name another folder",
        ) from error
    return False


class RemoteUpload:
    """A large result that is being written.

    Args:
        bucket, key: its name when it is whole.
        check: raises OutputError if nothing may be written any more.
        label: the label that it will probably get.
        create: whether it replaces only one of the same run.
    """

    def __init__(
        self, bucket: Bucket, key: str, check: Callable[[], None], label: bytes | None, *, create: bool
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._check = check
        self._label = label
        self._create = create
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
                self._check()
                if self._upload is None:
                    self._upload = self._bucket.begin_upload(self._key, self._label)
                self._send_part()
                self._wait(PARTS_UNDER_WAY)

    def commit(self, label: bytes | None) -> None:
        """Gives the result its name. Raises OutputError, ServiceError; nothing is left then."""
        with self._aborting():
            self._check()
            if self._upload is None:
                put_result(self._bucket, self._key, b"".join(self._texts), label, create=self._create)
                return
            if self._held:
                self._send_part()
            self._wait(0)
            self._complete(self._upload)
            self._upload = None
            if label is not None and label != self._label:
                self._bucket.relabel(self._key, label)

    def abort(self) -> None:
        """Removes what was uploaded."""
        self._gathered.close(END_S)
        upload, self._upload = self._upload, None
        self._texts, self._held = [], 0
        self._waiting.clear()
        if upload is not None:
            with contextlib.suppress(OSError, FastinferError), beginning_within(END_S):  # the next run does it
                self._bucket.abort_upload(self._key, upload)

    def _complete(self, upload: str) -> None:
        try:
            self._bucket.complete_upload(self._key, upload, self._parts, create=self._create)
        except (ConditionNotMet, FileNotFoundError) as error:
            # It may be complete, and the reply was lost.
            if not _is_written(self._bucket, self._key, self._label, error):
                self._bucket.complete_upload(self._key, upload, self._parts, create=False)

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
