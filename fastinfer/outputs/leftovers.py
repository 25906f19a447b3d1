"""What killed workers and ended runs leave behind: temporary files, and results of spans that nothing needs any more."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..storage.local import LocalStore
from .layout import OUTPUT_SUFFIX, OutputLayout, is_span, is_temporary


class Leftovers:
    """The leftovers below a run's folder.

    Args:
        layout: of the folder.
        store: where it is.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore) -> None:
        self._layout = layout
        self._store = store
        self._swept: dict[str, bool] = {}  # folders that were swept, and whether results are in them
        self._span_folders: set[str] = set()

    def sweep_once(self, folder: str, *, remove: bool) -> bool:
        """Whether a folder, named below the root, holds results. The first call for it removes what a killed run has left
        half written, if `remove` says so: it must come before this run writes there."""
        if folder not in self._swept:
            self._swept[folder] = self._sweep(folder, remove=remove)
        return self._swept[folder]

    def expect_spans(self, folder: str) -> None:
        """Takes note of a folder in which results of spans are written."""
        self._span_folders.add(folder)

    def sweep_again(self) -> None:
        """Removes what workers that died have left. Call only when no worker is running."""
        for folder in self._swept:
            self._sweep(folder, remove=True)

    def clear(self, *, everywhere: bool) -> None:
        """Removes what is left half done, once a run is done.

        Args:
            everywhere: also where no input is any more, for a run that went on with another's results.
        """
        folders: Iterable[str] = self._store.folders(self._layout.root) if everywhere else self._span_folders
        for folder in folders:
            for name in self._store.names(folder):
                if is_span(name) or is_temporary(name):
                    self._store.remove(f"{folder}/{name}")

    def _sweep(self, folder: str, *, remove: bool) -> bool:
        path = os.path.join(self._layout.root, folder)
        found = False
        for name in self._store.names(path):
            if remove and is_temporary(name):
                self._store.remove(f"{path}/{name}")
            elif is_span(name):
                self._span_folders.add(path)
            found = found or name.endswith(OUTPUT_SUFFIX)
        return found
