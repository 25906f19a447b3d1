"""The versions of many objects, as one listing had them, in 24 bytes each: in whose place the results of a run are put.

Nearly all servers give versions of 32 hexadecimal digits. An object that is not known, or has the version of another whose
name has the same hash, costs requests and nothing else: the server compares the version.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from .s3_listing import Listed

HASH_BYTES, DIGEST_BYTES = 8, 16
# More are not sent to other processes, with each of their tasks.
MOST_SENT_BYTES = 1 << 20
# About what one of the other versions takes.
OTHER_BYTES = 200


class Versions:
    """Versions by URI. They are added by one thread, and looked up when all were added.

    Attributes:
        is_complete: whether all were added.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._kept = bytearray()
        self._others: dict[str, bytes] = {}
        self._table: tuple[array[int], bytes] | None = None  # the hashes, and the digests in their order

    def __reduce__(self) -> tuple[Any, ...]:
        is_small = len(self._kept) + OTHER_BYTES * len(self._others) <= MOST_SENT_BYTES
        kept = (bytes(self._kept), self._others) if is_small else (b"", {})
        return (_received, kept)

    def noting(self, entries: Iterator[Listed], bucket: str) -> Iterator[Listed]:
        """The same entries of a listing, whose versions are added until it has ended."""
        for entry in entries:
            self.add(f"s3://{bucket}/{entry.key}", entry.version)
            yield entry
        self.is_complete = True

    def add(self, uri: str, version: bytes) -> None:
        """Adds the version of an object."""
        try:
            digest = bytes.fromhex(version.decode())
        except ValueError:
            digest = b""
        if len(digest) != DIGEST_BYTES or digest.hex().encode() != version:
            self._others[uri] = version
            return
        self._kept += _hash(uri)
        self._kept += digest

    def get(self, uri: str) -> bytes:
        """The version of an object; empty if it is not known."""
        if self._table is None:
            self._table = self._sorted()
        hashes, digests = self._table
        wanted = int.from_bytes(_hash(uri), sys.byteorder)
        place = bisect_left(hashes, wanted)  # NumPy's would let another thread go on, for each result
        if place < len(hashes) and hashes[place] == wanted:
            return digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES].hex().encode()
        return self._others.get(uri, b"")

    def _sorted(self) -> tuple[array[int], bytes]:
        import numpy as np  # late: few runs need it

        table = np.frombuffer(bytes(self._kept), [("hash", "=u8"), ("digest", f"V{DIGEST_BYTES}")])
        order = table["hash"].argsort(kind="stable")
        return array("Q", table["hash"][order].tobytes()), table["digest"][order].tobytes()


def _received(kept: bytes, others: dict[str, bytes]) -> Versions:
    versions = Versions()
    versions._kept += kept
    versions._others.update(others)
    versions.is_complete = True
    return versions


def _hash(uri: str) -> bytes:
    # The same in all processes, as Python's own is not.
    return hashlib.blake2b(uri.encode("utf-8", "surrogateescape"), digest_size=HASH_BYTES).digest()
