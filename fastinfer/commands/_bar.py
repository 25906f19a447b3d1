"""The bar of a run on a terminal."""

from __future__ import annotations

import sys
import threading

from ..engine.progress import Progress
from ..errors import counted


class Bar(Progress):
    """A bar on a terminal: what the start is doing, then how many bytes and records are done. Nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._records = 0
        self._lock = threading.Lock()  # workers call at the same time

    def __enter__(self) -> Bar:
        if self._shown:
            from tqdm import tqdm

            self._bar = tqdm(total=0, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        return self

    def starting(self, what: str) -> None:
        if self._shown:
            self._bar.set_description_str(what)  # shows it at once

    def found(self, size: int) -> None:
        if self._shown:
            with self._lock:
                self._bar.total += size

    def advance(self, records: int, size: int) -> None:
        if self._shown:
            with self._lock:
                if not self._records:
                    self._bar.set_description_str(None, refresh=False)
                self._records += records
                self._bar.set_postfix_str(counted(self._records, "record"), refresh=False)
                self._bar.update(size)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.close()
