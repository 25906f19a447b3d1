"""``fastinfer export MODEL model.onnx``: a model of MXNet as ONNX, with a certificate that both give the same."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ConfigError, InputError
from ..storage.places import plain_place
from ..storage.uri import is_url
from ._bar import Bar
from ._model import MODEL_HINTS, add_model_options, choice_of
from ._run import help_formatter, path, run_command, say

if TYPE_CHECKING:
    from ..export.certificate import Rows
    from ..export.convert import Exported
    from ..records.split import Payload, Record

EPILOG = """\
Both engines run on the same rows: MXNet each record alone, as SageMaker's container does, or as many as its graph holds; and
onnxruntime, alone and in batches. model.onnx and its certificate, model.onnx.json, are written if no value is further away
than --tolerance, and no row has another label. Else nothing is written, and the first node at which the two part is named.
`fastinfer verify model.onnx` checks it again.

exit codes: 0 certified and written; 1 not certified; 2 an option is wrong, or a package is missing; 3 the model cannot be
used, or an operator of it has no translation; 4 the file cannot be written.
"""

HINTS = {**MODEL_HINTS, "file_exists": "name another file, or --overwrite"}
# The operators that give the places of values, of equal ones in an order of MXNet's own.
PLACES = ("argsort", "topk")
# Of the user's rows, so many are compared.
MOST_ROWS = 10_000
# Of a line that is longer the end is not looked for.
LONGEST_LINE = 256 << 20


def main(argv: Sequence[str] | None = None, prog: str = "fastinfer export") -> int:
    """The command; returns its exit code. `prog` is what its usage line calls it."""
    return run_command(partial(_export, prog), argv, hint=lambda error: HINTS.get(error.code))


def make_parser(prog: str = "fastinfer export") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write an MXNet model as ONNX, and certify that onnxruntime gives what MXNet gives.",
        epilog=EPILOG,
        formatter_class=help_formatter,
    )
    parser.add_argument(
        "model", type=path, metavar="MODEL", help="folder or model.tar.gz, as for `fastinfer transform`"
    )
    parser.add_argument("output", type=path, metavar="model.onnx", help="the file to write")
    parser.add_argument(
        "--rows", type=path, metavar="IN", help="CSV records on which the two are compared (default: rows made up)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=None,
        metavar="X",
        help="how far a value may be, relative to the largest value of its row (default 1e-5)",
    )
    add_model_options(parser, default=None)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    return parser


def _export(prog: str, argv: Sequence[str] | None) -> int:
    arguments = make_parser(prog).parse_args(argv)
    if not arguments.output.endswith(".onnx"):
        raise ConfigError(f"the file must be named *.onnx, found {arguments.output!r}")
    arguments.output = plain_place(arguments.output)
    if is_url(arguments.output):
        raise ConfigError(
            f"the file must be a path of this machine, found {arguments.output!r}",
            code="bad_place",
            hint="put it there afterwards, with its certificate",
        )
    # Imported late: --help needs no NumPy.
    from ..export.certificate import DEFAULT_TOLERANCE
    from ..export.convert import check_absent, export_model, write_model
    from ..models.module import load_model

    if not arguments.overwrite:
        check_absent(arguments.output)
    choice = choice_of(arguments)
    model = load_model(arguments.model, **choice)
    rows = None if arguments.rows is None else read_rows(arguments.rows, model.row_values)
    tolerance = DEFAULT_TOLERANCE if arguments.tolerance is None else arguments.tolerance
    with Bar(quiet=arguments.quiet) as bar:
        exported = export_model(model, arguments.output, rows, tolerance=tolerance, choice=choice, tell=bar.starting)
    if exported.certificate is not None:
        write_model(exported, arguments.output)
        if not arguments.quiet:
            say(f"{arguments.output}: {exported.certificate.summary()}")
    else:
        say(f"error: {arguments.output} is not written: " + "; ".join(describe_refusal(exported)))
    if arguments.json:
        print(json.dumps(_as_json(exported)))
    return 0 if exported.certificate is not None else 1


def describe_refusal(exported: Exported) -> list[str]:
    """Why a model is not certified, and where the two engines part."""
    lines = list(exported.reasons)
    parting = exported.parting
    if parting is None:
        lines.append("no node by itself differs by more than that")
    else:
        lines.append(
            f"they part at {parting.node} ({parting.operator}), by {parting.difference.relative:.2g} of its largest value; "
            f"what it reads differs by {parting.before:.2g}"
        )
        if parting.operator in PLACES:
            lines.append(
                "equal values have another order there: compare rows of your own, which may have none, with --rows"
            )
    return lines


def read_rows(source: str, row_values: int) -> Rows:
    """The records of a file, a folder or a glob of CSV, also of compressed ones.

    Raises:
        InputError: they cannot be read, or are not records of this size.
    """
    import numpy as np

    from ..codecs.csv_body import decode_csv_body
    from ..engine.source import find_objects
    from ..export.certificate import Rows
    from ..records.compression import AUTO, expand
    from ..records.split import split
    from ..storage.places import source_of

    parts, count = [], 0
    for item in find_objects(source):
        if item.problem is not None:
            raise item.problem
        with source_of(item.uri).open(item) as reader:
            lines = split(expand(reader, AUTO, item), "line", most_bytes=LONGEST_LINE, path=item.uri)
            payload = _first_records(lines, row_values, MOST_ROWS - count)
        try:
            part = decode_csv_body(payload.content, (row_values,))
        except InputError as error:
            raise payload.locate(error).at(path=item.uri) from error
        parts.append(part)
        count += len(part)
        if count >= MOST_ROWS:
            say(f"note: the first {MOST_ROWS:,} rows of {source} are compared")
            break
    if not parts:
        raise ConfigError(f"there is no row in {source}")
    return Rows(source, np.ascontiguousarray(np.concatenate(parts)[:MOST_ROWS]))


def _first_records(lines: Iterator[Record], row_values: int, most: int) -> Payload:
    """The lines of so many records at most; what is behind them is not read. A record may have several lines."""
    from ..records.split import Payload

    records = list(itertools.islice(lines, 1))
    if records:
        fields = records[0].content.count(b",") + 1
        records += itertools.islice(lines, most * max(1, row_values // fields) - 1)
    return Payload(b"".join(record.content for record in records), [record.place for record in records])


def _as_json(exported: Exported) -> dict[str, object]:
    certificate, parting = exported.certificate, exported.parting
    return {
        "certified": certificate is not None,
        "certificate": None if certificate is None else certificate.facts,
        "reasons": list(exported.reasons),
        "parting": None if parting is None else {**parting._asdict(), "difference": parting.difference.as_dict()},
    }
