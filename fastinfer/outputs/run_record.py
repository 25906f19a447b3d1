"""``_run.json``: what the results in a folder depend on, and whether a run may continue with those of an earlier one."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Callable, NamedTuple

from ..errors import ConfigError, FastinferError, escape, quote
from ..storage.atomic import TEMPORARY_PREFIX
from ..storage.base import RunStore
from ..storage.claim import MOST_BYTES, Claim
from .label import new_run
from .layout import OUTPUT_SUFFIX, RUN_RECORD, OutputLayout, run_of

HINT = "name another folder, or pass overwrite=True"
_RUN_ID = re.compile(r"[0-9a-f]{16}")
# So many differences are named.
MOST_SHOWN = 8
# Values that say nothing to a reader.
IN_WORDS = {
    "model": "the model was another one",
    "cpu_features": "the CPU had other instruction sets",
}


class _Kept(NamedTuple):
    """The record of an earlier run."""

    run: str
    replaced: list[str]
    depends_on: dict[str, Any]


class RunRecord:
    """The record of a run's folder.

    Args:
        layout: of the folder.
        store: where it is.

    Attributes:
        is_first: whether there is no record in the folder.
        resumes: whether the run continues with the results in the folder.
        run: the run's id; of the earlier run if it continues that one.
        replaced: ids of earlier runs whose unfinished files may be in the folder.
    """

    def __init__(self, layout: OutputLayout, store: RunStore) -> None:
        self._layout = layout
        self._store = store
        self.is_first = self.resumes = False
        self.run = new_run()
        self._start = ""
        self.replaced: list[str] = []

    def compare(self, depends_on: Callable[[], dict[str, Any]], *, overwrite: bool, partial: bool = False) -> None:
        """Finds out whether the run can continue with the results in the folder; writes nothing.

        Args:
            depends_on: gives what the run's bytes depend on; called only where the folder has a record, because a digest of
                the model is in it.
            overwrite: whether every result is replaced.
            partial: whether only the keys that it gives are compared.

        Raises:
            ConfigError: ``other_run``.
        """
        self.is_first = self.resumes = False
        self._start = os.urandom(16).hex()
        root = self._layout.root
        try:
            kept = self._read()
        except FastinferError:
            if not overwrite:
                raise
            # It cannot be said which runs these are; their names tell for this folder.
            self.replaced = self._hidden_runs()
            return
        if kept is None:
            foreign = self._foreign_result()
            if foreign is None or overwrite:
                self.is_first = True
                return
            raise ConfigError(
                f"the folder holds {quote(foreign)} but no {RUN_RECORD} that says where it came from",
                code="other_run",
                path=root,
                hint=HINT,
            )
        differing = differences(kept.depends_on, depends_on(), partial=partial)
        if overwrite or differing:
            if differing and not overwrite and self._holds_results():
                message = f"the outputs there are of another run: {'; '.join(differing)}"
                raise ConfigError(message, code="other_run", path=root, hint=HINT)
            self.replaced = [kept.run, *kept.replaced]
            return
        self.resumes, self.run, self.replaced = True, kept.run, kept.replaced

    def write(self, store: RunStore, record: dict[str, Any]) -> None:
        """Replaces the folder's record.

        Args:
            store: of the run.
            record: what the results depend on, and more.

        Raises:
            ConfigError: ``output_in_use``.
            OutputError: it cannot be written.
        """
        ours = {"run": self.run, "start": self._start, "replaced": self.replaced}
        content = json.dumps({**ours, **record}, indent=2) + "\n"
        store.replace(self._layout.record, [content.encode()], is_new=self.is_first)
        self.is_first = False

    def claim(self) -> Claim:
        """By which writers know the record that :meth:`write` wrote."""
        return Claim(self._store, self._layout.record, self._start)

    def _read(self) -> _Kept | None:
        """The record in the folder; None if there is none.

        Raises:
            ConfigError: ``other_run`` if it is not the record of a run.
            OutputError: it cannot be read.
        """
        content = self._store.read_small(self._layout.record, MOST_BYTES)
        if content is None:
            return None
        try:
            kept = json.loads(content)
            repr(kept)  # what is nested too deeply to be shown is no record
            return _Kept(_run_id(kept["run"]), [_run_id(each) for each in kept["replaced"]], dict(kept["depends_on"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            message = "is not the record of a run"
            raise ConfigError(message, code="other_run", path=self._layout.record, hint=HINT) from error

    def _hidden_runs(self) -> list[str]:
        found = {run_of(name) for name in self._store.hidden_names(self._layout.root)}
        return sorted(run for run in found if run is not None)

    def _foreign_result(self) -> str | None:
        names = self._store.names(self._layout.root)
        return min((name for name in names if name.endswith(OUTPUT_SUFFIX)), default=None)

    def _holds_results(self) -> bool:
        return any(
            name.endswith(OUTPUT_SUFFIX) or name.startswith(TEMPORARY_PREFIX)
            for _, names in self._store.walk(self._layout.root)
            for name in names
        )


def _run_id(value: object) -> str:
    if not isinstance(value, str) or _RUN_ID.fullmatch(value) is None:
        raise ValueError("is not the id of a run")
    return value


def differences(earlier: dict[str, Any], now: dict[str, Any], *, partial: bool = False) -> list[str]:
    """What results depended on, and depend on now, in words; `partial`: only of what `now` names."""
    names = [name for name in (now if partial else {**now, **earlier}) if earlier.get(name) != now.get(name)]
    if len(names) > 1 and "batch_size" in names:
        names.remove("batch_size")  # it is chosen, and follows from the others
    texts = [
        IN_WORDS.get(name) or f"{escape(name)} was {_shown(earlier.get(name))}, is {_shown(now.get(name))}"
        for name in names
    ]
    return texts if len(texts) <= MOST_SHOWN else [*texts[:MOST_SHOWN], f"{len(texts) - MOST_SHOWN:,} more"]


def _shown(value: object) -> str:
    text = quote(value) if isinstance(value, str) else escape(repr(value))
    return str(text)
