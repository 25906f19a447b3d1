"""What killed workers and earlier runs leave behind: unfinished files, and results of spans that are no longer needed."""

from __future__ import annotations

import os
from collections.abc import Collection

from ..storage.local import LocalStore
from .layout import OUTPUT_SUFFIX, RUN_RECORD, UNFINISHED, OutputLayout, is_of_run


class Leftovers:
    """The leftovers below a run's folder. Those of other runs, which may be in folders below, are not touched.

    Args:
        layout: of the folder.
        store: where it is.
        replaced: the ids of earlier runs in this folder that ended.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore, replaced: Collection[str]) -> None:
        self._layout = layout
        self._store = store
        self._runs = {layout.run, *replaced}
        self._swept: dict[str, bool] = {}  # folders that were swept, and whether results are in them
        self._span_folders: set[str] = set()
        self.other_runs: set[str] = set()  # swept folders that are the root of another run

    def sweep_once(self, folder: str, *, remove: bool) -> bool:
        """Whether a folder (its name below the root) holds results.

        The first call for a folder removes unfinished files of a killed run, if `remove` is true. It must come before this
        run writes there.
        """
        if folder not in self._swept:
            self._swept[folder] = self._sweep(folder, remove=remove)
        return self._swept[folder]

    def expect_spans(self, folder: str) -> None:
        """Adds a folder in which results of spans are written."""
        self._span_folders.add(folder)

    def sweep_again(self) -> None:
        """Removes leftovers of dead workers. Call only when no worker is running."""
        for folder in self._swept:
            self._sweep(folder, remove=True)

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
        path = os.path.join(self._layout.root, folder)
        found = False
        for name in self._store.names(path):
            if folder and name == RUN_RECORD:
                self.other_runs.add(folder)
            if self._layout.is_span(name):
                self._span_folders.add(path)
            elif remove and (self._is_leftover(name) or (not folder and name in UNFINISHED)):
                self._store.remove(os.path.join(path, name))
            found = found or name.endswith(OUTPUT_SUFFIX)
        return found

    def _is_leftover(self, name: str) -> bool:
        # Labels that are not merged yet are not leftovers.
        return is_of_run(name, self._runs) and not self._layout.is_label_journal(name)
