"""``fastinfer verify``: checks a certificate again, or makes the outputs of a run again."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial

from ..errors import ConfigError, FastinferError, counted
from ..models.certificate import SUFFIX as CERTIFICATE
from ..models.files import ONNX_SUFFIX
from ..storage.places import plain_place
from ..storage.uri import is_url
from ._bar import Bar
from ._run import help_formatter, path, positive_number, run_command, say, stdout_for_data

EPILOG = """\
WHAT is the folder of a run, a path or a URL: its outputs (--sample: some of them) are made again by what its
_run.json says, elsewhere, and compared byte for byte; where one differs, the first byte is named, and
what the bytes depend on that has changed.

Or WHAT is a model.onnx with its certificate, model.onnx.json. The files' hashes are compared, and both engines run again on
the rows of the certificate. Where MXNet or the model that was exported is not there, onnxruntime's answers are compared
with those that the certificate has of MXNet.

exit codes: 0 it holds; 1 it does not; 2 an option is wrong, or a package is missing; 3 a model or certificate cannot be read.
"""


def main(argv: Sequence[str] | None = None, prog: str = "fastinfer verify") -> int:
    """The command; returns its exit code. `prog` is what its usage line calls it."""
    return run_command(partial(_verify, prog), argv)


def make_parser(prog: str = "fastinfer verify") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make the outputs of a run again, or check a certificate.",
        epilog=EPILOG,
        formatter_class=help_formatter,
    )
    parser.add_argument(
        "what", type=path, metavar="WHAT", help="the folder of a run, or a model.onnx of `fastinfer export`"
    )
    parser.add_argument(
        "--sample", type=positive_number, metavar="N", help="of a run: so many outputs, not all; always the same ones"
    )
    parser.add_argument(
        "--model",
        type=path,
        metavar="PATH",
        help="the model that was run, or exported (default: where it was then, unless it has code of its own)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was found as JSON on stdout, and nothing else there"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    return parser


def _verify(prog: str, argv: Sequence[str] | None) -> int:
    arguments = make_parser(prog).parse_args(argv)
    is_model = arguments.what.endswith(ONNX_SUFFIX)
    if is_url(plain_place(arguments.what)):
        if is_model:
            raise ConfigError(
                f"the model must be a path of this machine, found {arguments.what!r}",
                code="bad_place",
                hint=f"fetch it first, with its certificate {arguments.what}{CERTIFICATE}",
            )
        return verify_outputs(arguments)
    arguments.what = plain_place(arguments.what)
    if os.path.isdir(arguments.what):
        return verify_outputs(arguments)
    if not arguments.what.endswith(ONNX_SUFFIX):
        raise ConfigError(f"expected the folder of a run, or a model *{ONNX_SUFFIX}, found {arguments.what!r}")
    return verify_certificate(arguments.what, arguments.model, as_json=arguments.json, quiet=arguments.quiet)


def verify_outputs(arguments: argparse.Namespace) -> int:
    """Makes the outputs of a run again; returns the exit code."""
    from ..engine.verify import verify_run  # --help needs no NumPy

    with stdout_for_data(arguments.json):
        found = verify_run(arguments.what, arguments.model, sample=arguments.sample)
    for key, place, reason in found.differing:
        where = "is not made again" if place is None else f"differs from byte {place:,} on"
        say(f"error: {arguments.what}/{key}.out: {where}: {reason}")
    if not arguments.quiet:
        for change in found.changes:
            say(f"note: {change}")
        lost = f", {found.without_input:,} left out, whose inputs are not there any more" if found.without_input else ""
        say(f"{counted(found.compared, 'output')} made again, {len(found.differing):,} differ{lost}")
    if arguments.json:
        print(json.dumps({**found._asdict(), "differing": [each._asdict() for each in found.differing]}))
    return 1 if found.differing else 0


def verify_certificate(onnx: str, model_path: str | None, *, as_json: bool, quiet: bool) -> int:
    """Checks the certificate of a model in ONNX; returns the exit code."""
    # Imported late: --help needs no NumPy.
    from ..export.certificate import PROBE
    from ..export.convert import verify_model
    from ..models.certificate import Certificate
    from ..models.module import load_model
    from ..runtimes import load_runtime
    from .export import read_rows

    facts = Certificate.read(f"{onnx}{CERTIFICATE}").facts
    try:
        model = load_model(model_path or facts["model"]["path"], **facts["model"]["choice"])
        load_runtime("mxnet")
    except FastinferError as error:
        if model_path is not None:
            raise
        model = None
        if not quiet:
            say(f"note: stored answers are compared, MXNet does not run: {error}")
    source, rows = facts["rows"]["source"], None
    if source != PROBE and model is not None:
        rows = read_rows(source, model.row_values)
    with Bar(quiet=quiet) as bar:
        found = verify_model(onnx, model, rows, tell=bar.starting)
    for reason in found.reasons:
        say(f"error: {onnx}: {reason}")
    if not found.reasons and not quiet:
        how = "MXNet and onnxruntime ran again" if found.with_mxnet else "onnxruntime gives MXNet's stored answers"
        say(f"{onnx}: the certificate holds: {how} on {found.rows:,} rows")
    if as_json:
        print(
            json.dumps(
                {"holds": not found.reasons, "reasons": found.reasons, "rows": found.rows, "mxnet": found.with_mxnet}
            )
        )
    return 1 if found.reasons else 0
