"""What a server holds at most, and how long it waits for its clients. Imports nothing heavy."""

from __future__ import annotations

import resource
from dataclasses import dataclass

# A connection costs a descriptor; the others are for the model, the hooks and what they open.
DESCRIPTORS_SHARE = 0.8
CONNECTIONS = 2048


def most_connections() -> int:
    """How many connections are kept: below the process's limit of descriptors, and such that their buffers are bounded."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, int(soft * DESCRIPTORS_SHARE)))


@dataclass(frozen=True)
class ServerLimits:
    """The limits of a server. Times are in seconds.

    A connection may always hold ``free_bytes`` of a body and of a reply, and what is not yet read from it (some 200 KiB).
    What is beyond that is counted, over all connections.

    Attributes:
        connections: how many are kept; for one more the oldest that asks for nothing is closed.
        free_bytes: of a body, and of a reply, that are not counted; a request whose body has no more is small.
        body_bytes: of all bodies that are counted; the oldest unfinished body may always be finished beside them.
        reply_bytes: of all counted replies that are not sent. If there are more, small requests alone are begun, and none
            beyond ``small_reply_bytes``; while requests wait, replies that have been sent for more than ``grace_s`` are
            given up, the oldest first, until half of these bytes is free.
        head_s: from a connection, or the first byte of a later request, to the whole head of the request.
        idle_s: how long a connection is kept that asks for nothing.
        grace_s: how long a sender or a reader may make no progress at all.
        bytes_per_s: the least speed of a sender or a reader: each byte adds its time to what is left of the grace.
        room_s: how long a body waits for room.
        check_interval_s: how often deadlines are checked; the times are exact to this.
    """

    connections: int
    free_bytes: int = 64 << 10
    body_bytes: int = 256 << 20
    reply_bytes: int = 256 << 20
    head_s: float = 10.0
    idle_s: float = 75.0
    grace_s: float = 5.0
    bytes_per_s: float = 64 << 10
    room_s: float = 60.0
    check_interval_s: float = 0.5

    @property
    def small_reply_bytes(self) -> int:
        """Bytes of counted replies beyond which no request is begun: small requests may have large replies."""
        return self.reply_bytes + self.reply_bytes // 4
