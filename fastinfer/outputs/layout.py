"""Names in the folder of a run's results: results, unfinished files, the run's record and rejects."""

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
# Hidden names beside the results: a file that is being written (named by process and thread, or by a digest of its final
# name), and the finished result of a span. A run removes only files with exactly such names.
TEMPORARY_NAME = re.compile(r"\.fastinfer-(?:\d+-\d+|[0-9a-f]{16})")
SPAN_PREFIX = ".part-"
SPAN_NAME = re.compile(r"\.part-[0-9a-f]{16}\.\d+-\d+")


@dataclass(frozen=True)
class OutputLayout:
    """The paths of one run's files.

    Attributes:
        root: the folder.
    """

    root: str
    _prefix: str = field(init=False, repr=False)  # every result's name begins with it

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prefix", os.path.join(self.root, ""))

    @property
    def record(self) -> str:
        """The record of the run."""
        return os.path.join(self.root, RUN_RECORD)

    @property
    def rejects(self) -> str:
        """The rejects, one line of JSON each."""
        return os.path.join(self.root, REJECTS)

    def result(self, item: Object) -> str:
        """The result of an object."""
        return f"{self._prefix}{item.key}{OUTPUT_SUFFIX}"

    def span(self, span: Span) -> str:
        """The result of a span, until all spans are joined."""
        folder, _, name = self.result(span.item).rpartition("/")
        return f"{folder}/{SPAN_PREFIX}{_word(name)}.{span.start}-{span.stop}"

    def word(self, item: Object) -> str:
        """A digest of a result's name in its folder: the name itself may be too long to be extended."""
        return _word(self.result(item).rpartition("/")[2])


def is_temporary(name: str) -> bool:
    """Whether it is the name of an unfinished file."""
    return name.startswith(TEMPORARY_PREFIX) and TEMPORARY_NAME.fullmatch(name) is not None


def is_span(name: str) -> bool:
    """Whether it is the name of a span's result."""
    return name.startswith(SPAN_PREFIX) and SPAN_NAME.fullmatch(name) is not None


def _word(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
