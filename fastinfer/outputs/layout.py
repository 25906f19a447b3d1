"""Names in the folder of a run's results: results, unfinished files, the run's record and rejects."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..storage.atomic import TEMPORARY_PREFIX
from ..storage.base import Object
from ..storage.exclusive import temporary_name

if TYPE_CHECKING:
    from ..records.spans import Span  # a dry run has none

OUTPUT_SUFFIX = ".out"
RUN_RECORD = "_run.json"
REJECTS = "_rejects.jsonl"
LABELS = "_labels.log"
# Written by the holder of the folder's lock alone; where there is no lock, the writer's name follows. Killed runs leave these.
UNFINISHED = tuple(map(temporary_name, (RUN_RECORD, REJECTS, LABELS)))
# Who writes to the folder, where the store has no locks that end with their process.
LEASE = "_run.lock"

# A folder of inputs with one of these names would put its outputs there.
RESERVED = {RUN_RECORD, REJECTS, LABELS, LEASE, *UNFINISHED}

# A hidden file of a run: what is being written, the result of a span, the journal of a writer. A run removes only files
# with its own id, and of runs whose folder it has taken over.
_HIDDEN_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"([0-9a-f]{16})-(.+)", re.DOTALL)
SPAN = "part-"
REJECT_JOURNAL = "rejects-"
LABEL_JOURNAL = "labels-"


@dataclass(frozen=True)
class OutputLayout:
    """The paths of one run's files.

    Attributes:
        root: the folder.
        run: the run's id.
    """

    root: str
    run: str = "0" * 16
    _prefix: str = field(init=False, repr=False)  # every result's name begins with it

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prefix", os.path.join(self.root, ""))

    @property
    def record(self) -> str:
        """The record of the run."""
        return f"{self._prefix}{RUN_RECORD}"

    @property
    def rejects(self) -> str:
        """The rejects, one line of JSON each."""
        return f"{self._prefix}{REJECTS}"

    def below(self, name: str) -> str:
        """The path of a name in the folder; of the folder itself, with a slash, where the name is empty."""
        return f"{self._prefix}{name}"

    def result(self, item: Object) -> str:
        """The result of an object."""
        return self.result_of(item.key)

    def result_of(self, key: str) -> str:
        """The result of the object with this key."""
        return f"{self._prefix}{key}{OUTPUT_SUFFIX}"

    def span(self, span: Span) -> str:
        """The result of a span, until all spans are joined."""
        return self.span_of(span.item.key, span.start, span.stop)

    def span_of(self, key: str, start: int, stop: int) -> str:
        """The result of the span with these bounds."""
        folder, _, name = self.result_of(key).rpartition("/")
        return f"{folder}/{self.hidden(SPAN)}{_word(name)}.{start}-{stop}"

    def word(self, item: Object) -> str:
        """A digest of a result's name in its folder: the name itself may be too long to be extended."""
        return _word(self.result(item).rpartition("/")[2])

    def reject_journal(self, writer: str) -> str:
        """The rejects of one writer, until the run ends."""
        return f"{self._prefix}{self.hidden(REJECT_JOURNAL)}{writer}"

    def hidden(self, word: str) -> str:
        """The name of a hidden file of the run."""
        return f"{TEMPORARY_PREFIX}{self.run}-{word}"

    def is_span(self, name: str) -> bool:
        """Whether it is the name of a span's result of this run."""
        return name.startswith(self.hidden(SPAN))

    def is_label_journal(self, name: str) -> bool:
        """Whether it is the name of a journal of labels of this run."""
        return name.startswith(self.hidden(LABEL_JOURNAL))


def is_reject_journal(name: str, runs: Collection[str]) -> bool:
    """Whether it is the name of a journal of rejects of one of these runs."""
    return _word_of_run(name, runs).startswith(REJECT_JOURNAL)


def is_unfinished(name: str) -> bool:
    """Whether a file at the top of a folder is one that a run writes there before it gets its name."""
    return name in UNFINISHED or name.startswith(tuple(f"{each}-" for each in UNFINISHED))


def is_of_run(name: str, runs: Collection[str]) -> bool:
    """Whether it is the name of a hidden file of one of these runs."""
    return bool(_word_of_run(name, runs))


def run_of(name: str) -> str | None:
    """The id of the run whose hidden file has this name; None for other names."""
    match = _HIDDEN_NAME.fullmatch(name)
    return match and match[1]


def _word_of_run(name: str, runs: Collection[str]) -> str:
    """What the name of a hidden file says behind the id of the run; empty for other names and other runs."""
    match = _HIDDEN_NAME.fullmatch(name) if name.startswith(TEMPORARY_PREFIX) else None
    return match[2] if match is not None and match[1] in runs else ""


def _word(name: str) -> str:
    import hashlib  # late: a dry run does without

    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
