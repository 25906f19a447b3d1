"""Names below the folder of a run's results: of results, of what is half done, of what the run says of itself."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field

from ..records.spans import Span
from ..storage.base import Object
from ..storage.local import TEMPORARY_PREFIX

OUTPUT_SUFFIX = ".out"
RUN_RECORD = "_run.json"
REJECTS = "_rejects.jsonl"
# Hidden names beside the results: what is being written (by process and thread, or by a word for its final name), and the
# finished result of a span. What a run clears away has exactly such a name.
TEMPORARY_NAME = re.compile(r"\.fastinfer-(?:\d+-\d+|[0-9a-f]{16})")
SPAN_PREFIX = ".part-"
SPAN_NAME = re.compile(r"\.part-[0-9a-f]{16}\.\d+-\d+")


@dataclass(frozen=True)
class OutputLayout:
    """Where everything of one run is.

    Attributes:
        root: the folder.
    """

    root: str
    _prefix: str = field(init=False, repr=False)  # made once: every result's name begins with it

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prefix", os.path.join(self.root, ""))

    @property
    def record(self) -> str:
        """The record of the run."""
        return os.path.join(self.root, RUN_RECORD)

    @property
    def rejects(self) -> str:
        """The rejects, a line of JSON each."""
        return os.path.join(self.root, REJECTS)

    def result(self, item: Object) -> str:
        """The result of an object."""
        return f"{self._prefix}{item.key}{OUTPUT_SUFFIX}"

    def span(self, span: Span) -> str:
        """Where the result of a span waits for the others."""
        folder, _, name = self.result(span.item).rpartition("/")
        return f"{folder}/{SPAN_PREFIX}{_word(name)}.{span.start}-{span.stop}"

    def word(self, item: Object) -> str:
        """A word for a result's name within its folder: the name itself may leave no room for more."""
        return _word(self.result(item).rpartition("/")[2])


def is_temporary(name: str) -> bool:
    """Whether a run writes to a file of that name before it is whole."""
    return name.startswith(TEMPORARY_PREFIX) and TEMPORARY_NAME.fullmatch(name) is not None


def is_span(name: str) -> bool:
    """Whether a file of that name is the result of a span."""
    return name.startswith(SPAN_PREFIX) and SPAN_NAME.fullmatch(name) is not None


def _word(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
