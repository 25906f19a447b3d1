"""Reports of shards that ran in other processes: warnings that were given there are repeated here, where somebody sees them."""

from __future__ import annotations

import warnings
from typing import Any, Callable

from .job import Job, ShardReport
from .plan import Shard

RunShard = Callable[[Shard, Job], ShardReport]
# A report, and the text, category and place of each warning that was given meanwhile.
Recorded = tuple[ShardReport, list[tuple[str, type[Warning], str, int]]]


def record(run: RunShard, shard: Shard, job: Job) -> Recorded:
    """Runs a shard in another process, and takes the warnings there to this one: nobody may see that process's messages."""
    with warnings.catch_warnings(record=True) as caught:
        report = run(shard, job)
    return report, [(str(each.message), _known(each.category), each.filename, each.lineno) for each in caught]


def _known(category: type[Warning]) -> type[Warning]:
    """The category, or the one that it is derived from where only the process that gave it has its module."""
    ours = ("builtins", __name__.partition(".")[0])
    return next(each for each in category.__mro__ if each.__module__.partition(".")[0] in ours)


class Repeater:
    """Unpacks reports, and repeats the warnings of other processes here: each text once in a run, however many gave it."""

    def __init__(self) -> None:
        self._repeated: dict[Any, Any] = {}

    def __call__(self, recorded: Recorded) -> ShardReport:
        report, given = recorded
        for text, category, filename, line in given:
            warnings.warn_explicit(text, category, filename, line, registry=self._repeated)
        return report
