"""What is kept with each result: which run made it, of which version of its object, and how many records it lacks.

A result is finished where its label says so, not where some time stamp does: no clock is asked.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..storage.base import Version

RUN_BYTES = 8
COUNT_BYTES = 8


class Label(NamedTuple):
    """The label of a result.

    Attributes:
        run: the id of the run, RUN_BYTES bytes.
        rejected: how many records of the object are rejects instead of rows.
        version: of the object.
    """

    run: bytes
    rejected: int
    version: Version

    def pack(self) -> bytes:
        return self.run + self.rejected.to_bytes(COUNT_BYTES, "little") + self.version

    @classmethod
    def unpack(cls, packed: bytes | None) -> Label | None:
        """The label of these bytes; None if there are none, or they are no label."""
        if packed is None or len(packed) < RUN_BYTES + COUNT_BYTES:
            return None
        count = int.from_bytes(packed[RUN_BYTES : RUN_BYTES + COUNT_BYTES], "little")
        return cls(packed[:RUN_BYTES], count, packed[RUN_BYTES + COUNT_BYTES :])


def new_run() -> str:
    """The id of a new run, in hexadecimal digits."""
    return os.urandom(RUN_BYTES).hex()
