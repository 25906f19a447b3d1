"""The folder of a run's results: locked by one run at a time, which finds the finished results of earlier runs.

``_run.json`` shows whether the results are of the same model and options; a result's label shows of which run and of
which version of its object it is.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable

from ..errors import ConfigError, InputError
from ..storage.base import Object, RunStore
from ..storage.claim import Claim
from ..storage.places import store_of
from .label import Label
from .layout import LABEL_JOURNAL, LABELS, OUTPUT_SUFFIX, RESERVED, OutputLayout
from .leftovers import Leftovers
from .rejects import Rejects
from .run_record import HINT, RunRecord

if TYPE_CHECKING:
    from ..records.spans import Span  # a dry run has none


class OutputFolder:
    """The folder of one run's results.

    Args:
        root: the folder; created when the run is opened.
        store: writes the results.

    Attributes:
        layout: names in the folder.
        store: where it is.
        rejects: what was rejected.
        claim: of the run that is open; None before that.
        rejected: how many records earlier runs rejected that are not transformed again.
    """

    def __init__(self, root: str, store: RunStore | None = None) -> None:
        self.layout = OutputLayout(root)
        self.store = store or store_of(root)
        self.rejected = 0
        self._record = RunRecord(self.layout, self.store)
        self.claim: Claim | None = None
        self._is_held = False
        self._overwrites = False
        self._take_run()

    @contextlib.contextmanager
    def open_run(self, record: dict[str, Any], *, overwrite: bool, is_outlived: bool = False) -> Iterator[OutputFolder]:
        """Locks the folder for one run: no other run may write there at the same time.

        Args:
            record: what the bytes of the results depend on, as ``depends_on``; kept in ``_run.json``.
            overwrite: whether every result is replaced, also if the folder holds another run's.
            is_outlived: whether workers may outlive the run.

        Raises:
            ConfigError: ``output_in_use``, or ``other_run`` if the results in the folder depend on other values.
            OutputError: the folder cannot be created or written.
        """
        with self.store.lock(self.layout.root):
            self._is_held, self._overwrites = True, overwrite
            self._record.compare(lambda: record["depends_on"], overwrite=overwrite)
            self._take_run()
            if not overwrite:
                self.store = self.store.for_new_results(is_first=self._record.is_first)
            self._record.write(self.store, record)
            self.claim = self._record.claim()
            self.store = self.store.claimed(self.claim, is_outlived=is_outlived)
            self.rejects = Rejects(self.layout, self.store)
            self.store.begin_labels(self.layout.record)
            self.rejected = self.rejects.begin(self._record.replaced)
            if self._has_earlier_runs:
                self._leftovers.remove_uploads()
            self._leftovers.sweep_once("", remove=True)
            yield self

    def inspect(self, depends_on: Callable[[], dict[str, Any]], *, overwrite: bool) -> None:
        """Prepares :meth:`is_finished` for a dry run. Nothing is written or removed.

        Args:
            depends_on: gives what the bytes depend on, as far as it is known; called only where there was a run before.
            overwrite: as for a run.

        Raises:
            ConfigError: ``other_run``, as a run would.
        """
        self._overwrites = overwrite
        self._record.compare(depends_on, overwrite=overwrite, partial=True)
        self._take_run()
        self.store.begin_labels(self.layout.record, read_only=True)
        self.rejects.begin(read_only=True)

    def write_record(self, record: dict[str, Any]) -> None:
        """Replaces the run's ``_run.json`` by ``record``. Raises OutputError."""
        self._record.write(self.store, record)

    def name_problem(self, item: Object) -> InputError | None:
        """What is wrong with an object whose result would be in a folder with the name of one of the run's own files."""
        top, slash, _ = item.key.partition("/")
        if not slash or top not in RESERVED:
            return None
        message = f"its output would be in a folder with the name of the run's own {top}"
        return InputError(message, code="output_name", path=item.uri)

    def expect(self, objects: Iterable[Object]) -> Iterator[Object]:
        """The same objects, for which :meth:`finished` is asked next: a store far away gets their labels ahead."""
        ahead = self.store.labels_ahead
        if not ahead or not self._record.resumes:
            yield from objects
            return
        stream = iter(objects)
        while group := list(itertools.islice(stream, ahead)):
            uris = (self.layout.result(item) for item in group)
            self.store.expect_labels([uri for uri in uris if self._leftovers.may_exist(uri)])
            yield from group

    def is_finished(self, item: Object) -> bool:
        """Whether the object's result exists, with all its rejects, and the object has not changed since; raises the same."""
        return self.finished(item) is not None

    def finished(self, item: Object) -> int | None:
        """How many records an earlier run rejected of an object; None if its result is not finished.

        Raises:
            ConfigError: ``other_run`` if a result there is of another run or of unknown origin, which may not be overwritten.
        """
        folder = item.key.rpartition("/")[0]
        holds_results = self._leftovers.sweep_once(folder, remove=self._is_held)
        if not holds_results or not self._leftovers.may_exist(self.layout.result(item)):
            return None
        if not self._overwrites and folder in self._leftovers.other_runs:
            raise self._other_run(folder, "the outputs there are of another run")
        if not self._record.resumes:
            if not self._overwrites and self.store.exists(self.layout.result(item)):
                raise self._other_run(f"{item.key}{OUTPUT_SUFFIX}", "it is not of this run")
            return None
        label = self._label(self.layout.result(item), item)
        return label.rejected if label is not None and self.rejects.has_all(item, label) else None

    def is_current(self, item: Object) -> bool | None:
        """Whether the object's result was made of the object as it is now; None where nothing says of what it was made."""
        label = Label.unpack(self.store.label(self.layout.result(item)))
        return None if label is None or not item.version else label.version == item.version

    def finished_span(self, span: Span) -> int | None:
        """How many records an earlier run rejected in a span; None if the span is not finished."""
        uri = self.layout.span(span)
        self._leftovers.expect_spans(uri.rpartition("/")[0])
        label = self._label(uri, span.item) if self._record.resumes else None
        return label.rejected if label is not None and self.rejects.has_all(span.item, label, span) else None

    def settle(self, *, has_rejects: bool, written: int | None = None) -> int:
        """Joins what the workers wrote by themselves, when none is running; returns how many rejects there are now.

        Args:
            has_rejects: whether the run rejects records.
            written: how many rejects the workers wrote; None: the run ended early.

        Raises:
            OutputError: a file cannot be read or written, or ``rejects_missing``.
        """
        self.store.settle_labels()
        if has_rejects or self.store.exists(self.layout.rejects):
            return self.rejects.finish(written)
        return 0

    def sweep(self) -> None:
        """Removes unfinished files of dead workers. Call it when no worker is running."""
        self._leftovers.sweep_again()

    def clear_leftovers(self) -> None:
        """Removes unfinished files after a complete run; if earlier runs left some, also in folders without an input."""
        self._leftovers.clear(everywhere=self._has_earlier_runs)
        self._record.replaced = []

    @property
    def _has_earlier_runs(self) -> bool:
        return self._record.resumes or bool(self._record.replaced)

    def _other_run(self, name: str, message: str) -> ConfigError:
        return ConfigError(message, code="other_run", path=self.layout.below(name), hint=HINT)

    def _take_run(self) -> None:
        """Takes the id of the run for all names."""
        run = self._record.run
        root = self.layout.root
        self.layout = OutputLayout(root, run)
        self.store = self.store.for_run(root, self.layout.hidden(""), LABELS, self.layout.hidden(LABEL_JOURNAL))
        self.rejects = Rejects(self.layout, self.store)
        self._leftovers = Leftovers(self.layout, self.store, self._record.replaced)

    def _label(self, uri: str, item: Object) -> Label | None:
        """The label of a result of this run and of the current version of its object; None if it is of another."""
        label = Label.unpack(self.store.label(uri))
        if label is None or not item.version:
            return None
        return label if (label.run.hex(), label.version) == (self.layout.run, item.version) else None
