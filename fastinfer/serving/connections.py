"""The connections of the server: how many there are, what each may hold unread, and when a silent one is closed.

:class:`Connection` stands between asyncio's transport and aiohttp's protocol and hands everything on. aiohttp keeps to a
connection as long as the client does, reads ahead, and has no least speed; here each connection has a deadline, which moves
with what the client does, and is not read while its client waits for a reply anyway.
"""

from __future__ import annotations

import asyncio
import enum
import math
from typing import TYPE_CHECKING, Any, Callable

from aiohttp import web

from .limits import ServerLimits

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

# What is read at a time; all connections use the same memory, as what was read is handed on at once.
READ_BYTES = 64 << 10

# More than any request's head (aiohttp's limits); so much may arrive before a request is begun.
HEAD_BYTES = 64 << 10

# aiohttp stops reading when twice this is unread.
STREAM_BYTES = 32 << 10

# Turns of the event loop from a request's last byte until its handler runs; until then it is not known that there is one.
TURNS = 4

FULL_REPLY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 39\r\n"
    b"Connection: close\r\n\r\nthe server has too many open requests.\n"
)


class Phase(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()  # the client: the next request
    BODY = enum.auto()  # the client: the rest of a body
    REPLY = enum.auto()  # this server
    SEND = enum.auto()  # the client: to read the reply
    REST = enum.auto()  # the client: a body that was refused; aiohttp reads it for a while


class Connection(asyncio.BufferedProtocol):
    """One connection.

    Attributes:
        phase: what it waits for.
        deadline: when it is given up, in the loop's time.
    """

    def __init__(self, inner: web.RequestHandler, connections: Connections) -> None:
        self.phase = Phase.HEAD
        self.deadline = math.inf
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._unread = 0  # bytes since the last request began or, if nothing was left of it, ended
        self._held_back = False
        self._half_closed = False
        self._content: StreamReader | None = None
        self._give_up: Callable[[], object] | None = None
        self._left_s = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # A write waits until the system has taken all of it, so a reply that was written is no longer held.
        transport.set_write_buffer_limits(high=0)
        self.deadline = self._now() + self._connections.limits.head_s
        if self._connections.add(self, self._inner):
            self._inner.connection_made(transport)
        else:
            transport.write(FULL_REPLY)
            transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.phase is Phase.BODY:
            self.progress(nbytes)
        else:
            if self.phase is Phase.HEAD and not self._unread:
                self.deadline = min(self.deadline, self._now() + self._connections.limits.head_s)
            self._unread += nbytes
            # While a request is answered nothing else is needed; a head has its limit.
            if self.phase in (Phase.REPLY, Phase.SEND) or (self.phase is Phase.HEAD and self._unread > HEAD_BYTES):
                self._hold_back()
        self._inner.data_received(bytes(self._connections.buffer[:nbytes]))
        if self._content is not None:
            self._end_malformed(self._content)

    def eof_received(self) -> bool:
        self._inner.eof_received()
        if self.phase is Phase.BODY:
            assert self._content is not None
            self._half_closed = self._content.is_eof()
        elif self.phase is Phase.HEAD:
            self._half_closed = self._unread > 0
            self._when_idle()
        else:
            # The client has sent all that it wants to send, and may wait for the reply. If it has gone, writing finds it out.
            self._half_closed = True
        return self._half_closed

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._connections.remove(self, self._inner):
            self._inner.connection_lost(exc)

    # What the server calls.

    @property
    def has_next(self) -> bool:
        """Whether the head of another request has been read, behind the one that is answered."""
        return bool(self._inner._messages)

    def begin(self) -> None:
        """A request's head is here."""
        self._connections.busy(self)
        self._unread = 0
        self._wait_for_server()

    def end(self, *, body_is_whole: bool) -> None:
        """The request is answered; aiohttp goes on to the next one, or reads the rest of a body that was refused."""
        if self._transport is None:
            return
        self._connections.idle(self)
        self._content = None
        self.phase = Phase.HEAD if body_is_whole else Phase.REST
        limits = self._connections.limits
        # What has arrived meanwhile is of the next head.
        waits_for_head = body_is_whole and self._unread
        self.deadline = self._now() + (limits.head_s if waits_for_head else limits.idle_s)
        if self._held_back or self._half_closed:
            self._when_idle()

    def receive(self, content: StreamReader, give_up: Callable[[], object]) -> None:
        """The body is awaited; if it is too slow, `give_up` is called."""
        self._content = content
        self._give_up = give_up
        self.phase = Phase.BODY
        limits = self._connections.limits
        # Of a body whose client has closed its side nothing more can come; what has come is read in the next turns.
        self.deadline = self._now() + (limits.check_interval_s if self._half_closed else limits.grace_s)
        self._read_on()

    def pause_body(self) -> None:
        """There is no room for more of the body: the client waits for the server."""
        self._left_s = self.deadline - self._now()
        self._wait_for_server()

    def resume_body(self) -> None:
        """There is room for more of the body."""
        self.phase = Phase.BODY
        self.deadline = self._now() + (self._connections.limits.check_interval_s if self._half_closed else self._left_s)
        self._read_on()

    def received(self) -> None:
        """The body is whole, or not awaited any more."""
        self._give_up = None
        self._wait_for_server()

    def send(self) -> None:
        """The reply is written: the client should read it."""
        self.phase = Phase.SEND
        self.deadline = self._now() + self._connections.limits.grace_s

    def send_large(self, size: int) -> None:
        """A reply of so many bytes is written, and counted until it is sent."""
        self.send()
        self._connections.sends_large(self, size)

    def progress(self, size: int) -> None:
        """Bytes came from the client, or went to it."""
        limits = self._connections.limits
        self.deadline = min(self.deadline + size / limits.bytes_per_s, self._now() + limits.grace_s)

    def check_deadline(self, now: float) -> None:
        """Gives up what has taken too long."""
        if now <= self.deadline:
            return
        if self._give_up is not None:
            give_up, self._give_up = self._give_up, None
            self.deadline = math.inf
            give_up()
        else:
            self.close()

    def close(self) -> None:
        """Closes it at once; what is not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _now(self) -> float:
        return self._connections.loop.time()

    def _end_malformed(self, content: StreamReader) -> None:
        """Ends a body of which no more can be read.

        aiohttp's compiled parser takes what is malformed for the next request, and whoever reads the body would wait for ever.
        """
        if self.phase is Phase.BODY and self._inner._messages and not content.is_eof() and content.exception() is None:
            content.set_exception(web.RequestPayloadError("its chunks are not as HTTP has them"))

    def _wait_for_server(self) -> None:
        self.phase = Phase.REPLY
        self.deadline = math.inf

    def _hold_back(self) -> None:
        if self._transport is not None:
            self._held_back = True
            # Also where it is held back already: aiohttp resumes the transport itself when it has read a body.
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._held_back and self._transport is not None:
            self._held_back = False
            self._transport.resume_reading()

    def _when_idle(self, turns: int = TURNS) -> None:
        """Reads on, or closes what the client has closed, when nothing that it sent is left to be answered."""
        if self.phase not in (Phase.HEAD, Phase.REST):
            return  # the next one has begun, and its end calls this again
        if turns:
            self._connections.loop.call_soon(self._when_idle, turns - 1)
        elif self._half_closed:
            if self._transport is not None:
                self._transport.close()
        else:
            self._unread = 0
            self._read_on()


class Connections:
    """All connections of a server, in one event loop.

    Args:
        loop: the event loop.
        limits: the server's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: ServerLimits) -> None:
        self.loop = loop
        self.limits = limits
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._all: dict[web.RequestHandler, Connection] = {}
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._sending: dict[Connection, tuple[float, int]] = {}  # since when, and bytes; the longest first
        self._bytes_wanted: Callable[[], int] = int
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def of(self, request: web.BaseRequest) -> Connection | None:
        """The connection of a request; None if it is lost."""
        return self._all.get(request.protocol)

    def add(self, connection: Connection, inner: Any) -> bool:
        """Adds a connection, and closes the longest idle one if there are too many; False if all are busy."""
        if len(self._all) >= self.limits.connections:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()
        self._all[inner] = connection
        self._idle[connection] = None
        return True

    def remove(self, connection: Connection, inner: Any) -> bool:
        """Removes a connection that is lost; False if it was not added."""
        self._idle.pop(connection, None)
        self._sending.pop(connection, None)
        return self._all.pop(inner, None) is not None

    def busy(self, connection: Connection) -> None:
        """A connection has a request."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """A connection has no request any more."""
        self._idle[connection] = None
        self._sending.pop(connection, None)

    def sends_large(self, connection: Connection, size: int) -> None:
        """A connection begins to send a reply that is counted."""
        self._sending[connection] = (self.loop.time(), size)

    def start(self, bytes_wanted: Callable[[], int]) -> None:
        """Begins to check the deadlines at intervals.

        Args:
            bytes_wanted: how many bytes of replies should be given up at the time.
        """
        self._bytes_wanted = bytes_wanted
        self._check_later()

    def stop(self) -> None:
        """Ends that."""
        if self._timer is not None:
            self._timer.cancel()

    def _check_later(self) -> None:
        self._timer = self.loop.call_later(self.limits.check_interval_s, self._check)

    def _check(self) -> None:
        now = self.loop.time()
        for connection in list(self._all.values()):
            connection.check_deadline(now)
        self._give_up_readers(now)
        self._check_later()

    def _give_up_readers(self, now: float) -> None:
        """Closes those that have read the longest where others wait for what they hold; a usual reader needs no grace."""
        wanted = self._bytes_wanted()
        for connection, (since, size) in list(self._sending.items()):
            if wanted <= 0 or now <= since + self.limits.grace_s:
                break
            connection.close()
            wanted -= size
