"""What killed workers and earlier runs leave behind: unfinished files, and results of spans that are no longer needed."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..storage.base import RunStore
from .layout import OUTPUT_SUFFIX, REJECTS, RUN_RECORD, OutputLayout, is_of_run, is_unfinished

if TYPE_CHECKING:
    from array import array


class Leftovers:
    """The leftovers below a run's folder. Those of other runs, which may be in folders below, are not touched.

    Args:
        layout: of the folder.
        store: where it is.
        replaced: the ids of earlier runs in this folder that ended.
    """

    def __init__(self, layout: OutputLayout, store: RunStore, replaced: Collection[str]) -> None:
        self._layout = layout
        self._store = store
        self._runs = {layout.run, *replaced}
        self._swept: dict[str, bool] = {}  # folders that were swept, and whether results are in them
        self._span_folders: set[str] = set()
        self._existing: array[int] | None = None  # hashes of the names of results, sorted, where all are listed at once
        self.other_runs: set[str] = set()  # swept folders that are the root of another run

    def sweep_once(self, folder: str, *, remove: bool) -> bool:
        """Whether a folder (its name below the root) holds results.

        The first call for a folder removes unfinished files of a killed run, if `remove` is true. It must come before this
        run writes there.
        """
        if folder not in self._swept:
            if self._store.lists_trees:
                if self._existing is None:
                    self._sweep_tree(remove=remove)
                self._swept.setdefault(folder, False)
            else:
                self._swept[folder] = self._sweep(folder, remove=remove)
        return self._swept[folder]

    def may_exist(self, uri: str) -> bool:
        """Whether there may be a result of this name, as far as that is known without a look; ask after :meth:`sweep_once`."""
        if not self._store.lists_trees:
            return True
        if self._existing is None:
            self._sweep_tree(remove=False)
        assert self._existing is not None
        from bisect import bisect_left  # late, as array: folders of this machine are not listed at once

        place = bisect_left(self._existing, _hash(uri))
        return place < len(self._existing) and self._existing[place] == _hash(uri)

    def expect_spans(self, folder: str) -> None:
        """Adds a folder in which results of spans are written."""
        self._span_folders.add(folder)

    def sweep_again(self) -> None:
        """Removes leftovers of dead workers. Call only when no worker is running."""
        self.remove_uploads()
        if not self._store.lists_trees:  # there, no temporary file has a name
            for folder in self._swept:
                self._sweep(folder, remove=True)

    def remove_uploads(self) -> None:
        """Removes uploads of results, below the folder, that killed workers did not finish. Call only when none is running."""
        self._store.remove_uploads(self._layout.root, self._is_own_upload)

    def clear(self, *, everywhere: bool) -> None:
        """Removes all hidden files after a complete run.

        Args:
            everywhere: also in folders that have no input any more, for a run that continued or replaced another one.
        """
        if everywhere:
            folders = self._store.walk(self._layout.root)
        else:
            folders = ((folder, list(self._store.names(folder))) for folder in self._span_folders)
        for folder, names in folders:
            for name in names:
                if self._is_leftover(name):
                    self._store.remove(f"{folder}/{name}")

    def _sweep(self, folder: str, *, remove: bool) -> bool:
        path = self._layout.below(folder)
        prefix = path if path.endswith("/") else f"{path}/"
        results = [name for name in self._store.names(path) if self._see(prefix, folder, name, remove=remove)]
        return bool(results)

    def _sweep_tree(self, *, remove: bool) -> None:
        """Sweeps all folders at once."""
        from array import array

        existing = array("q")
        root = self._layout.below("")
        for path, names in self._store.walk(self._layout.root):
            folder = path[len(root) :]
            results = [name for name in names if self._see(f"{path}/", folder, name, remove=remove)]
            self._swept[folder] = self._swept.get(folder, False) or bool(results)
            existing.extend(_hash(f"{path}/{name}") for name in results)
        self._existing = array("q", sorted(existing))

    def _see(self, prefix: str, folder: str, name: str, *, remove: bool) -> bool:
        """Takes a look at one file of a folder, whose names begin with `prefix`; whether it is a result."""
        if folder and name == RUN_RECORD:
            self.other_runs.add(folder)
        if self._layout.is_span(name):
            self._span_folders.add(prefix[:-1])
        elif remove and (self._is_leftover(name) or (not folder and is_unfinished(name))):
            self._store.remove(prefix + name)
        return name.endswith(OUTPUT_SUFFIX)

    def _is_own_upload(self, uri: str) -> bool:
        """Whether an upload is one of this run's: not of a run in a folder below, nor of somebody else."""
        folder, _, name = uri[len(self._layout.below("")) :].rpartition("/")
        while folder:
            if folder in self.other_runs:
                return False
            folder = folder.rpartition("/")[0]
        return name.endswith(OUTPUT_SUFFIX) or name == REJECTS or is_of_run(name, self._runs)

    def _is_leftover(self, name: str) -> bool:
        # Labels that are not merged yet are not leftovers.
        return is_of_run(name, self._runs) and not self._layout.is_label_journal(name)


def _hash(uri: str) -> int:
    # Only asked for in the process that listed the names.
    return hash(uri)
