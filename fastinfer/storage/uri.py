"""URIs of objects and folders: ``s3://bucket/key``, ``file:///path`` or a plain path. Pure functions of the text."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Callable
from urllib.parse import unquote_to_bytes

from ..errors import ConfigError, quote

S3 = "s3://"
FILE = "file://"

# A place with one of them is a glob, unless something has that name.
GLOB_SIGNS = "*?["

# The bucket of local sessions. S3 forbids underscores in names, so no bucket on AWS can have this one.
LOCAL_BUCKET = "sagemaker_local"


# Also those of fsspec's chains, `simplecache::smb://…`: they are refused by name, and never a folder of that name.
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*://")
# What object_store changes or refuses in a path.
_NO_PATH = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|$)")


def is_url(place: str) -> bool:
    """Whether a place is a URL, and not a path of this machine; ``file://`` URLs are paths."""
    return _SCHEME.match(place) is not None and not place.lower().startswith(FILE)


def absolute(place: str) -> str:
    """A place's name that does not depend on the working folder: a path made absolute, a URL as it is."""
    return place if is_url(place) else os.path.abspath(place)


def from_here(place: str) -> str:
    """A place that stays the same when the working folder changes. Unlike :func:`absolute` it keeps each part as it is: a
    name in front of ``..`` may be a link, and a slash at the end is asked for.

    A glob stays as it is below a folder whose own name has a glob's signs: they would be read as such, and change the keys.
    """
    here = "" if os.path.isabs(place) or _SCHEME.match(place) else os.getcwd()
    if any(sign in here for sign in GLOB_SIGNS) and any(sign in place for sign in GLOB_SIGNS):
        return place
    return os.path.join(here, place)


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8, as names and URIs are: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_s3(uri: str) -> bool:
    """Whether a URI is one of S3."""
    return uri.lower().startswith(S3)


def is_path(key: str) -> bool:
    """Whether obstore can name an object of this key: its segments are neither empty nor dots, without control characters."""
    # Nearly all keys are shown to be by a few steps; the expression takes one for each character.
    if key.isprintable() and "//" not in key and "/." not in key and key[:1] not in {"", "/", "."} and key[-1] != "/":
        return True
    return _NO_PATH.search(key) is None


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


def split_exactly(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI whose key may begin with a slash: everything behind the bucket's slash is the key."""
    bucket, _, key = uri[len(S3) :].partition("/")
    return bucket, key


def local_path(uri: str) -> Path:
    """The path that a plain path or a ``file://`` URI names.

    Raises:
        ConfigError: ``bad_place`` for any other URI.
    """
    if uri.lower().startswith(FILE):
        host, slash, path = uri[len(FILE) :].partition("/")
        try:
            # A name may be any bytes but NUL. '#' and '?' are ordinary characters of it.
            name = unquote_to_bytes(os.fsencode(path))
        except UnicodeEncodeError:
            name = b"\0"
        if host not in ("", "localhost") or b"\0" in name:
            raise ConfigError(f"expected file:///path, found {quote(uri)}", code="bad_place")
        return Path(slash + os.fsdecode(name))
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


def key_below(prefix: str, key: str) -> str:
    """A key relative to an S3 prefix, as :func:`relative_key`, but exactly: different keys stay different.

    >>> key_below("in/", "in//1.csv"), key_below("in", "in/1.csv"), key_below("in/1", "in/10.csv"), key_below("x", "x")
    ('/1.csv', '1.csv', '10.csv', 'x')
    """
    rest = key[len(prefix) :]
    if rest and (not prefix or prefix.endswith("/")):
        return rest
    return rest[1:] if rest.startswith("/") else key[prefix.rfind("/") + 1 :]


def matches_glob(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a key matches a glob: ``*``, ``?`` and ``[...]`` match within a name, ``**/`` any folders.

    >>> [key for key in ("a/x.csv", "a/b/x.csv", "a/x.txt") if matches_glob("a/*.csv")(key)]
    ['a/x.csv']
    >>> [key for key in ("a/x.csv", "a/b/x.csv", "a/x.txt") if matches_glob("a/**/*.csv")(key)]
    ['a/x.csv', 'a/b/x.csv']
    """
    parts = []
    for name in pattern.split("/"):
        parts.append(None if name == "**" else re.compile(fnmatch.translate(name)))

    def matches(key: str) -> bool:
        return _matches(parts, key.split("/"))

    return matches


def _matches(parts: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] is None:
        return any(_matches(parts[1:], names[start:]) for start in range(len(names) + 1))
    return bool(names) and parts[0].match(names[0]) is not None and _matches(parts[1:], names[1:])
