"""Opens shards of large objects far away before workers are free for them, so that none waits for its first bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Optional

from ..records.reading import OPENED_AHEAD_BYTES, OpenSpans
from ..records.spans import Span
from .job import Job
from .plan import Shard

# A shard, and what reads its spans; None: the worker opens what it needs.
Opened = tuple[Shard, Optional[OpenSpans]]


def opened_ahead(shards: Iterator[Shard], job: Job, stop: threading.Event) -> Generator[Opened, None, None]:
    """The same shards; those of an object far away with what reads them, which begins before a worker is free for them.

    Args:
        shards: in the order in which they are taken; one at a time is asked for.
        job: the job.
        stop: no shard is given any more when it is set.
    """
    waiting: deque[Opened] = deque()
    try:
        while waiting or _open_next(shards, job, waiting):
            if stop.is_set():
                return
            shard, opened = waiting.popleft()
            if opened is not None:
                # Each is at most as large as the one before: where several are open, all have at most twice as many bytes.
                # The next shards of the same object are known. For those of another one the listing may have to be waited for.
                while (
                    _is_followed(waiting[-1][0] if waiting else shard) and _count_bytes(waiting) <= OPENED_AHEAD_BYTES
                ):
                    if not _open_next(shards, job, waiting):
                        break
            yield shard, opened
    finally:
        for _, opened in waiting:
            if opened is not None:
                opened.close()


def _open_next(shards: Iterator[Shard], job: Job, waiting: deque[Opened]) -> bool:
    """Adds the next shard, if there is one, and begins to read it if it is spans of an object far away."""
    shard = next(shards, None)
    if shard is None:
        return False
    spans = [item for item in shard.items if isinstance(item, Span)]
    opened = OpenSpans(job.inputs, spans, job.limits.chunk_bytes) if spans and job.inputs.ahead_bytes else None
    waiting.append((shard, opened))
    if opened is not None:
        opened.reader()
    return True


def _is_followed(shard: Shard) -> bool:
    last = shard.items[-1]
    return isinstance(last, Span) and last.stop < last.item.size


def _count_bytes(waiting: deque[Opened]) -> int:
    return sum(item.stop - item.start for shard, _ in waiting for item in shard.items if isinstance(item, Span))
