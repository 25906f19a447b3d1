"""Objects in S3, through a boto3 client: listed, read, fetched to files, and written, whole or not at all.

S3 itself makes an object visible only when it is complete. Errors of boto3 are translated: a missing object is an error of
the input, everything else a :class:`~fastinfer.storage.aws.ServiceError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, ServiceError
from .atomic import make_folder, replacing
from .aws import translating_errors
from .base import Object
from .uri import relative_key, split_s3


class S3Store:
    """The objects that a client may use.

    Args:
        client: boto3's client for S3.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def list_objects(self, uri: str) -> Iterator[Object]:
        """All objects whose key begins with the URI's, in the order of their keys.

        Keys that end with ``/`` only mark folders and are left out.
        """
        bucket, prefix = split_s3(uri)
        with translating_errors(f"listing {uri}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    key = str(entry["Key"])
                    if not key.endswith("/"):
                        version = str(entry.get("ETag", "")).strip('"').encode()
                        yield Object(f"s3://{bucket}/{key}", relative_key(prefix, key), int(entry["Size"]), version)

    def read(self, uri: str) -> bytes:
        """The bytes of one object.

        Raises:
            InputError: ``no_such_place``.
        """
        bucket, key = split_s3(uri)
        try:
            with translating_errors(uri):
                return bytes(self._client.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ServiceError as error:
            raise _as_input_error(error) from error

    def fetch(self, uri: str, target: Path) -> None:
        """Copies one object to the file `target`, whole or not at all.

        Raises:
            InputError: ``no_such_place``.
            OutputError: ``cannot_write``.
        """
        bucket, key = split_s3(uri)
        make_folder(target.parent)
        with replacing(target) as temporary:
            try:
                with translating_errors(uri):
                    self._client.download_file(bucket, key, str(temporary))
            except ServiceError as error:
                raise _as_input_error(error) from error

    def put(self, source: Path | bytes, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> None:
        """Writes a file's bytes, or the given ones, as one object.

        Args:
            source: a file, or the bytes themselves.
            uri: the object.
            kms_key: the KMS key to encrypt with.
            encrypt: whether to encrypt with the account's own KMS key where `kms_key` is None.
        """
        bucket, key = split_s3(uri)
        extra = {"ServerSideEncryption": "aws:kms"} if kms_key or encrypt else {}
        if kms_key:
            extra["SSEKMSKeyId"] = kms_key
        with translating_errors(f"writing {uri}"):
            if isinstance(source, bytes):
                self._client.put_object(Bucket=bucket, Key=key, Body=source, **extra)
            else:
                self._client.upload_file(str(source), bucket, key, ExtraArgs=extra or None)


def _as_input_error(error: ServiceError) -> Exception:
    """A missing object is the input's fault; every other error stays what it is."""
    if error.code != "aws_missing":
        return error
    return InputError(error.message, code="no_such_place", hint=error.hint)
