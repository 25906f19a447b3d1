"""Where things lie: ``s3://bucket/key``, ``file:///path`` or a plain path. Pure functions of the text."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, quote

S3 = "s3://"
FILE = "file://"

# The local session's bucket. S3 allows no underscore in a name, so that it can never be somebody's on AWS.
LOCAL_BUCKET = "sagemaker_local"


def is_s3(place: str) -> bool:
    return place.lower().startswith(S3)


def split_s3(place: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI.

    Raises:
        ConfigError: ``bad_place``.
    """
    if not is_s3(place):
        raise ConfigError(f"expected s3://bucket/key, found {quote(place)}", code="bad_place")
    bucket, _, key = place[len(S3) :].partition("/")
    if not bucket:
        raise ConfigError(f"there is no bucket in {quote(place)}", code="bad_place")
    return bucket, key.lstrip("/")


def local_path(place: str) -> Path:
    """The path of a place on this machine.

    Raises:
        ConfigError: ``bad_place`` for any other.
    """
    if place.lower().startswith(FILE):
        parts = urlsplit(place)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(f"expected file:///path, found {quote(place)}", code="bad_place")
        # A '#' or '?' in a file's name is part of it.
        return Path(unquote(place[len(FILE) + len(parts.netloc) :]))
    if "://" in place:
        raise ConfigError(f"expected s3://, file:// or a path, found {quote(place)}", code="bad_place")
    return Path(place).expanduser()


def join(*parts: str | None) -> str:
    """Parts of a place with one ``/`` between them; empty ones are left out."""
    head, *others = [part for part in parts if part] or [""]
    if others and not head.endswith("://"):
        head = head.rstrip("/") + "/"
    return head + "/".join(part.strip("/") for part in others)


def relative_key(prefix: str, key: str) -> str:
    """What is left of a key below an S3 prefix; of one that merely begins with it, from the prefix's last ``/`` on.

    >>> relative_key("a/in", "a/in/x/1.csv"), relative_key("a/in/1", "a/in/10.csv"), relative_key("a/1.csv", "a/1.csv")
    ('x/1.csv', '10.csv', '1.csv')
    """
    rest = key[len(prefix) :]
    if rest and (not prefix or prefix.endswith("/") or rest.startswith("/")):
        return rest.lstrip("/")
    return key[prefix.rfind("/") + 1 :]
