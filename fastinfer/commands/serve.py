"""``fastinfer serve``, also ``python -m fastinfer.serve``: answers HTTP requests as SageMaker's MXNet container does.

Messages go to stderr; nothing is printed on stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from .. import machine
from ..errors import ConfigError, FastinferError, counted
from ..extras import install_command
from ..models.files import CODE
from ..serving.settings import (
    DEFAULT_BASE,
    DEFAULT_PORT,
    PAYLOAD_MB_DEFAULT,
    PAYLOAD_MB_LIMIT,
    PAYLOAD_VARIABLE,
    PORT_VARIABLE,
    Settings,
    find_served_model,
    from_environment,
    parse_payload_mb,
    parse_port,
)
from ._model import MODEL_HINTS, add_model_options, certificate_line, choice_of
from ._run import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    add_computing_options,
    help_formatter,
    run_command,
    runtime_of_argument,
    say,
)

if TYPE_CHECKING:
    from ..handlers.hooks import Handler
    from ..serving.http import Ending

EPILOG = """\
GET /ping returns 200 when the model is loaded and all workers work, else 503. POST /invocations accepts text/csv,
application/json, application/jsonlines, application/x-npy and application/x-image, and answers in the first of them, but
images, that the Accept header names (default: JSON). GET
/execution-parameters returns settings for a transform job. If the model has code/, and $SAGEMAKER_PROGRAM or --program
names a module in it, that module's hooks answer.

With one row per request, --exact is also the faster mode (benchmarks/bench_serve.py); with hundreds of rows per request,
the default mode is faster.

Bodies and replies must move at 64 KiB/s after 5 s; silent connections are closed; connections stay below 80 % of
`ulimit -n`. All limits: docs/sagemaker.md.

SIGTERM (docker stop) and Ctrl-C stop the server after it has answered the requests that it has read, for at most --grace-s.
The last reply of a connection says Connection: close: what was sent behind it on the same connection is not answered.

exit codes: 0 stopped by SIGTERM; 2 an option is wrong, the port is in use, or the machine lacks something; 3 the model
cannot be used; 130 stopped by Ctrl-C.
"""


# Where OpenSSL looks for certificates.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

# Hints in terms of this command's options, by code.
HINTS = {
    **MODEL_HINTS,
    "model_missing": "name a folder or a model.tar.gz with --model",
    "no_program": "--program names the module; --program '' means that none serves",
    "no_such_device": "--device cpu",
    "port_taken": "--port names another",
}


def main(argv: Sequence[str] | None = None, prog: str = "fastinfer serve") -> int:
    """The command; returns its exit code.

    Args:
        argv: the arguments; None: those of the process.
        prog: what --help calls the command.
    """
    return run_command(lambda argv: _serve(argv, prog), argv, hint=lambda error: HINTS.get(error.code))


def _serve(argv: Sequence[str] | None, prog: str) -> int:
    started = time.monotonic()
    arguments = make_parser(prog).parse_args(argv)
    model, origin = find_served_model(arguments.model)
    settings = make_settings(arguments, model)
    # A model's own code may have a say in how MXNet starts, and be a client itself.
    has_no_code = model.is_dir() and not (model / CODE).exists()
    if has_no_code and settings.runtime != "onnx":
        threading.Thread(target=_load_library).start()
    try:
        with without_certificates() if has_no_code else contextlib.nullcontext():
            import aiohttp  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the server requires aiohttp, which cannot be imported: {error}",
            code="aiohttp_missing",
            hint=install_command("serve"),
        ) from error

    # Imported late, as --help should not wait for it.
    import asyncio

    from ..serving.http import serve

    def on_ready(handler: Handler, address: str) -> None:
        from ..models.code import has_requirements, requirements_note  # late: the model's loading has done it

        if not arguments.quiet:
            how = describe_handler(handler, settings)
            seconds = time.monotonic() - started
            certificate = None if handler.predictor is None else certificate_line(handler.predictor.model)
            if certificate is not None:
                say(certificate)
            if handler.module is not None and has_requirements(handler.module.code.parent):
                say(f"warning: {requirements_note(model)}")
            say(f"serving {model} ({origin}) on http://{address}, {how}, ready in {seconds:.1f} s")

    ending = asyncio.run(serve(settings, on_ready))
    if not arguments.quiet:
        say(describe_ending(ending))
    code = EXIT_OK if ending.signal.name == "SIGTERM" else EXIT_INTERRUPTED
    if not ending.workers_ended:
        # A thread that cannot be stopped must not keep the process alive.
        sys.stderr.flush()
        os._exit(code)
    return code


def _load_library() -> None:
    """Loads MXNet's library while another thread imports aiohttp: the linker needs no lock of the interpreter.

    The model's loading reports what is wrong.
    """
    from ..runtimes.mxnet.libmxnet import load_libmxnet
    from ..runtimes.mxnet.settings import INFERENCE_SETTINGS

    with contextlib.suppress(FastinferError):
        load_libmxnet(INFERENCE_SETTINGS)


@contextlib.contextmanager
def without_certificates() -> Iterator[None]:
    """For the import of aiohttp, which reads the authorities' certificates for its client; that takes longer than the rest."""
    kept = {name: os.environ.pop(name, None) for name in CERTIFICATES}
    os.environ.update(dict.fromkeys(CERTIFICATES, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def describe_handler(handler: Handler, settings: Settings) -> str:
    """What answers, for the line that is printed when the server is ready."""
    if handler.predictor is None:
        assert handler.module is not None  # it has the hooks
        return f"hooks of {handler.module.file}"
    mode = "exact" if settings.exact else f"batches of {handler.predictor.batch_size}"
    no_hooks = "" if handler.module is None else f", no hooks in {handler.module.file.name}"
    threads = handler.predictor.operator_threads
    lone = f", a lone row on {threads} threads" if threads > 1 else ""
    return f"{mode}, {counted(settings.workers, 'worker')}{lone}{no_hooks}"


def describe_ending(ending: Ending) -> str:
    """The last line."""
    rows = f", {counted(ending.rows, 'row')}" if ending.rows else ""
    unanswered = f", {ending.unanswered:,} left unanswered" if ending.unanswered else ""
    return f"stopped: {counted(ending.requests, 'request')} answered{rows}{unanswered}"


def make_settings(arguments: argparse.Namespace, model: Path) -> Settings:
    """The settings of parsed arguments and of the environment.

    Raises:
        ConfigError: ``bad_environment``.
    """
    port, payload_mb = arguments.port, arguments.max_payload_mb
    if port is None:
        port = from_environment(PORT_VARIABLE, parse_port, DEFAULT_PORT)
    if payload_mb is None:
        payload_mb = from_environment(PAYLOAD_VARIABLE, parse_payload_mb, PAYLOAD_MB_DEFAULT)
    return Settings(
        model=model,
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
        drain_s=arguments.drain_s,
        access_log=arguments.access_log,
        choice=choice_of(arguments),
        runtime=runtime_of_argument(arguments),
    )


def make_parser(prog: str = "fastinfer serve") -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve a model over HTTP as SageMaker's MXNet container does.",
        epilog=EPILOG,
        formatter_class=help_formatter,
    )
    # SageMaker starts a container with this argument.
    parser.add_argument(
        "word", nargs="?", choices=["serve"], metavar="serve", help="accepted for compatibility with SageMaker; ignored"
    )
    add_model_options(
        parser,
        default=f"$FASTINFER_MODEL, $SM_MODEL_DIR, {DEFAULT_BASE}/model if it exists, else fastinfer's own",
    )
    parser.add_argument(
        "--program",
        metavar="NAME",
        help="the module in the model's code/ whose hooks answer (default: $SAGEMAKER_PROGRAM, else inference.py if it "
        "exists; '': none)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on (default 127.0.0.1: only this machine can connect; use 0.0.0.0 in a container)",
    )
    parser.add_argument(
        "--port",
        type=_option(parse_port),
        metavar="N",
        help=f"port to listen on (default ${PORT_VARIABLE}, else {DEFAULT_PORT}; 0: any free one)",
    )
    add_computing_options(
        parser,
        workers="threads that compute, among which a lone row of a costly model is divided (default auto: one per core)",
    )
    parser.add_argument(
        "--max-delay-ms",
        type=_duration,
        default=1.0,
        metavar="MS",
        help="longest time that a request waits to share a batch while another batch runs (default 1; 0: no wait)",
    )
    parser.add_argument(
        "--max-payload-mb",
        type=_option(parse_payload_mb),
        metavar="N",
        help=f"size of the largest body in MB, up to {PAYLOAD_MB_LIMIT} (default ${PAYLOAD_VARIABLE}, else "
        f"{PAYLOAD_MB_DEFAULT})",
    )
    parser.add_argument(
        "--grace-s",
        type=_duration,
        default=8.0,
        metavar="S",
        help="seconds to finish requests in progress when stopping (default 8: docker stop kills after 10)",
    )
    parser.add_argument(
        "--drain-s",
        type=_duration,
        default=0.3,
        metavar="S",
        help="when stopping, close open connections that are silent for this time (default 0.3)",
    )
    parser.add_argument("--access-log", action="store_true", help="print a line on stderr for each request")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _option(parse: Callable[[str], int]) -> Callable[[str], int]:
    """A setting's parser as the type of an option, so that argparse prints its message."""

    def convert(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _duration(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 3600, found {text!r}")
    return number
