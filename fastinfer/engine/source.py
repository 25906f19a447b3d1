"""The objects that a source names, and the source's name in the record of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from ..outputs.layout import OUTPUT_SUFFIX, RUN_RECORD
from ..storage.base import Object, Source
from ..storage.listing import BEGINNING
from ..storage.places import plain_place, read_small, source_of
from ..storage.selection import HIDDEN, OnPassedOver, Selection
from ..storage.uri import GLOB_SIGNS, absolute, is_url
from .request import MANIFEST, TransformRequest

if TYPE_CHECKING:
    from ..storage import manifest


class Listing:
    """The objects of a run, in the order of their keys; may be gone through once.

    A folder or a prefix means every object below it but hidden ones: those with a name, or in a folder, that begins with
    ``.`` or ``_``. A file that is named itself is taken whatever its name. What the run writes is no object of it.

    Args:
        source: a folder, a file or a glob, or a prefix of keys on S3; with ``data_type`` ``ManifestFile`` a list of objects.
        request: what is asked for.
        output: the folder of the results; None: it is elsewhere.
        store: where the objects are; None: where the source's URL says, or on this machine.
        on_passed_over: called with the key of each object, or folder, that is passed over, and why.
        only: the keys of the objects that are meant; None: all. The others are not counted as passed over.

    Raises:
        InputError: ``input_missing``, ``cannot_read``, ``bad_manifest``, when it is gone through.
    """

    def __init__(
        self,
        source: str,
        request: TransformRequest | None = None,
        *,
        output: str | None = None,
        store: Source | None = None,
        on_passed_over: OnPassedOver = None,
        only: Collection[str] | None = None,
    ) -> None:
        request = request or TransformRequest()
        source = plain_place(source)
        self._source = source
        self._is_glob = not os.path.lexists(source) and any(sign in source for sign in GLOB_SIGNS)
        # Keys are below the folder in which a pattern's first sign is.
        self._root = re.split(r"[^/]*[*?[]", source)[0] if self._is_glob else source
        self._store = store or source_of(source)
        self._only = only
        self._is_manifest = request.data_type == MANIFEST
        apart, suffix = _results_below(source, output)
        # On S3 a look at each folder would cost as much as reading an object: see _without_results().
        is_results = None if is_url(source) else self._is_results
        self._selection = Selection(request.include, request.exclude, apart, suffix, is_results, on_passed_over)

    @property
    def passed_over(self) -> int:
        """How many objects were passed over so far; a folder that was not entered counts as one."""
        return self._selection.passed_over

    def _is_results(self, key: str) -> bool:
        return self._store.exists(os.path.join(self._root, key, RUN_RECORD))

    @property
    def means_nothing(self) -> bool:
        """Whether there is no key among those that are meant."""
        return self._only is not None and not self._only

    def __iter__(self) -> Iterator[Object]:
        only = self._only
        return self._every() if only is None else (item for item in self._every() if item.key in only)

    def _every(self) -> Iterator[Object]:
        source, selection = self._source, self._selection
        if self._is_manifest:
            return filter(lambda item: selection.select_listed(item.key), read_manifest(source))
        objects = self._store.list_objects(source, selection.select, selection.enter)
        if self._is_glob and not is_url(source):
            # A pattern that begins like a hidden name asks for those; the folder that it is below may be hidden itself.
            asks = any(
                part.startswith(HIDDEN) for part in source[len(self._root) :].split("/") if part not in (".", "..")
            )
            select = selection.select_listed if asks else selection.select_matched
            objects = (item for item in objects if select(item.key))
        elif not is_url(source):
            return objects
        # And one that ends like a result asks for results.
        return objects if self._is_glob and source.endswith(OUTPUT_SUFFIX) else self._without_results(objects)

    def _without_results(self, objects: Iterator[Object]) -> Iterator[Object]:
        """The objects that are not results of a run; a folder is looked at if one of its objects is named like a result."""
        known: dict[str, bool] = {}
        for item in objects:
            if item.key.endswith(OUTPUT_SUFFIX) and self._is_below_results(item, known):
                self._selection.pass_over(item.key, "a result")
            else:
                yield item

    def _is_below_results(self, item: Object, known: dict[str, bool]) -> bool:
        key = item.key
        # Whether a URL with a glob's signs is one, or is a prefix, the listing has found out.
        root = item.uri[: len(item.uri) - len(key)] if is_url(item.uri) else self._root
        while "/" in key or (key and self._is_glob):
            key = key.rpartition("/")[0]
            if key not in known:
                known[key] = self._store.exists(os.path.join(root, key, RUN_RECORD))
            if known[key]:
                return True
        return False


def read_entries(place: str) -> list[manifest.Entry]:
    """The names of the objects in a manifest; raises as :func:`read_manifest`."""
    from ..storage import manifest  # late: most sources are no manifests

    return manifest.parse_manifest(read_small(place, manifest.MOST_BYTES), absolute(plain_place(place)))


def read_manifest(place: str) -> Iterator[Object]:
    """The objects that a manifest names, in the order of their keys.

    Args:
        place: a path or a URL. What it names may be elsewhere, but all in one store.

    Raises:
        InputError: ``bad_manifest``, ``input_missing``, ``cannot_read``. A problem with an object is kept with it.
        ServiceError: S3 refused, or was not reached.
    """
    entries = read_entries(place)
    stores = {entry.uri.partition("://")[0].lower() if is_url(entry.uri) else "" for entry in entries}
    if len(stores) > 1:
        raise InputError("it names files and URLs of several kinds", code="bad_manifest", path=place)
    return source_of(entries[0].uri).examine([entry.uri for entry in entries], [entry.key for entry in entries])


def find_objects(source: str, store: Source | None = None) -> Iterator[Object]:
    """The objects that `source` names, without patterns; see :class:`Listing`."""
    return iter(Listing(source, store=store))


def as_prefix(source: str) -> str:
    """The source of a job, whose S3Uri names every key that begins with it: ``in/part-0`` means ``in/part-00001.csv`` as well.

    A path of this machine that exists, a folder or a file, is meant by itself.
    """
    place = plain_place(source)
    if is_url(place) or os.path.lexists(place) or place.endswith("/") or any(sign in place for sign in GLOB_SIGNS):
        return source
    import glob  # late: most sources are folders

    pattern = f"{glob.escape(place)}{BEGINNING}"
    return pattern if glob.glob(pattern) else source


def name_source(source: str) -> str:
    """The name of a source in the record of a run: it does not depend on the working folder."""
    return absolute(plain_place(source))


def no_objects(source: str, passed_over: int) -> InputError:
    """The error of a source without an object."""
    found = f"; {passed_over:,} passed over" if passed_over else ""
    return InputError(f"no object found{found}", code="input_missing", path=source)


def _results_below(source: str, output: str | None) -> tuple[str | None, str]:
    """The key of the folder of results if it is below the source; the ending of results if they are beside the objects."""
    if output is None or is_url(source) is not is_url(output):
        return None, ""
    if is_url(source):
        above, below = source, output.rstrip("/")
        above = above if above.endswith("/") else above[: above.rfind("/")]  # a prefix may end within a name
        above = above.rstrip("/")
    elif os.path.isdir(source):
        above, below = os.path.realpath(source), os.path.realpath(output)
    else:
        return None, ""
    if above == below:
        return None, OUTPUT_SUFFIX
    inside = below.startswith(os.path.join(above, ""))
    return (os.path.relpath(below, above) if inside else None), ""
