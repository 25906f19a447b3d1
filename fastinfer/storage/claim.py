"""Whether a folder still belongs to the start of a run for which something is about to be written there.

The lock of a folder ends with the run that holds it; workers on other machines may outlive that run, and the folder itself may
be moved or removed. So each start of a run puts a mark of its own into the run's record, also where it continues an earlier run
and has its id, and who writes looks for that mark.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from ..errors import OutputError

MARK = '"start": "{}"'
# A record has one kilobyte or two.
MOST_BYTES = 1 << 20


class Records(Protocol):
    """What reads a record."""

    def read_small(self, uri: str, most_bytes: int) -> bytes | None: ...


class Claim(NamedTuple):
    """One start of a run in a folder.

    Attributes:
        store: where the folder is.
        record: the run's record in the folder.
        start: the mark of this start in the record, hexadecimal digits that no other start has.
    """

    store: Records
    record: str
    start: str

    @property
    def root(self) -> str:
        """The folder."""
        return os.path.dirname(self.record)

    def check(self) -> None:
        """Raises OutputError: ``folder_lost`` if another run has begun in the folder, or its record is not in its place."""
        content = self.store.read_small(self.record, MOST_BYTES)
        if content is not None and MARK.format(self.start).encode() in content:
            return
        what = "it was moved or removed" if content is None else "another run has begun there"
        raise OutputError(
            f"the folder is not this run's any more: {what}",
            code="folder_lost",
            path=self.root,
            hint="leave it in its place while a run writes there, and run again",
        )
