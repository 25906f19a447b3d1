"""Lists of objects: a manifest as Batch Transform takes it, or plain text with a path in each line.

``[{"prefix": "s3://bucket/in/"}, "a.csv", "sub/b.csv"]``: the prefix and a name are joined as they are. Without a prefix, and
in plain text, a name is relative to the folder of the manifest.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from ..errors import InputError, quote
from .places import plain_place
from .uri import is_url, is_utf8

# A larger one would hold more names than a run can list.
MOST_BYTES = 256 << 20


class Entry(NamedTuple):
    """An object that a manifest names: where it is, and its key, after which its result is named."""

    uri: str
    key: str


def parse_manifest(content: bytes, path: str) -> list[Entry]:
    """The objects that a manifest names, in the order of their keys.

    Args:
        content: of the manifest.
        path: where it is; the folder of relative names.

    Raises:
        InputError: ``bad_manifest`` with what is wrong, and the number of the entry or line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(path, "expected UTF-8 text") from error
    prefix, names = _parse_json(text, path) if text.lstrip()[:1] in ("[", "{") else ("", _lines(text))
    if not names:
        raise _bad(path, "it names no object")
    folder = os.path.dirname(path)
    entries: dict[str, Entry] = {}
    for number, name in names:
        if "\0" in prefix + name or not is_utf8(prefix + name):
            raise _bad(path, f"entry {number}: it has a character that no object's name has: {quote(name)}")
        uri = plain_place(prefix + name)
        if not is_url(uri) and not os.path.isabs(uri):
            uri = os.path.join(folder, uri)
        key = _key(name, prefix)
        if not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise _bad(path, f"entry {number}: its result would be outside of the results' folder: {quote(name)}")
        if key in entries:
            raise _bad(path, f"entry {number}: {quote(name)} is named twice")
        entries[key] = Entry(uri, key)
    return sorted(entries.values(), key=lambda entry: entry.key)


def _key(name: str, prefix: str) -> str:
    """The name below the prefix; of a name by itself, without what makes it absolute."""
    if not prefix:
        name = plain_place(name)
        if is_url(name):
            name = name.partition("://")[2].partition("/")[2]
        name = os.path.normpath(name).lstrip("/") if name else name
    elif not prefix.endswith("/"):
        # The prefix ends within a name, which is the object's.
        name = prefix.rpartition("/")[2] + name
    return name.lstrip("/")


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _parse_json(text: str, path: str) -> tuple[str, list[tuple[int, str]]]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"expected a list in JSON, or a name in each line: {error}") from error
    if not isinstance(entries, list):
        hint = "AugmentedManifestFile is refused by Batch Transform as well"
        raise _bad(path, "expected a list, found an object", hint if isinstance(entries, dict) else None)
    prefix = ""
    if entries and isinstance(entries[0], dict):
        first = entries[0]
        if set(first) != {"prefix"} or not isinstance(first["prefix"], str):
            raise _bad(path, f'entry 1: expected {{"prefix": "..."}}, found {quote(json.dumps(first))}')
        prefix = first["prefix"]
    names = []
    for number, entry in enumerate(entries, 1):
        if number == 1 and isinstance(entry, dict):
            continue
        if not isinstance(entry, str):
            raise _bad(path, f"entry {number}: expected a name, found {quote(json.dumps(entry))}")
        names.append((number, entry))
    return prefix, names


def _bad(path: str, message: str, hint: str | None = None) -> InputError:
    return InputError(message, code="bad_manifest", path=path, hint=hint)
