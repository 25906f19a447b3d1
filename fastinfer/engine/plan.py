"""Inputs to shards: functions of what was listed alone.

Shards are cut from the stream of inputs as it comes, so that work starts before a long listing ends. While the listing is
short enough to be seen whole, it is divided so that all workers get about the same number of bytes. A large file comes as
parts, a few of which make a shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..storage.local import InputFile, Part

# A shard should be large against a batch, whose last, partly filled run it pays for, and small against the whole run.
SHARD_FILES = 4096
SHARD_BYTES = 64 << 20
# A file of this size or more is cut into parts: so many, that workers come to its end together, but none so small that what
# it costs beside its rows (a file of its own) would be felt, nor so large that a killed run would do much again
# (benchmarks/bench_engine.py).
LARGE_FILE_BYTES = 16 << 20
PARTS = 64
PART_BYTES_LEAST, PART_BYTES_MOST = 2 << 20, 16 << 20


@dataclass(frozen=True)
class Shard:
    """A piece of work: whole files, or parts of a large file; numbered in the order of the inputs."""

    number: int
    items: Sequence[InputFile] | Sequence[Part]


def part_bytes(file_bytes: int) -> int:
    """How large the parts of a large file are: a function of its size alone, so that a later run cuts it alike."""
    return min(max(file_bytes // PARTS, PART_BYTES_LEAST), PART_BYTES_MOST)


def plan_shards(inputs: Iterable[InputFile | list[Part]], workers: int) -> Iterator[Shard]:
    """Divides inputs into shards, in the order of the listing.

    Args:
        inputs: files, and large files as the list of their parts; read ahead by one shard a worker, no further.
        workers: how many shards are worked on at a time.
    """
    stream = iter(inputs)
    ahead = list(itertools.islice(stream, SHARD_FILES * workers))
    limit = SHARD_BYTES
    if len(ahead) < SHARD_FILES * workers:
        limit = min(limit, -(-sum(item.size for item in ahead if isinstance(item, InputFile)) // workers))
    numbers = itertools.count()
    files: list[InputFile] = []
    held = 0
    for item in itertools.chain(ahead, stream):
        if isinstance(item, InputFile):
            files.append(item)
            held += item.size
        if files and (held >= limit or len(files) == SHARD_FILES or not isinstance(item, InputFile)):
            yield Shard(next(numbers), files)
            files, held = [], 0
        if not isinstance(item, InputFile):
            first = 0
            while first < len(item):
                # Several at a time, as a shard's last batch is partly filled; fewer towards the end, so that all workers
                # come to it together.
                bytes_each = item[first].stop - item[first].start
                count = max(1, min(SHARD_BYTES // bytes_each, -(-(len(item) - first) // (2 * workers))))
                yield Shard(next(numbers), item[first : first + count])
                first += count
    if files:
        yield Shard(next(numbers), files)
