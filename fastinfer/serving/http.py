"""``python -m fastinfer.serve``: answers requests over HTTP as SageMaker's MXNet container does.

``GET /ping`` (200 once the model is loaded, 503 before), ``POST /invocations``, ``GET /execution-parameters``. Requests that
come while others are being computed wait for these and then share a batch: whatever has come in meanwhile is the next one,
so a lone request waits for nothing. Reading HTTP is asyncio's thread; decoding, computing and printing are those of the
workers, each with a bound graph of its own, which take requests from one queue.

The container answers 500 to whatever goes wrong, 413 to a body that is too large and 503 to a model that cannot be loaded.
Here a body that cannot be read is 400, its type 415, what is asked for 406, an error in a user's hook 500; a model that
cannot be loaded ends the command.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from ..commands._run import EXIT_INTERRUPTED, EXIT_OK, say
from ..errors import ConfigError, quote
from ..handlers.request import Request
from .batcher import Pending, Workers, set_result
from .budget import ByteBudget
from .log import make_logger
from .reply import Reply, text_reply
from .settings import Settings

if TYPE_CHECKING:
    from aiohttp import web

    from ..handlers.hooks import Handler

# What may be held of bodies that wait for their answer; others stay with their senders until there is room.
PENDING_BYTES = 256 << 20

# How long a sender may take for a body.
BODY_TIMEOUT_S = 60.0

# Connections that are open at the end are listened to for so long: what is on its way on them is still answered.
LAST_WORDS_S = 0.3


class Server:
    """The HTTP side: reads requests, hands them to the workers, sends their replies."""

    def __init__(self, settings: Settings, workers: Workers) -> None:
        self._settings = settings
        self._workers = workers
        self._room = ByteBudget(max(PENDING_BYTES, 2 * settings.payload_bytes))
        self._ending = False
        self.requests = 0  # answered
        self.under_way = 0

    def application(self) -> web.Application:
        from aiohttp import web

        # One more than is taken: up to aiohttp 3.13 a body of just the largest size was refused.
        application = web.Application(client_max_size=self._settings.payload_bytes + 1)
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/execution-parameters", self._execution_parameters)
        application.router.add_post("/invocations", self._invocations)
        application.on_response_prepare.append(self._say_goodbye)
        return application

    def end(self) -> None:
        """From now on every reply is a connection's last."""
        self._ending = True

    async def _say_goodbye(self, _: web.Request, response: web.StreamResponse) -> None:
        if self._ending:
            response.force_close()
            response.headers["Connection"] = "close"  # force_close() comes too late to say it

    async def _ping(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(status=200 if self._ready() else 503)

    async def _execution_parameters(self, _: web.Request) -> web.Response:
        from aiohttp import web

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
        from aiohttp import web

        limit = self._settings.payload_bytes
        length = request.content_length
        if length is not None and length > limit:
            return text_reply(413, f"the body has {length:,} bytes, {limit:,} are taken (--max-payload-mb)")
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            return text_reply(415, f"a body that is encoded as {quote(encoding)} is not taken")
        if not self._ready():
            return text_reply(503, "the model is being loaded")
        size = limit if length is None else length
        await self._room.take(size)
        try:
            try:
                reading = request.read()
                # Most bodies are there already, and a timer for each would cost more than reading it.
                body = await (reading if request.content.is_eof() else asyncio.wait_for(reading, BODY_TIMEOUT_S))
            except asyncio.TimeoutError:
                return text_reply(408, f"the body did not come within {BODY_TIMEOUT_S:.0f} s")
            except ConnectionError:
                return text_reply(400, "the connection was lost")  # no one hears it
            except web.HTTPRequestEntityTooLarge:
                body = None
            if body is None or len(body) > limit:
                return text_reply(413, f"the body has more than {limit:,} bytes (--max-payload-mb)")
            accept = ",".join(request.headers.getall("Accept", ())) or None
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._workers.put(Pending(Request(body, request.headers.get("Content-Type"), accept), future))
            return await future
        finally:
            self._room.give(size)

    def _ready(self) -> bool:
        return self._workers.loaded.done()


def _response(reply: Reply) -> web.Response:
    from aiohttp import web

    content_type = reply.content_type
    if not isinstance(content_type, str) or any(ord(sign) < 32 or ord(sign) > 255 for sign in content_type):
        reply = text_reply(500, f"the module names a content type that cannot be sent: {content_type!r}")
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


async def serve(settings: Settings) -> int:
    """Serves until a signal comes; returns the exit code."""
    from aiohttp import web

    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        set_result(signalled, code)
        # A second one does what it does to any program.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    loop.add_signal_handler(signal.SIGTERM, end, EXIT_OK)
    loop.add_signal_handler(signal.SIGINT, end, EXIT_INTERRUPTED)

    started = time.monotonic()
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
    # Bound before the model is loaded: what is wrong with it should be known at once.
    listening = _listen(settings.host, settings.port)
    try:
        await web.SockSite(runner, listening, backlog=512).start()
        workers.start()
        either: list[asyncio.Future[Any]] = [workers.loaded, signalled]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if workers.loaded.done():
            handler = workers.loaded.result()
            if not settings.quiet:
                say(_describe(settings, handler, listening, time.monotonic() - started))
        code = await signalled
        ends_at = time.monotonic() + settings.grace_s
        lost = await _drain(server, runner, ends_at)
    finally:
        await runner.cleanup()
    ended = workers.stop(max(0.0, ends_at - time.monotonic()) if workers.loaded.done() else 0.0)
    if not settings.quiet:
        rows = f", {workers.rows:,} rows" if workers.rows else ""
        unanswered = f", {lost:,} left unanswered" if lost else ""
        say(f"stopped: {server.requests:,} requests answered{rows}{unanswered}")
    if not ended:
        # A thread is in the midst of a hook, or of loading; it has no way to be called off.
        sys.stderr.flush()
        os._exit(code)
    return code


async def _drain(server: Server, runner: web.AppRunner, ends_at: float) -> int:
    """Takes no new connection, and answers what comes on those that are open; the number of requests that were too slow."""
    server.end()
    await asyncio.sleep(0)  # what has been connected is accepted in this turn of the loop
    for site in list(runner.sites):
        await site.stop()
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < ends_at:
        if server.under_way:
            quiet_since = now
        assert runner.server is not None  # it is set up
        if not runner.server.connections or now - quiet_since > LAST_WORDS_S:
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
        raise ConfigError(f"there is no host {quote(host)}", code="bad_host") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)  # here a port that is taken tells, not when it is first used
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken", code="port_taken", hint="--port names another"
            ) from error
        raise ConfigError(f"cannot listen on port {port} of {host}: {error.strerror}", code="bad_host") from error
    return listening


def _describe(settings: Settings, handler: Handler, listening: socket.socket, seconds: float) -> str:
    """The line at the start."""
    host, port = listening.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if handler.predictor is None:
        assert handler.module is not None
        how = f"hooks of {handler.module.file}"
    else:
        how = "exact" if settings.exact else f"batches of {handler.predictor.batch_size}"
        how += f", {settings.workers} workers"
        if handler.module is not None:
            how += f", no hooks in {handler.module.file.name}"
    return f"serving {settings.model} ({settings.origin}) on http://{address}, {how}, ready in {seconds:.1f} s"
