"""The HTTP side of a server that answers as SageMaker's MXNet container does.

``GET /ping`` is 200 when the model is loaded and 503 before, ``POST /invocations`` answers a request,
``GET /execution-parameters`` names what suits a transform job. The event loop reads and writes HTTP; the threads of
batcher.py decode, compute and print.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from aiohttp import web

from ..errors import ConfigError, quote
from ..handlers.request import Request
from .batcher import Pending, Workers, set_result
from .budget import ByteBudget
from .log import make_logger
from .reply import Reply, text_reply
from .settings import Settings

if TYPE_CHECKING:
    from ..handlers.hooks import Handler

# How many bytes of bodies may wait for replies; other bodies are not read before there is room.
PENDING_BYTES = 256 << 20

# How long a sender may take to send a body.
BODY_TIMEOUT_S = 60.0


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
        requests: how many have been answered.
        under_way: how many are being answered.
    """

    def __init__(self, settings: Settings, workers: Workers) -> None:
        self._settings = settings
        self._workers = workers
        self._budget = ByteBudget(max(PENDING_BYTES, 2 * settings.payload_bytes))
        self._ending = False
        self.requests = 0
        self.under_way = 0

    def application(self) -> web.Application:
        """The routes."""
        # One byte more: up to aiohttp 3.13 a body of exactly the largest size was refused.
        application = web.Application(client_max_size=self._settings.payload_bytes + 1)
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/execution-parameters", self._execution_parameters)
        application.router.add_post("/invocations", self._invocations)
        application.on_response_prepare.append(self._close_connection)
        return application

    def end(self) -> None:
        """From now on every reply is the last on its connection."""
        self._ending = True

    async def _close_connection(self, _: web.Request, response: web.StreamResponse) -> None:
        if self._ending:
            response.force_close()
            response.headers["Connection"] = "close"  # force_close() is too late for the header

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self._ready() else 503)

    async def _execution_parameters(self, _: web.Request) -> web.Response:
        return web.json_response(self._settings.execution_parameters)

    async def _invocations(self, request: web.Request) -> web.Response:
        self.under_way += 1
        try:
            reply = await self._reply(request)
        finally:
            self.under_way -= 1
        self.requests += 1
        return _response(reply)

    async def _reply(self, request: web.Request) -> Reply:
        limit = self._settings.payload_bytes
        length = request.content_length
        if length is not None and length > limit:
            return text_reply(413, f"the body has {length:,} bytes, the limit is {limit:,}")
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            return text_reply(415, f"unsupported Content-Encoding {quote(encoding)}: expected an uncompressed body")
        if not self._ready():
            return text_reply(503, "the model is still loading")
        size = limit if length is None else length
        await self._budget.acquire(size)
        try:
            try:
                reading = request.read()
                # Most bodies have arrived already, and a timer for each would cost more than reading it.
                body = await (reading if request.content.is_eof() else asyncio.wait_for(reading, BODY_TIMEOUT_S))
            except asyncio.TimeoutError:
                return text_reply(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s")
            except ConnectionError:
                return text_reply(400, "the connection was lost")  # nothing reads it
            except web.HTTPRequestEntityTooLarge:
                body = None
            if body is None or len(body) > limit:
                return text_reply(413, f"the body is larger than the limit of {limit:,} bytes")
            accept = ",".join(request.headers.getall("Accept", ())) or None
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._workers.put(Pending(Request(body, request.headers.get("Content-Type"), accept), future))
            return await future
        finally:
            self._budget.release(size)

    def _ready(self) -> bool:
        return self._workers.loaded.done()


def _response(reply: Reply) -> web.Response:
    content_type = reply.content_type
    if not isinstance(content_type, str) or any(ord(sign) < 32 or ord(sign) > 255 for sign in content_type):
        reply = text_reply(500, f"the model's code returned an invalid content type: {content_type!r}")
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


async def serve(settings: Settings, on_ready: Callable[[Handler, str], None]) -> Ending:
    """Serves until SIGTERM or SIGINT; then answers the requests that have been received.

    Args:
        settings: how.
        on_ready: called when the model is loaded, with it and the address, such as ``127.0.0.1:8080``.

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

    workers = Workers(loop, settings)
    server = Server(settings, workers)
    runner = web.AppRunner(
        server.application(),
        logger=make_logger("fastinfer.serve"),
        access_log=make_logger("fastinfer.access") if settings.access_log else None,
        access_log_format="%a %r %s %b %Dus",
        auto_decompress=False,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    # Before the model is loaded, so that a port in use is reported at once.
    listening = _listen(settings.host, settings.port)
    try:
        await web.SockSite(runner, listening, backlog=512).start()
        workers.start()
        either: list[asyncio.Future[Any]] = [workers.loaded, signalled]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if workers.loaded.done():
            on_ready(workers.loaded.result(), _address_of(listening))
        ended_by = await signalled
        ends_at = time.monotonic() + settings.grace_s
        unanswered = await _drain(server, runner, ends_at, settings.drain_s)
    finally:
        await runner.cleanup()
    grace_s = max(0.0, ends_at - time.monotonic()) if workers.loaded.done() else 0.0
    workers_ended = workers.stop(grace_s)
    return Ending(ended_by, server.requests, unanswered, workers.rows, workers_ended)


async def _drain(server: Server, runner: web.AppRunner, ends_at: float, drain_s: float) -> int:
    """Refuses new connections and answers what arrives on open ones; returns how many requests were too slow."""
    server.end()
    await asyncio.sleep(0)  # connections that were made are accepted in this turn of the loop
    for site in list(runner.sites):
        await site.stop()
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < ends_at:
        if server.under_way:
            quiet_since = now
        assert runner.server is not None  # it is set up
        if not runner.server.connections or now - quiet_since > drain_s:
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
        listening.listen(512)  # a port in use fails here, not when the first request arrives
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
