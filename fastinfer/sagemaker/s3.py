"""S3Downloader and S3Uploader of SageMaker's SDK; URIs may be ``s3://…``, ``file://…`` or plain paths."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage.base import Object
from ..storage.uri import is_s3, join, split_s3
from .session import Session, default_session


class S3Downloader:
    """Lists, reads and downloads objects."""

    @staticmethod
    def download(
        s3_uri: str, local_path: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> list[str]:
        """Downloads all objects of a URI into a folder and returns the paths of the files.

        Args:
            s3_uri: in S3 all keys that begin with it; a local file or folder.
            local_path: the folder; created where it is missing.
            kms_key: accepted for compatibility and ignored: S3 decrypts what it encrypted.
            sagemaker_session: the credentials; None: a shared session.

        Raises:
            InputError: ``no_such_place``; ``unsafe_key`` for a key that would lead outside the folder.
            OutputError: ``cannot_write``.
        """
        del kms_key
        session = sagemaker_session or default_session()
        paths = []
        for item in session.list_objects(s3_uri):
            paths.append(str(fetch_below(session, item, Path(local_path))))
        return paths

    @staticmethod
    def read_file(s3_uri: str, sagemaker_session: Session | None = None) -> str:
        """The text of one object, UTF-8.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``, ``not_text``.
        """
        content = S3Downloader.read_bytes(s3_uri, sagemaker_session)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8 text", code="not_text", path=s3_uri) from error

    @staticmethod
    def read_bytes(s3_uri: str, sagemaker_session: Session | None = None) -> bytes:
        """The bytes of one object.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
        """
        return (sagemaker_session or default_session()).read(s3_uri)

    @staticmethod
    def list(s3_uri: str, sagemaker_session: Session | None = None) -> list[str]:
        """The URIs of all objects of a URI."""
        return [item.uri for item in (sagemaker_session or default_session()).list_objects(s3_uri)]


class S3Uploader:
    """Writes objects."""

    @staticmethod
    def upload(
        local_path: str,
        desired_s3_uri: str,
        kms_key: str | None = None,
        sagemaker_session: Session | None = None,
        callback: Any = None,
    ) -> str:
        """Uploads a file, or all files of a folder, below a URI and returns where it is.

        Raises:
            InputError: ``no_such_place``.
            OutputError: ``cannot_write``.
        """
        del callback
        (sagemaker_session or default_session()).upload(local_path, desired_s3_uri, kms_key=kms_key)
        return join(desired_s3_uri, Path(local_path).name) if Path(local_path).is_file() else desired_s3_uri

    @staticmethod
    def upload_string_as_file_body(
        body: str, desired_s3_uri: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> str:
        """Writes text as one object, in UTF-8."""
        return (sagemaker_session or default_session()).put(body.encode(), desired_s3_uri, kms_key=kms_key)

    @staticmethod
    def upload_bytes(
        b: bytes | io.BytesIO, s3_uri: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> str:
        """Writes bytes as one object."""
        content = b.getvalue() if isinstance(b, io.BytesIO) else b
        return (sagemaker_session or default_session()).put(content, s3_uri, kms_key=kms_key)


def s3_path_join(*parts: str) -> str:
    """Joins the parts of a URI with one ``/`` between them."""
    return join(*parts)


def parse_s3_url(url: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    return split_s3(url)


def fetch_below(session: Session, item: Object, folder: Path) -> Path:
    """Copies an object to the file of its key below a folder; returns that file.

    Raises:
        InputError: the object's problem; ``unsafe_key`` for a key that would lead outside the folder.
    """
    if item.problem is not None:
        raise item.problem
    check_key(item)
    session.fetch(item.uri, folder / item.key)
    return folder / item.key


def check_key(item: Object) -> None:
    """Raises InputError (``unsafe_key``) for a key that would lead outside a folder."""
    if item.key.startswith("/") or ".." in Path(item.key).parts or not item.key:
        raise InputError(f"the key {item.key!r} would lead outside the folder", code="unsafe_key", path=item.uri)


__all__ = ["S3Downloader", "S3Uploader", "is_s3", "parse_s3_url", "s3_path_join"]
