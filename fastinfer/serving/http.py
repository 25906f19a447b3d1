"""The HTTP side of a server that answers as SageMaker's MXNet container does.

``GET /ping`` is 200 when the model is loaded and all workers work, else 503, ``POST /invocations`` answers a request,
``GET /execution-parameters`` names what suits a transform job. The event loop reads and writes HTTP; the threads of
batcher.py decode, compute and print.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from aiohttp import hdrs, web

from ..errors import ConfigError, quote
from ..handlers.request import Request
from .batcher import NO_WORKER, Pending, Workers, set_result
from .body import Refused, read_body
from .budget import ByteBudget
from .connections import STREAM_BYTES, Connection, Connections
from .limits import ServerLimits, most_connections
from .log import LoopErrors, make_logger
from .reply import Reply, text_reply
from .settings import Settings

if TYPE_CHECKING:
    from ..handlers.hooks import Handler

Handle = Callable[[web.BaseRequest, Connection], Awaitable[web.StreamResponse]]

LOADING = text_reply(503, "the model is still loading")

# How much of a large reply is written at a time.
PIECE_BYTES = 64 << 10

# Connections that are accepted in one turn of the loop; each costs a descriptor before it is counted, two turns later.
ACCEPTED_AT_A_TIME = 32

# Connections that the system keeps until they are accepted.
BACKLOG = 1024

# How long aiohttp reads on where a body was refused: most clients read the reply after they have sent everything.
LINGER_S = 10.0


class Ending(NamedTuple):
    """How a server ended.

    Attributes:
        signal: the signal that ended it.
        requests: how many were answered.
        unanswered: how many were left unanswered.
        rows: how many were predicted; rows that hooks predict are not counted.
        workers_ended: whether all threads have ended; if not, one is in a hook or loads the model, and cannot be stopped.
    """

    signal: signal.Signals
    requests: int
    unanswered: int
    rows: int
    workers_ended: bool


class Server:
    """Reads requests, queues them for the workers, sends their replies.

    Attributes:
        connections: those to the clients.
        requests: how many have been answered.
        under_way: how many are being answered.
    """

    def __init__(self, settings: Settings, workers: Workers, connections: Connections, limits: ServerLimits) -> None:
        self._settings = settings
        self._workers = workers
        self._limits = limits
        self._budget = ByteBudget(limits.body_bytes, settings.payload_bytes)
        self._ending = False
        self.connections = connections
        self.requests = 0
        self.under_way = 0
        # An application of aiohttp adds about 10 microseconds to a request, for what three paths do not need.
        self._paths: dict[str, tuple[tuple[str, ...], Handle]] = {
            "/ping": (("GET", "HEAD"), self._ping),
            "/execution-parameters": (("GET", "HEAD"), self._execution_parameters),
            "/invocations": (("POST",), self._invocations),
        }

    def end(self) -> None:
        """From now on a reply is the last on its connection, unless the next request has been read already."""
        self._ending = True

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a request, and tells its connection what it waits for."""
        connection = self.connections.of(request)
        if connection is None:
            return web.Response(status=400)  # the client has gone, and nothing reads it
        connection.begin()
        try:
            response = await self._handle(request, connection)
            connection.send()
            # If the client has gone, aiohttp finds it out once more, and logs nothing.
            with contextlib.suppress(ConnectionError):
                await self._prepare(response, request, connection)
                await response.write_eof()
            return response
        finally:
            connection.end(body_is_whole=request.content.is_eof())

    async def _handle(self, request: web.BaseRequest, connection: Connection) -> web.StreamResponse:
        methods, handle = self._paths.get(request.path, ((), None))
        if handle is None:
            return _response(text_reply(404, f"there is nothing at {quote(request.path)}"))
        if request.method not in methods:
            response = _response(text_reply(405, f"{quote(request.method)} is not allowed here"))
            response.headers["Allow"] = ",".join(methods)
            return response
        expected = request.headers.get("Expect")
        if expected is not None and request.version >= (1, 1):
            if expected.lower() != "100-continue":
                return _response(text_reply(417, f"unsupported Expect {quote(expected)}"))
            writer = request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0  # else it is taken for a part of the reply
        return await handle(request, connection)

    async def _prepare(self, response: web.StreamResponse, request: web.BaseRequest, connection: Connection) -> None:
        is_last = self._ending and not connection.has_next
        # aiohttp passes over what it has read behind a request for another protocol, which this server does not speak.
        is_last |= hdrs.UPGRADE in request.headers
        if is_last and not response.prepared:
            response.force_close()
            response.headers["Connection"] = "close"  # force_close() is too late for the header
        await response.prepare(request)

    async def _ping(self, _: web.BaseRequest, __: Connection) -> web.Response:
        return web.Response(status=200 if self._workers.all_well() else 503)

    async def _execution_parameters(self, _: web.BaseRequest, __: Connection) -> web.Response:
        return web.json_response(self._settings.execution_parameters)

    async def _invocations(self, request: web.BaseRequest, connection: Connection) -> web.StreamResponse:
        self.under_way += 1
        try:
            try:
                reply = await self._reply(request, connection)
            except Refused as refused:
                self.requests += 1
                return _response(refused.reply)
            self.requests += 1
            try:
                return await self._send(reply, request, connection)
            finally:
                self._workers.sent(reply)
        finally:
            self.under_way -= 1

    async def _reply(self, request: web.BaseRequest, connection: Connection) -> Reply:
        limit = self._settings.payload_bytes
        length = request.content_length
        if length is not None and length > limit:
            raise Refused(text_reply(413, f"the body has {length:,} bytes, the limit is {limit:,}"))
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            text = f"unsupported Content-Encoding {quote(encoding)}: expected an uncompressed body"
            raise Refused(text_reply(415, text))
        if not self._workers.can_answer():
            raise Refused(NO_WORKER if self._workers.loaded.done() else LOADING)
        share = self._budget.share()
        try:
            body = await read_body(request, connection, share, self._limits, limit)
            share.finish()
            accept = ",".join(request.headers.getall("Accept", ())) or None
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._workers.put(Pending(Request(body, request.headers.get("Content-Type"), accept), future))
            return await future
        finally:
            share.give_back()

    async def _send(self, reply: Reply, request: web.BaseRequest, connection: Connection) -> web.StreamResponse:
        """Sends a large reply piece by piece, each when the last one has left; a small one is returned, to be sent at once."""
        if len(reply.body) <= PIECE_BYTES:
            return _response(reply)
        response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
        response.content_length = len(reply.body)
        connection.send_large(len(reply.body))
        rest = memoryview(reply.body)
        with contextlib.suppress(ConnectionError):  # as in answer()
            await self._prepare(response, request, connection)
            while rest:
                await response.write(rest[:PIECE_BYTES])
                connection.progress(PIECE_BYTES)
                rest = rest[PIECE_BYTES:]
        return response


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


async def serve(
    settings: Settings, on_ready: Callable[[Handler, str], None], limits: ServerLimits | None = None
) -> Ending:
    """Serves until SIGTERM or SIGINT; then answers the requests that have been read.

    Args:
        settings: how.
        on_ready: called when the model is loaded, with it and the address, such as ``127.0.0.1:8080``.
        limits: what is held, and how long clients are waited for; None: the usual ones.

    Raises:
        ConfigError: ``port_taken``, ``bad_host``; an option is wrong.
        ModelError: the model cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[signal.Signals] = loop.create_future()

    def end(number: signal.Signals) -> None:
        set_result(signalled, number)
        # A second signal has its default effect.
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)

    limits = ServerLimits(most_connections()) if limits is None else limits
    workers = Workers(loop, settings, limits)
    connections = Connections(loop, limits)
    server = Server(settings, workers, connections, limits)
    loop.set_exception_handler(LoopErrors())
    http_server = web.Server(
        server.answer,
        logger=make_logger("fastinfer.serve"),
        access_log=make_logger("fastinfer.access") if settings.access_log else None,
        access_log_format="%a %r %s %b %Dus",
        auto_decompress=False,
        keepalive_timeout=2 * limits.idle_s,  # `connections` closes them earlier
        lingering_time=LINGER_S,
        read_bufsize=STREAM_BYTES,
    )
    runner = web.ServerRunner(http_server, shutdown_timeout=0.1)
    await runner.setup()
    # Before the model is loaded, so that a port in use is reported at once.
    listening = _listen(settings.host, settings.port)
    accepting = await loop.create_server(
        lambda: Connection(http_server(), connections), sock=listening, backlog=ACCEPTED_AT_A_TIME
    )
    listening.listen(BACKLOG)
    connections.start(workers.bytes_wanted)
    try:
        workers.start()
        either: list[asyncio.Future[Any]] = [workers.loaded, signalled]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if workers.loaded.done():
            on_ready(workers.loaded.result(), _address_of(listening))
        ended_by = await signalled
        ends_at = time.monotonic() + settings.grace_s
        unanswered = await _drain(server, accepting, ends_at, settings.drain_s)
    finally:
        accepting.close()
        connections.stop()
        await runner.cleanup()
    grace_s = max(0.0, ends_at - time.monotonic()) if workers.loaded.done() else 0.0
    workers_ended = workers.stop(grace_s)
    return Ending(ended_by, server.requests, unanswered, workers.rows, workers_ended)


async def _drain(server: Server, accepting: asyncio.Server, ends_at: float, drain_s: float) -> int:
    """Refuses new connections and answers what arrives on open ones; returns how many requests were too slow."""
    server.end()
    # Connections that were made are found in the next turn of the loop, and accepted at its end.
    for _ in range(2):
        await asyncio.sleep(0)
    for each in accepting.sockets:
        asyncio.get_running_loop().remove_reader(each)
    # They begin in the two after that; a server that is closed drops them.
    for _ in range(2):
        await asyncio.sleep(0)
    accepting.close()
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < ends_at:
        if server.under_way:
            quiet_since = now
        if not len(server.connections) or now - quiet_since > drain_s:
            break
        await asyncio.sleep(0.01)
    return server.under_way


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"there is no host named {quote(host)}", code="bad_host") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # a port in use fails here, not when the first request arrives
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is already in use", code="port_taken", hint="choose another port"
            ) from error
        raise ConfigError(f"cannot listen on port {port} of {host}: {error.strerror}", code="bad_host") from error
    return listening


def _address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
