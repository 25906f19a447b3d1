"""``_rejects.jsonl``: rejected records and whole inputs, with place and reason."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..records.spans import Span
from ..storage.atomic import replacing, unwritable
from ..storage.base import Object
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

    def span(self) -> Span:
        """Its span, with only what the result's name and version need."""
        start, stop = self.part or (0, 0)
        return Span(Object(self.path, self.key, 0, self.modified_ns), start, stop, 0)


class Rejects:
    """The rejects of a run's folder; workers of all processes append to one file.

    Args:
        layout: of the folder.
        store: where it is.
    """

    def __init__(self, layout: OutputLayout, store: LocalStore) -> None:
        self._uri = layout.rejects
        self._store = store

    def append(self, rejects: Sequence[Reject]) -> None:
        """Adds rejects. Raises OutputError."""
        lines = "".join(json.dumps(reject._asdict()) + "\n" for reject in rejects)
        self._store.append(self._uri, lines.encode())

    def keep(self, is_finished: Callable[[Span], bool] | None) -> int:
        """Keeps those of an earlier run's rejects whose results, or spans, are finished; returns how many.

        The other inputs are transformed again, and their bad records are rejected again.

        Args:
            is_finished: whether the result of an object or span is finished; None: none is.
        """
        kept: dict[str, None] = {}
        path = Path(self._uri)
        try:
            if is_finished is not None and path.exists():
                with open(path, encoding="utf-8") as file:
                    for line in file:
                        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                            if _is_of_finished(json.loads(line), is_finished):
                                kept[line] = None
        except OSError as error:
            raise unwritable(self._uri, error) from error
        self._replace(kept)
        return len(kept)

    def deduplicate(self) -> None:
        """Removes duplicate rejects of retried shards. Call only when no worker is running."""
        path = Path(self._uri)
        if path.exists():
            self._replace(dict.fromkeys(path.read_text(encoding="utf-8").splitlines(keepends=True)))

    def _replace(self, lines: dict[str, None]) -> None:
        path = Path(self._uri)
        if not lines:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(self._uri, error) from error
            return
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")


def _is_of_finished(fields: dict[str, Any], is_finished: Callable[[Span], bool]) -> bool:
    """Whether the result without the rejected record is finished, and its input has not changed."""
    reject = Reject(**fields)
    if reject.line is None or os.stat(reject.path).st_mtime_ns != reject.modified_ns:
        return False
    span = reject.span()
    return is_finished(Span(span.item, 0, 0, 0)) or (span.stop > 0 and is_finished(span))
