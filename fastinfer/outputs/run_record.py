"""``_run.json``: what the results in a folder depend on, and whether a run may continue with those of an earlier one."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ..errors import ConfigError
from ..storage.local import TEMPORARY_PREFIX, LocalStore
from .label import new_run
from .layout import OUTPUT_SUFFIX, RUN_RECORD, OutputLayout

HINT = "name another folder, or pass overwrite=True"
# A record has one kilobyte or two.
MOST_BYTES = 1 << 20
_RUN_ID = re.compile(r"[0-9a-f]{16}")
# Values that say nothing to a reader.
IN_WORDS = {
    "model": "the model was another one",
    "cpu_features": "the CPU had other instruction sets",
}


class RunRecord:
    """The record of a run's folder.

    Args:
        layout: of the folder.
        store: where it is.

    Attributes:
        resumes: whether the run continues with the results in the folder.
        run: the run's id; of the earlier run if it continues that one.
        replaced: ids of earlier runs whose unfinished files may be in the folder.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore) -> None:
        self._layout = layout
        self._store = store
        self.resumes = False
        self.run = new_run()
        self.replaced: list[str] = []

    def compare(self, depends_on: dict[str, Any], *, overwrite: bool, partial: bool = False) -> None:
        """Finds out whether the run can continue with the results in the folder; writes nothing.

        Args:
            depends_on: what the run's bytes depend on.
            overwrite: whether every result is replaced.
            partial: whether only the keys of `depends_on` are compared.

        Raises:
            ConfigError: ``other_run``.
        """
        self.resumes = False
        root = self._layout.root
        if not os.path.isdir(root):
            return
        content = self._store.read_small(self._layout.record, MOST_BYTES)
        if content is None:
            foreign = self._foreign_result()
            if foreign is None or overwrite:
                return
            raise ConfigError(
                f"the folder holds {foreign} but no {RUN_RECORD} that says where it came from",
                code="other_run",
                path=root,
                hint=HINT,
            )
        try:
            kept = json.loads(content)
            earlier = dict(kept["depends_on"])
            run, replaced = _run_id(kept["run"]), [_run_id(each) for each in kept["replaced"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if overwrite:
                return
            message = "is not the record of a run"
            raise ConfigError(message, code="other_run", path=self._layout.record, hint=HINT) from error
        differing = _differences(earlier, depends_on, partial=partial)
        if overwrite or differing:
            if differing and not overwrite and self._holds_results():
                message = f"the outputs there are of another run: {'; '.join(differing)}"
                raise ConfigError(message, code="other_run", path=root, hint=HINT)
            self.replaced = [run, *replaced]
            return
        self.resumes, self.run, self.replaced = True, run, replaced

    def write(self, record: dict[str, Any]) -> None:
        """Replaces the folder's record. Raises OutputError."""
        content = json.dumps({"run": self.run, "replaced": self.replaced, **record}, indent=2) + "\n"
        self._store.replace(self._layout.record, [content.encode()])

    def _foreign_result(self) -> str | None:
        names = sorted(self._store.names(self._layout.root))
        return next((name for name in names if name.endswith(OUTPUT_SUFFIX)), None)

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


def _differences(earlier: dict[str, Any], now: dict[str, Any], *, partial: bool) -> list[str]:
    names = [name for name in (now if partial else {**now, **earlier}) if earlier.get(name) != now.get(name)]
    if len(names) > 1 and "batch_size" in names:
        names.remove("batch_size")  # it is chosen, and follows from the others
    return [IN_WORDS.get(name) or f"{name} was {earlier.get(name)!r}, is {now.get(name)!r}" for name in names]
