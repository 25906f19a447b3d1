"""What a source names: objects for the engine, and a word for the record."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..codecs.csv import is_csv
from ..storage.base import Object, Store
from ..storage.local import LocalStore


def find_objects(source: str, store: Store | None = None) -> Iterator[Object]:
    """The objects that ``source`` names: all ``.csv`` files below a folder, a file, or a glob.

    Raises:
        InputError: ``input_missing``, ``cannot_read``.
    """
    return (store or LocalStore()).list_objects(source, is_csv)


def name_source(source: str) -> str:
    """What a run's record calls its source: the same in whatever folder the program is started."""
    return os.path.abspath(source)
