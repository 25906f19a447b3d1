"""``_run.json``: what the results in a folder depend on, and whether a run may continue with those of an earlier one."""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import ConfigError
from ..storage.local import LocalStore
from .layout import OUTPUT_SUFFIX, RUN_RECORD, OutputLayout, is_span

HINT = "name another folder, or pass overwrite=True"


class RunRecord:
    """The record of a run's folder.

    Args:
        layout: of the folder.
        store: where it is.

    Attributes:
        resumes: whether the run continues with the results in the folder.
        since_ns: results written earlier belong to another run: an overwriting run may have been stopped before it replaced
            them. By the clock of the file system, in nanoseconds.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore) -> None:
        self._layout = layout
        self._store = store
        self.resumes = False
        self.since_ns = 0

    def begin(self, record: dict[str, Any], *, overwrite: bool) -> None:
        """Compares a run with the folder's record, and writes its own.

        Raises:
            ConfigError: ``other_run`` if the results there depend on other values.
            OutputError: the record cannot be read or written.
        """
        self.compare(record["depends_on"], overwrite=overwrite)
        if not self.resumes:
            self.since_ns = self._store.now_ns(self._layout.root)
        self.write(record)

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
        if overwrite or not os.path.isdir(root):
            return
        content = b"".join(self._store.read_lines(self._layout.record))
        if not content:
            names = sorted(self._store.names(root))
            foreign = next((name for name in names if name.endswith(OUTPUT_SUFFIX)), None)
            if foreign is None:
                return
            raise ConfigError(
                f"the folder holds {foreign} but no {RUN_RECORD} that says where it came from",
                code="other_run",
                path=root,
                hint=HINT,
            )
        try:
            kept = json.loads(content)
            earlier, since_ns = dict(kept["depends_on"]), int(kept["since_ns"])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            message = "is not the record of a run"
            raise ConfigError(message, code="other_run", path=self._layout.record, hint=HINT) from error
        differing = [
            f"{key} was {earlier.get(key)!r}, is {depends_on.get(key)!r}"
            for key in (depends_on if partial else {**depends_on, **earlier})
            if earlier.get(key) != depends_on.get(key)
        ]
        if differing:
            if self._holds_results():
                message = f"the outputs there are of another run: {'; '.join(differing)}"
                raise ConfigError(message, code="other_run", path=root, hint=HINT)
            return
        self.resumes, self.since_ns = True, since_ns

    def write(self, record: dict[str, Any]) -> None:
        """Replaces the folder's record. Raises OutputError."""
        content = json.dumps({**record, "since_ns": self.since_ns}, indent=2) + "\n"
        self._store.replace(self._layout.record, content.encode())

    def _holds_results(self) -> bool:
        return any(
            name.endswith(OUTPUT_SUFFIX) or is_span(name)
            for _, names in self._store.walk(self._layout.root)
            for name in names
        )
