"""S3Downloader and S3Uploader as SageMaker's SDK has them; each takes ``s3://``, ``file://`` and plain paths alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage.uri import is_s3, join, split_s3
from .session import Session, default_session


class S3Downloader:
    """Lists, reads and fetches objects."""

    @staticmethod
    def download(
        s3_uri: str, local_path: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> list[str]:
        """Fetches all objects of a place into a folder and returns the files' paths.

        Args:
            s3_uri: a place; in S3 every key that begins with it.
            local_path: the folder; made where it is missing.
            kms_key: not needed: S3 decrypts what it encrypted.
            sagemaker_session: whose credentials; None: a new session.

        Raises:
            InputError: ``no_such_place``; ``unsafe_key`` where a key would leave the folder.
            OutputError: ``cannot_write``.
        """
        del kms_key
        session = sagemaker_session or default_session()
        paths = []
        for item in session.items(s3_uri):
            fetch_below(session, item.place, item.name, Path(local_path))
            paths.append(str(Path(local_path, item.name)))
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
        """The places of all objects of a place."""
        return [item.place for item in (sagemaker_session or default_session()).items(s3_uri)]


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
        """Writes a file, or all files below a folder, below a place, and returns where it is.

        Raises:
            InputError: ``no_such_place``.
            OutputError: ``cannot_write``.
        """
        del callback
        session = sagemaker_session or default_session()
        for item in session.items(local_path):
            session.put(Path(item.place), join(desired_s3_uri, item.name), kms_key=kms_key)
        return join(desired_s3_uri, Path(local_path).name) if Path(local_path).is_file() else desired_s3_uri

    @staticmethod
    def upload_string_as_file_body(
        body: str, desired_s3_uri: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> str:
        """Writes text, as UTF-8, as one object."""
        return (sagemaker_session or default_session()).put(body.encode(), desired_s3_uri, kms_key=kms_key)

    @staticmethod
    def upload_bytes(
        b: bytes | io.BytesIO, s3_uri: str, kms_key: str | None = None, sagemaker_session: Session | None = None
    ) -> str:
        """Writes bytes as one object."""
        content = b.getvalue() if isinstance(b, io.BytesIO) else b
        return (sagemaker_session or default_session()).put(content, s3_uri, kms_key=kms_key)


def s3_path_join(*parts: str) -> str:
    """Parts of a place with one ``/`` between them."""
    return join(*parts)


def parse_s3_url(url: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    return split_s3(url)


def fetch_below(session: Session, place: str, name: str, folder: Path) -> None:
    """Fetches an object to a file below a folder.

    Raises:
        InputError: ``unsafe_key`` where the name would leave the folder.
    """
    if name.startswith("/") or ".." in Path(name).parts or not name:
        raise InputError(f"a file of the name {name!r} would leave the folder", code="unsafe_key", path=place)
    session.fetch(place, folder / name)


__all__ = ["S3Downloader", "S3Uploader", "is_s3", "parse_s3_url", "s3_path_join"]
