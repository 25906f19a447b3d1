"""How many requests to S3 a run takes, for a dry run."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, quote
from ..options import Limits
from ..storage.base import Object
from ..storage.uri import is_s3

# S3 names so many objects in an answer.
PAGE_OBJECTS = 1000


@dataclass
class Requests:
    """Requests of a run, without those that are tried again.

    Attributes:
        reads: GET and HEAD.
        writes: PUT, and LIST, which is priced alike.
    """

    reads: int = 0
    writes: int = 0

    @classmethod
    def of_folders(cls, source: str, objects: int, output: str, skipped: int) -> Requests:
        """The requests apart from those for each object: listings, labels of finished results, the lease and the record."""
        pages = -(-objects // PAGE_OBJECTS)
        counted = cls()
        if is_s3(source):
            counted.writes += max(1, pages)
        if is_s3(output):
            counted.reads += skipped + 2
            counted.writes += max(1, -(-skipped // PAGE_OBJECTS)) + 8
        return counted

    def add(self, item: Object, output: str, limits: Limits) -> None:
        """Adds those for an object that is to be transformed."""
        if is_s3(item.uri):
            # Late: it brings all that a client of S3 takes.
            from ..storage.remote_reader import RANGE_BYTES, count_ranges

            if item.size >= limits.large_object_bytes:
                spans = round(item.size / limits.span_bytes(item.size, is_far=True))
                # Where each span begins, the ranges, and the smaller ones with which a worker begins some spans in turn.
                self.reads += 2 * spans + -(-item.size // RANGE_BYTES)
            else:
                self.reads += max(1, count_ranges(item.size))
        if is_s3(output):
            self.writes += 1

    def cost(self, prices: tuple[float, float]) -> float:
        """What they cost, for prices of a thousand reads and a thousand writes."""
        return (self.reads * prices[0] + self.writes * prices[1]) / 1000


def parse_prices(text: str) -> tuple[float, float]:
    """``READS,WRITES``, or one price for both, each for a thousand requests. Raises ConfigError."""
    try:
        reads, _, writes = text.partition(",")
        prices = float(reads), float(writes or reads)
    except ValueError:
        prices = (-1.0, -1.0)
    if not all(0 <= price < 1e9 for price in prices):
        raise ConfigError(f"expected READS,WRITES, the prices of a thousand requests, found {quote(text)}")
    return prices
