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

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import machine
from ..commands._run import EXIT_INTERRUPTED, EXIT_OK, count_or_auto, run_command, say, whole_number
from ..errors import ConfigError, FastinferError, InputError, quote
from ..handlers.request import Answer, Request
from ..models.module import SHIPPED_MODEL, find_model

if TYPE_CHECKING:
    from aiohttp import web

    from ..handlers.hooks import Handler

PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
PAYLOAD_VARIABLE = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
DEFAULT_PORT = 8080
DEFAULT_BASE = "/opt/ml"

# What CreateTransformJob allows, and what the container takes beyond the 6 MiB that are the default.
PAYLOAD_MB_DEFAULT, PAYLOAD_MB_LIMIT = 6, 100
PAYLOAD_ROOM_BYTES = 6_553_500 - (6 << 20)

# A worker takes requests from the queue until it has so much to do: the others should have something as well.
TAKE_BYTES = 1 << 20

# What may be held of bodies that wait for their answer; others stay with their senders until there is room.
PENDING_BYTES = 256 << 20

# How long a sender may take for a body.
BODY_TIMEOUT_S = 60.0

# Connections that are open at the end are listened to for so long: what is on its way on them is still answered.
LAST_WORDS_S = 0.3

EPILOG = """\
GET /ping is 200 when the model is loaded. POST /invocations takes text/csv, application/json and application/x-npy, and
gives what Accept names of them (default JSON). GET /execution-parameters tells a transform job what suits. A model with
code/ and $SAGEMAKER_PROGRAM (or --program) answers by the hooks of that module.

With one row a request --exact is the faster mode as well (benchmarks/bench_serve.py); with hundreds of rows a request the
default mode is.

SIGTERM (docker stop) and Ctrl-C end it: what has been received is answered first.

exit codes: 0 ended by SIGTERM; 2 an option is wrong, the port is taken, or the machine lacks something; 3 the model cannot
be used; 130 ended by Ctrl-C.
"""


class Settings(NamedTuple):
    """What the command line says.

    Attributes:
        model, origin: the model, and where its name came from.
        program, exact, batch_size, device: see :func:`fastinfer.handlers.hooks.load_handler`.
        host, port: where to listen; port 0 takes a free one.
        workers: threads that compute.
        max_delay_s: how long a request may be held back for others to share its batch, while another batch runs.
        payload_mb: MiB of the largest body, as SageMaker counts them.
        grace_s: how long requests under way may take at the end.
        access_log: whether each request is told on stderr.
        quiet: whether nothing but errors is.
    """

    model: Path
    origin: str
    program: str | None
    exact: bool
    batch_size: int | None
    device: str
    host: str
    port: int
    workers: int
    max_delay_s: float
    payload_mb: int
    grace_s: float
    access_log: bool
    quiet: bool

    @property
    def payload_bytes(self) -> int:
        return (self.payload_mb << 20) + PAYLOAD_ROOM_BYTES

    @property
    def execution_parameters(self) -> dict[str, Any]:
        """What SageMaker is told for a transform job that says nothing else."""
        # As many as keep the workers busy and share batches, within what the service allows.
        concurrent = max(1, min(8 * self.workers, 100 // self.payload_mb))
        return {
            "MaxConcurrentTransforms": concurrent,
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": self.payload_mb,
        }


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    content_type: str


class Pending:
    """A request that waits for its reply, in the event loop's ``future``."""

    __slots__ = ("arrived", "future", "request", "size")

    def __init__(self, request: Request, future: asyncio.Future[Reply]) -> None:
        self.request = request
        self.size = len(request.body)
        self.future = future
        self.arrived = time.monotonic()


class Workers:
    """The threads that compute, and the queue before them.

    Args:
        loop: where replies go.
        settings: the command line's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._loop = loop
        self._settings = settings
        self._queue: deque[Pending] = deque()
        self._change = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self.loaded: asyncio.Future[Handler] = loop.create_future()
        self.rows = 0

    def start(self) -> None:
        """Starts loading the model, and then the workers. ``loaded`` says when, or what was wrong."""
        self._start_thread(self._load)

    def put(self, pending: Pending) -> None:
        """Queues a request."""
        with self._change:
            self._queue.append(pending)
            self._change.notify()

    def stop(self, timeout_s: float) -> bool:
        """Ends the workers when they have done what is queued; whether all have ended in time."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="fastinfer-worker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _load(self) -> None:
        from ..handlers.hooks import load_handler  # and with it NumPy

        settings = self._settings
        try:
            handler = load_handler(
                settings.model,
                program=settings.program,
                exact=settings.exact,
                batch_size=settings.batch_size,
                device=settings.device,
                threads=settings.workers,
            )
        except BaseException as error:
            self._tell(_set_exception, self.loaded, error)
            return
        self._tell(_set_result, self.loaded, handler)
        if not handler.has_hooks:
            for _ in range(settings.workers - 1):
                self._start_thread(self._work, handler)
        # Hooks run in the thread that loaded them, one request at a time.
        self._work(handler)

    def _work(self, handler: Handler) -> None:
        while batch := self._take():
            # Hooks answer one request at a time, and may take long: each is sent when it is ready.
            for requests in [[request] for request in batch] if handler.has_hooks else [batch]:
                self._answer(handler, requests)
            with self._change:
                self._busy -= 1
                self._change.notify()

    def _answer(self, handler: Handler, requests: list[Pending]) -> None:
        try:
            results = handler.answer_many([request.request for request in requests])
            replies = [_reply_with(result) for result in results]
            self.rows += sum(result.rows for result in results if not isinstance(result, Exception))
        except BaseException as error:  # a defect: requests still get a reply, and the worker goes on
            traceback.print_exc()
            replies = [_reply_to(error)] * len(requests)
        finally:
            results = []  # their errors' tracebacks refer to this frame
        self._tell(_deliver, list(zip(requests, replies)))

    def _take(self) -> list[Pending]:
        """The requests of the next batch; none when it is time to end."""
        with self._change:
            while True:
                while not self._queue:
                    if self._stopped:
                        return []
                    self._change.wait()
                self._wait_for_company()
                if self._queue:
                    break
                # Another worker was faster.
            requests = [self._queue.popleft()]
            size = requests[0].size
            while self._queue and size + self._queue[0].size <= TAKE_BYTES:
                size += self._queue[0].size
                requests.append(self._queue.popleft())
            self._busy += 1
            if self._queue:
                self._change.notify()
            return requests

    def _wait_for_company(self) -> None:
        """Holds the first request back while another batch runs, for as long as it may be."""
        delay_s = self._settings.max_delay_s
        while delay_s and self._busy and self._queue and not self._stopped:
            remaining = self._queue[0].arrived + delay_s - time.monotonic()
            if remaining <= 0 or sum(request.size for request in self._queue) >= TAKE_BYTES:
                return
            self._change.wait(remaining)

    def _tell(self, what: Any, *arguments: Any) -> None:
        # The loop is closed where the end did not wait for us.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *arguments)


def _deliver(replies: list[tuple[Pending, Reply]]) -> None:
    for request, reply in replies:
        _set_result(request.future, reply)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _reply_with(result: Answer | Exception) -> Reply:
    if not isinstance(result, Exception):
        return Reply(200, result.body, result.content_type)
    if not isinstance(result, FastinferError):
        # The author of a hook, or of fastinfer, needs to see where it failed; the sender only that it did.
        traceback.print_exception(type(result), result, result.__traceback__)
    return _reply_to(result)


def _reply_to(error: BaseException) -> Reply:
    """What a request is told that went wrong."""
    status = 500
    if isinstance(error, InputError):
        status = {"unsupported_content_type": 415, "unsupported_accept": 406}.get(error.code, 400)
    elif any(kind.__name__ == "BaseInferenceToolkitError" for kind in type(error).__mro__):
        # The toolkit's own way for a hook to name a status.
        found = getattr(error, "status_code", None)
        status = found if isinstance(found, int) and 400 <= found <= 599 else 500
        return _text(status, str(getattr(error, "message", error)))
    return _text(status, str(error) or type(error).__name__)


def _text(status: int, words: str) -> Reply:
    return Reply(status, f"{words}\n".encode(), "text/plain; charset=utf-8")


class _Room:
    """Bytes that may be held at a time; who finds none waits, first come first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        self._free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, future = self._waiting.popleft()
            if not future.done():
                self._free -= size
                future.set_result(None)


class Server:
    """The HTTP side: reads requests, hands them to the workers, sends their replies."""

    def __init__(self, settings: Settings, workers: Workers) -> None:
        self._settings = settings
        self._workers = workers
        self._room = _Room(max(PENDING_BYTES, 2 * settings.payload_bytes))
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
            return _text(413, f"the body has {length:,} bytes, {limit:,} are taken (--max-payload-mb)")
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            return _text(415, f"a body that is encoded as {quote(encoding)} is not taken")
        if not self._ready():
            return _text(503, "the model is being loaded")
        size = limit if length is None else length
        await self._room.take(size)
        try:
            try:
                reading = request.read()
                # Most bodies are there already, and a timer for each would cost more than reading it.
                body = await (reading if request.content.is_eof() else asyncio.wait_for(reading, BODY_TIMEOUT_S))
            except asyncio.TimeoutError:
                return _text(408, f"the body did not come within {BODY_TIMEOUT_S:.0f} s")
            except ConnectionError:
                return _text(400, "the connection was lost")  # no one hears it
            except web.HTTPRequestEntityTooLarge:
                body = None
            if body is None or len(body) > limit:
                return _text(413, f"the body has more than {limit:,} bytes (--max-payload-mb)")
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
        reply = _text(500, f"the module names a content type that cannot be sent: {content_type!r}")
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


async def _serve(settings: Settings) -> int:
    """Serves until a signal comes; returns the exit code."""
    from aiohttp import web

    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        _set_result(signalled, code)
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
        logger=_logger("fastinfer.serve"),
        access_log=_logger("fastinfer.access") if settings.access_log else None,
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


def _logger(name: str) -> logging.Logger:
    """A logger that prints on stderr, but not what senders do wrong in HTTP: they are told, and it is no one else's."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(_is_no_bad_request)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    from aiohttp.http_exceptions import HttpProcessingError

    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def find_served_model(model: str | None) -> tuple[Path, str]:
    """The model to serve and where its name came from: as for every command, and SageMaker's own folder before the one
    that fastinfer ships."""
    path, origin = find_model(model)
    if path is SHIPPED_MODEL:
        base, named = os.environ.get(BASE_VARIABLE), f"${BASE_VARIABLE}"
        folder = Path(base or DEFAULT_BASE, "model")
        if folder.is_dir():
            return folder, named if base else "SageMaker's folder"
    return path, origin


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_run, argv)


def _port(text: str) -> int:
    number = whole_number(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"expected a port of at most 65535, found {text!r}")
    return number


def _payload_mb(text: str) -> int:
    number = whole_number(text)
    if not 1 <= number <= PAYLOAD_MB_LIMIT:
        raise argparse.ArgumentTypeError(f"expected 1 to {PAYLOAD_MB_LIMIT} MB, found {text!r}")
    return number


def _duration(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 3600, found {text!r}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastinfer.serve",
        description="Serve a model over HTTP as SageMaker's MXNet container does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # The word that SageMaker puts behind an image's name.
    parser.add_argument("word", nargs="?", choices=["serve"], metavar="serve", help="may stand here, and says nothing")
    parser.add_argument(
        "--model",
        metavar="PATH",
        help="folder or model.tar.gz as SageMaker training saved it (default: $FASTINFER_MODEL, $SM_MODEL_DIR, "
        f"{DEFAULT_BASE}/model if it is there, else the MNIST model that fastinfer ships)",
    )
    parser.add_argument(
        "--program",
        metavar="NAME",
        help="the module in the model's code/ whose hooks answer (default: $SAGEMAKER_PROGRAM, else inference.py if it is "
        "there; '': none)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="where to listen (default 127.0.0.1: this machine alone; in a container 0.0.0.0)",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"default ${PORT_VARIABLE}, else {DEFAULT_PORT}; 0: any"
    )
    parser.add_argument(
        "--exact", action="store_true", help="the container's own bytes: every row computed as at batch size 1"
    )
    parser.add_argument(
        "--batch-size",
        type=count_or_auto,
        metavar="auto|N",
        help="rows of one forward pass (default auto: a size at which a row's bytes depend on the row alone)",
    )
    parser.add_argument(
        "--workers", type=count_or_auto, metavar="auto|N", help="threads that compute (default auto: one a core)"
    )
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu|gpu:0,1", help="where the model runs (default cpu)")
    parser.add_argument(
        "--max-delay-ms",
        type=_duration,
        default=1.0,
        metavar="MS",
        help="how long a request may be held back to share a batch while another batch runs (default 1; 0: not at all)",
    )
    parser.add_argument(
        "--max-payload-mb",
        type=_payload_mb,
        metavar="N",
        help=f"largest body, up to {PAYLOAD_MB_LIMIT} (default ${PAYLOAD_VARIABLE}, else {PAYLOAD_MB_DEFAULT})",
    )
    parser.add_argument(
        "--grace-s",
        type=_duration,
        default=8.0,
        metavar="S",
        help="how long requests under way may take at the end (default 8: docker stop kills after 10)",
    )
    parser.add_argument("--access-log", action="store_true", help="a line on stderr for each request")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _from_environment(name: str, convert: Any, default: int) -> int:
    """A number that SageMaker sets."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        number: int = convert(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"${name}: {error}", code="bad_environment") from error
    return number


def parse_settings(argv: Sequence[str] | None = None) -> Settings:
    """The settings of a command line and the environment.

    Raises:
        ConfigError: the environment makes no sense.
        SystemExit: by argparse, for what it refuses.
    """
    arguments = _parser().parse_args(argv)
    model, origin = find_served_model(arguments.model)
    payload_mb = arguments.max_payload_mb or _from_environment(PAYLOAD_VARIABLE, _payload_mb, PAYLOAD_MB_DEFAULT)
    port = arguments.port if arguments.port is not None else _from_environment(PORT_VARIABLE, _port, DEFAULT_PORT)
    return Settings(
        model=model,
        origin=origin,
        program=arguments.program,
        exact=arguments.exact,
        batch_size=arguments.batch_size,
        device=arguments.device,
        host=arguments.host,
        port=port,
        workers=arguments.workers or machine.cores(),
        max_delay_s=arguments.max_delay_ms / 1000,
        payload_mb=payload_mb,
        grace_s=arguments.grace_s,
        access_log=arguments.access_log,
        quiet=arguments.quiet,
    )


def _run(argv: Sequence[str] | None) -> int:
    settings = parse_settings(argv)
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "aiohttp is not installed, and the server stands on it",
            code="aiohttp_missing",
            hint="pip install 'fastinfer[serve]'",
        ) from error
    return asyncio.run(_serve(settings))


if __name__ == "__main__":
    sys.exit(main())
