"""URIs of objects and folders: ``s3://bucket/key``, ``file:///path`` or a plain path. Pure functions of the text."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, quote

S3 = "s3://"
FILE = "file://"

# The bucket of local sessions. S3 forbids underscores in names, so no bucket on AWS can have this one.
LOCAL_BUCKET = "sagemaker_local"


def is_s3(uri: str) -> bool:
    """Whether a URI is one of S3."""
    return uri.lower().startswith(S3)


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI.

    Raises:
        ConfigError: ``bad_place``.
    """
    if not is_s3(uri):
        raise ConfigError(f"expected s3://bucket/key, found {quote(uri)}", code="bad_place")
    bucket, _, key = uri[len(S3) :].partition("/")
    if not bucket:
        raise ConfigError(f"expected s3://bucket/key, found {quote(uri)}, which names no bucket", code="bad_place")
    return bucket, key.lstrip("/")


def local_path(uri: str) -> Path:
    """The path that a plain path or a ``file://`` URI names.

    Raises:
        ConfigError: ``bad_place`` for any other URI.
    """
    if uri.lower().startswith(FILE):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(f"expected file:///path, found {quote(uri)}", code="bad_place")
        # '#' and '?' are ordinary characters of a file's name.
        return Path(unquote(uri[len(FILE) + len(parts.netloc) :]))
    if "://" in uri:
        raise ConfigError(f"expected s3://, file:// or a path, found {quote(uri)}", code="bad_place")
    return Path(uri).expanduser()


def join(*parts: str | None) -> str:
    """Joins the parts of a URI with one ``/`` between them; empty parts are left out."""
    head, *others = [part for part in parts if part] or [""]
    if others and not head.endswith("://"):
        head = head.rstrip("/") + "/"
    return head + "/".join(part.strip("/") for part in others)


def relative_key(prefix: str, key: str) -> str:
    """A key relative to an S3 prefix; where the prefix ends within a name, relative to that name's folder.

    >>> relative_key("a/in", "a/in/x/1.csv"), relative_key("a/in/1", "a/in/10.csv"), relative_key("a/1.csv", "a/1.csv")
    ('x/1.csv', '10.csv', '1.csv')
    """
    rest = key[len(prefix) :]
    if rest and (not prefix or prefix.endswith("/") or rest.startswith("/")):
        return rest.lstrip("/")
    return key[prefix.rfind("/") + 1 :]
