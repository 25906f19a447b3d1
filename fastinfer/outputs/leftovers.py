"""What killed workers and earlier runs leave behind: temporary files, and results of spans that are no longer needed."""

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
        """Removes unfinished files after a run.

        Args:
            everywhere: also in folders that have no input any more, for a run that continued another one.
        """
        folders: Iterable[tuple[str, Iterable[str]]]
        if everywhere:
            folders = self._store.walk(self._layout.root)
        else:
            folders = ((folder, self._store.names(folder)) for folder in self._span_folders)
        for folder, names in folders:
            for name in names:
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
