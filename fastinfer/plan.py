"""Inputs to shards: pure functions of what was listed.

Shards are cut from the stream of inputs as it comes, so that work starts before a long listing ends. While the listing is
short enough to be seen whole, it is divided so that all workers get about the same number of bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from .inputs import InputFile
from .worker import Shard

# A shard should be large against a batch, whose last, partly filled run it pays for, and small against the whole run.
SHARD_FILES = 4096
SHARD_BYTES = 64 << 20


def plan_shards(inputs: Iterable[InputFile], workers: int) -> Iterator[Shard]:
    """Divides inputs into shards, each a run of whole files in the order of the listing.

    Args:
        inputs: read ahead by one shard a worker, no further.
        workers: how many shards are worked on at a time.
    """
    stream = iter(inputs)
    ahead = list(itertools.islice(stream, SHARD_FILES * workers))
    limit = SHARD_BYTES
    if len(ahead) < SHARD_FILES * workers:
        limit = min(limit, -(-sum(item.size for item in ahead) // workers))
    files: list[InputFile] = []
    held = number = 0
    for item in itertools.chain(ahead, stream):
        files.append(item)
        held += item.size
        if held >= limit or len(files) == SHARD_FILES:
            yield Shard(number, tuple(files))
            files, held, number = [], 0, number + 1
    if files:
        yield Shard(number, tuple(files))
