"""The objects that a source names, and the source's name in the record of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..codecs.csv import is_csv
from ..storage.base import Object, Store
from ..storage.listing import every_name
from ..storage.local import LocalStore


def find_objects(source: str, store: Store | None = None) -> Iterator[Object]:
    """The objects that ``source`` names: all ``.csv`` files below a folder, a file, or a glob.

    Raises:
        InputError: ``input_missing``, ``cannot_read``.
    """
    return (store or LocalStore()).list_objects(source, is_csv, every_name)


def name_source(source: str) -> str:
    """The name of a source in the record of a run: it does not depend on the working folder."""
    return os.path.abspath(source)
