"""``_rejects.jsonl``: rejected records and whole inputs, with place and reason."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..records.spans import Span
from ..storage.base import Object, Store
from ..storage.local import LocalStore
from .layout import OutputLayout


class Reject(NamedTuple):
    """A rejected record, or a rejected whole input if ``line`` is None.

    Attributes:
        path: the input.
        key: the input's path below the source.
        line, column: 1-based place; None for a whole input.
        code, message: what is wrong.
        record: the line itself, bytes that are not UTF-8 as lone surrogates; None for a whole input.
        modified_ns: the input's version.
        part: for a record in a span of a large input, the span's first byte and the byte after its last.
    """

    path: str
    key: str
    line: int | None
    column: int | None
    code: str
    message: str
    record: str | None
    modified_ns: int
    part: tuple[int, int] | None

    @classmethod
    def of(cls, span: Span, error: InputError, record: bytes | None) -> Reject:
        """The reject of a record of a span, or of the whole span if `record` is None."""
        item = span.item
        text = None if record is None else record.decode("utf-8", "surrogateescape")
        line = None if record is None else error.line
        # An absolute path: a later run may be started in another folder.
        path, bounds = os.path.abspath(item.uri), None if span.is_whole else (span.start, span.stop)
        return cls(path, item.key, line, error.column, error.code, error.message, text, int(item.version), bounds)


class Rejects:
    """The rejects of a run's folder; workers of all processes append to one file.

    Args:
        layout: of the folder.
        store: where it is.
        inputs: where the objects are.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore, inputs: Store | None = None) -> None:
        self._uri = layout.rejects
        self._store = store
        self._inputs = inputs or store

    def append(self, rejects: Sequence[Reject]) -> None:
        """Adds rejects. Raises OutputError."""
        lines = "".join(json.dumps(reject._asdict()) + "\n" for reject in rejects)
        self._store.append(self._uri, lines.encode())

    def keep(self, is_finished: Callable[[Object, Span | None], bool] | None) -> int:
        """Keeps those of an earlier run's rejects whose results, or spans, are finished; returns how many.

        The other inputs are transformed again, and their bad records are rejected again.

        Args:
            is_finished: whether the result of an object, or of a span of it, is finished; None: none is.
        """
        kept: dict[bytes, None] = {}
        if is_finished is not None:
            for line in self._store.read_lines(self._uri):
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, OSError):
                    reject = Reject(**json.loads(line))
                    if self._is_of_finished(reject, is_finished):
                        kept[line] = None
        self._replace(kept)
        return len(kept)

    def deduplicate(self) -> None:
        """Removes duplicate rejects of retried shards. Call only when no worker is running."""
        lines = dict.fromkeys(self._store.read_lines(self._uri))
        if lines:
            self._replace(lines)

    def _is_of_finished(self, reject: Reject, is_finished: Callable[[Object, Span | None], bool]) -> bool:
        """Whether the result without the rejected record is finished, and its input has not changed."""
        if reject.line is None or self._inputs.version(reject.path) != reject.modified_ns:
            return False
        item = Object(reject.path, reject.key, 0, reject.modified_ns)
        return is_finished(item, None) or (
            reject.part is not None and is_finished(item, Span(item, *reject.part, columns=0))
        )

    def _replace(self, lines: dict[bytes, None]) -> None:
        if lines:
            self._store.replace(self._uri, b"".join(lines))
        else:
            self._store.remove(self._uri, may_stay=False)
