"""The command that serves a model over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from typing import Any

from .. import machine
from ..errors import ConfigError
from ..serving.http import serve
from ..serving.settings import (
    DEFAULT_BASE,
    DEFAULT_PORT,
    PAYLOAD_MB_DEFAULT,
    PAYLOAD_MB_LIMIT,
    PAYLOAD_VARIABLE,
    PORT_VARIABLE,
    Settings,
    find_served_model,
)
from ._run import count_or_auto, run_command, whole_number

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
    return asyncio.run(serve(settings))
