"""Objects in S3 for SageMaker sessions: listed, read, fetched to files, and written, whole or not at all.

The requests are those of a run on S3 (s3_client.py). A missing object is an error of the input, everything else a
:class:`~fastinfer.errors.ServiceError`.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, ServiceError
from .atomic import make_folder, replacing, unreadable
from .base import Object
from .remote_reader import RangeFile
from .s3_client import Bucket, open_bucket
from .uri import relative_key, split_s3


class S3Store:
    """The objects that a session may use.

    Args:
        session: a ``boto3.Session``; None: botocore's chain.
    """

    def __init__(self, session: Any = None) -> None:
        self._session = session

    def list_objects(self, uri: str) -> Iterator[Object]:
        """All objects whose key begins with the URI's, in the order of their keys.

        Keys that end with ``/`` only mark folders and are left out.
        """
        bucket, prefix = self._split(uri)
        for entry in bucket.entries(prefix):
            if not entry.key.endswith("/"):
                below = relative_key(prefix, entry.key)
                yield Object(f"s3://{bucket.name}/{entry.key}", below, entry.size, entry.version)

    def read(self, uri: str) -> bytes:
        """The bytes of one object.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
        """
        bucket, key = self._split(uri)
        with _reading(uri):
            return bytes(bucket.get(key))

    def fetch(self, uri: str, target: Path) -> None:
        """Copies one object to the file `target`, whole or not at all.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
            OutputError: ``cannot_write``.
        """
        bucket, key = self._split(uri)
        with _reading(uri):
            entry = bucket.find(key)
        if entry is None:
            raise _missing(uri)
        make_folder(target.parent)
        with replacing(target) as temporary, RangeFile(bucket, entry) as content, open(temporary, "wb") as copy:
            shutil.copyfileobj(content, copy, RangeFile.PIECE_BYTES)

    def put(self, source: Path | bytes, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> None:
        """Writes a file's bytes, or the given ones, as one object.

        Args:
            source: a file, or the bytes themselves.
            uri: the object.
            kms_key: the KMS key to encrypt with.
            encrypt: whether to encrypt with the account's own KMS key where `kms_key` is None.
        """
        bucket, key = self._split(uri)
        encryption = {"ServerSideEncryption": "aws:kms"} if kms_key or encrypt else {}
        if kms_key:
            encryption["SSEKMSKeyId"] = kms_key
        try:
            bucket.upload(key, source, encryption)
        except PermissionError as error:
            raise ServiceError(f"writing {uri}: {error.strerror}", code="aws_denied") from error

    def _split(self, uri: str) -> tuple[Bucket, str]:
        name, key = split_s3(uri)
        return open_bucket(name, self._session), key


@contextlib.contextmanager
def _reading(uri: str) -> Iterator[None]:
    """A missing object is the input's fault, and so is one that may not be read."""
    try:
        yield
    except OSError as error:
        raise _missing(uri) if error.errno == errno.ENOENT else unreadable(uri, error) from error
    except ServiceError as error:
        if error.service_code != "NoSuchBucket":
            raise
        raise InputError(error.message, code="no_such_place", hint=error.hint) from error


def _missing(uri: str) -> InputError:
    return InputError("no such object", code="no_such_place", path=uri)
