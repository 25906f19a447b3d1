"""The folder of a run's results: locked by one run at a time, which finds the finished results of earlier runs.

``_run.json`` shows whether the results are of the same model and options; a result's times show whether its object has changed
since.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ..records.spans import Span
from ..storage.base import Object, Store
from ..storage.local import LocalStore
from .layout import OutputLayout
from .leftovers import Leftovers
from .rejects import Rejects
from .run_record import RunRecord


class OutputFolder:
    """The folder of one run's results.

    Args:
        root: the folder; created when the run is opened.
        store: writes the results.
        inputs: where the objects are; None: in the same store.

    Attributes:
        layout: names in the folder.
        store: where it is.
        rejects: what was rejected.
        rejected: how many records earlier runs rejected that are not transformed again.
    """

    def __init__(self, root: str, store: LocalStore | None = None, inputs: Store | None = None) -> None:
        self.layout = OutputLayout(root)
        self.store = store or LocalStore()
        self.rejects = Rejects(self.layout, self.store, inputs)
        self.rejected = 0
        self._record = RunRecord(self.layout, self.store)
        self._leftovers = Leftovers(self.layout, self.store)
        self._is_held = False

    @contextlib.contextmanager
    def open_run(self, record: dict[str, Any], *, overwrite: bool) -> Iterator[OutputFolder]:
        """Locks the folder for one run: no other run may write there at the same time.

        Args:
            record: what the bytes of the results depend on, as ``depends_on``; kept in ``_run.json``.
            overwrite: whether every result is replaced, also if the folder holds another run's.

        Raises:
            ConfigError: ``output_in_use``, or ``other_run`` if the results in the folder depend on other values.
            OutputError: the folder cannot be created or written.
        """
        with self.store.lock(self.layout.root):
            self._is_held = True
            self._record.begin(record, overwrite=overwrite)
            self.rejected = self.rejects.keep(self._is_current if self._record.resumes else None)
            yield self

    def inspect(self, depends_on: dict[str, Any], *, overwrite: bool) -> None:
        """Prepares :meth:`is_finished` for a dry run. Nothing is written or removed.

        Args:
            depends_on: what the bytes depend on, as far as it is known.
            overwrite: as for a run.

        Raises:
            ConfigError: ``other_run``, as a run would.
        """
        self._record.compare(depends_on, overwrite=overwrite, partial=True)

    def write_record(self, record: dict[str, Any]) -> None:
        """Replaces the run's ``_run.json`` by ``record``. Raises OutputError."""
        self._record.write(record)

    def is_finished(self, item: Object) -> bool:
        """Whether the object's result exists and the object has not changed since."""
        holds_results = self._leftovers.sweep_once(item.key.rpartition("/")[0], remove=self._is_held)
        return holds_results and self._record.resumes and self._is_newest(self.layout.result(item), item)

    def is_finished_span(self, span: Span) -> bool:
        """Whether an earlier run has finished a span."""
        uri = self.layout.span(span)
        self._leftovers.expect_spans(os.path.dirname(uri))
        return self._record.resumes and self._is_newest(uri, span.item)

    def settle(self) -> None:
        """Removes leftovers of dead workers and duplicate rejects of retried shards. Call only when no worker is running."""
        self._leftovers.sweep_again()
        self.rejects.deduplicate()

    def clear_leftovers(self) -> None:
        """Removes unfinished files after a run; after a resumed run also in folders that have no input any more."""
        self._leftovers.clear(everywhere=self._record.resumes)

    def _is_current(self, item: Object, span: Span | None) -> bool:
        return self._is_newest(self.layout.result(item) if span is None else self.layout.span(span), item)

    def _is_newest(self, uri: str, item: Object) -> bool:
        """Whether a result is of the current version of its object, and of this run or the run that this one continues."""
        times = self.store.times(uri)
        return times is not None and times[0] == item.version and times[1] >= self._record.since_ns
