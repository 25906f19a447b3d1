"""Divides what is left to do into shards: pieces of work of about equal cost.

Shards are made while objects are listed, so that work starts before a long listing ends. A short listing is divided so that
all workers get about the same number of bytes. A large object comes as spans, several of which make a shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..options import Limits
from ..records.spans import Span
from ..storage.base import Object


@dataclass(frozen=True)
class Shard:
    """A piece of work: whole objects, or spans of a large one; `number` counts in the order of the inputs."""

    number: int
    items: Sequence[Object] | Sequence[Span]


def plan_shards(
    inputs: Iterable[Object | list[Span]], workers: int, limits: Limits, *, are_far: bool = False
) -> Iterator[Shard]:
    """Divides inputs into shards, in the order of the listing.

    Args:
        inputs: objects, and large objects as a list of spans; read ahead by one shard per worker.
        workers: how many shards are transformed at a time.
        limits: how large a shard may be.
        are_far: whether objects are listed and read by requests.
    """
    stream = iter(inputs)
    most_objects = limits.far_shard_objects if are_far else limits.shard_objects
    ahead = list(itertools.islice(stream, most_objects * workers))
    most_bytes = limits.shard_bytes
    if len(ahead) < most_objects * workers:
        most_bytes = min(most_bytes, -(-sum(item.size for item in ahead if not isinstance(item, list)) // workers))
    numbers = itertools.count()
    objects: list[Object] = []
    held = 0
    for item in itertools.chain(ahead, stream):
        if not isinstance(item, list):
            objects.append(item)
            held += item.size
        if objects and (held >= most_bytes or len(objects) == most_objects or isinstance(item, list)):
            yield Shard(next(numbers), objects)
            objects, held = [], 0
        if isinstance(item, list):
            yield from _span_shards(item, workers, limits, numbers)
    if objects:
        yield Shard(next(numbers), objects)


def _span_shards(spans: list[Span], workers: int, limits: Limits, numbers: Iterator[int]) -> Iterator[Shard]:
    """Several spans per shard, because a shard's last batch is only partly filled; fewer towards the end, so that all workers
    finish together."""
    first = 0
    while first < len(spans):
        bytes_each = spans[first].stop - spans[first].start
        count = max(1, min(limits.shard_bytes // bytes_each, -(-(len(spans) - first) // (2 * workers))))
        yield Shard(next(numbers), spans[first : first + count])
        first += count
