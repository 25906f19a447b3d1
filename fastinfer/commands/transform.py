"""``fastinfer transform IN OUT``: batch transform on this machine.

``--json`` goes to stdout, messages and progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine.request import TransformRequest
from ..errors import FastinferError, counted
from ..options import BACKENDS, CODE, ON_ERROR, RECORDS, Limits, Options
from ._model import MODEL_HINTS, add_model_options, certificate_line, choice_of
from ._request import add_request_options, read_job, request_of
from ._run import (
    add_computing_options,
    as_option,
    help_formatter,
    path,
    run_command,
    runtime_of_argument,
    say,
    stdout_for_data,
    whole_number,
)

if TYPE_CHECKING:
    from ..engine.code_model import CodeModel
    from ..engine.source import Listing
    from ..engine.summary import Summary
    from ..models.load import AnyModel

EPILOG = """\
IN may be a folder (every file below it, but none whose name, or whose folder's, begins with . or _), a file, or a quoted
glob. IN/x/NAME.csv becomes OUT/x/NAME.csv.out, in the format of SageMaker Batch Transform's MXNet container; with --exact,
in exactly its bytes. A second run continues where the first stopped: finished outputs of unchanged inputs are kept.

exit codes: 0 done; 1 an input is wrong (also if it was quarantined); 2 an option is wrong, or the machine lacks
something; 3 the model cannot be used; 4 an output cannot be written; 5 a worker process died twice on the same inputs;
6 AWS or another service refused a call or could not be reached; 70 internal error; 130 interrupted. Finished outputs are
kept in every case.
"""

# Hints in terms of this command's options, by code; instead of those of the library.
HINTS = {
    **MODEL_HINTS,
    "has_code": "--code run calls it, --code ignore uses the model without it",
    "empty_cell": "--missing VALUE reads it",
    "mixed_rows": "--exact computes each record by itself",
    "mixed_batch": "leave --batch-size out: records are computed one by one then",
    "model_missing": "name a folder or a model.tar.gz with --model",
    "refused_record": "correct it, or go on without it: --on-error quarantine",
    "other_machine": "use the same versions and environment on all machines, and --cpu-isa for different CPUs",
    "other_run": "name another folder, or --overwrite",
}
# The column of a line's first field, also behind a byte order mark.
FIRST_COLUMNS = (1, 4)


def main(argv: Sequence[str] | None = None, prog: str = "fastinfer transform") -> int:
    """The command; returns its exit code. `prog` is what its usage line calls it."""
    return run_command(partial(_transform, prog), argv, hint=option_hint)


def option_hint(error: FastinferError) -> str | None:
    """The hint that names an option of this command; None where it has none for the error."""
    if error.code == "wrong_width":
        return f"{error.hint} (--records total reads records across lines, as the container does)"
    if error.code == "empty_cell" and error.hint is not None:
        return f"{error.hint}; {HINTS[error.code]}"
    if error.code == "expected_number":
        from ..codecs.csv_errors import ID_HINT  # late: --help does without

        if (error.found or "").startswith("#"):
            return "--comment '#' skips comments"
        if error.hint == ID_HINT:
            return f"{error.hint}; --id-column 0 puts it in front of the answer"
        if error.hint is None and error.line == 1 and error.column in FIRST_COLUMNS:
            return "--header skip skips a first line of names"
    if error.code == "no_such_device":
        return f"--device cpu, or {error.hint}" if error.hint else "--device cpu"
    return HINTS.get(error.code)


def _size(text: str) -> int:
    """Bytes, with K, M or G for powers of 1024."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdigit()) or unit not in ("", "K", "M", "G"):
        raise argparse.ArgumentTypeError(f"expected a size such as 500M or 2G, found {text!r}")
    return int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]


def make_parser(prog: str = "fastinfer transform") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        # Also, what argparse makes of so many options takes long, and parse_intermixed_args() makes it each time.
        usage="%(prog)s IN OUT [options]\n       %(prog)s --job FILE [IN] [OUT] [options]",
        description="Run a model over the records of files or objects, on this machine.",
        epilog=EPILOG,
        formatter_class=help_formatter,
    )
    parser.add_argument(
        "input", type=path, metavar="IN", nargs="?", help="folder, file or glob of the objects; a path or a URL"
    )
    parser.add_argument(
        "output", type=path, metavar="OUT", nargs="?", help="folder of the results, a path or a URL; created if missing"
    )
    parser.add_argument(
        "--job",
        type=path,
        metavar="FILE",
        help="do what a CreateTransformJob request says (also DescribeTransformJob's answer, or a filled skeleton of the AWS "
        "CLI); IN, OUT and --model replace its places",
    )
    add_model_options(parser, default="$FASTINFER_MODEL, $SM_MODEL_DIR, else the MNIST model that comes with fastinfer")
    add_request_options(parser)
    add_computing_options(
        parser, workers="number of workers, each with its own graph (default auto: one per core, or one per GPU)"
    )
    parser.add_argument("--comment", metavar="CHAR", help="skip from this character to the end of its line")
    parser.add_argument("--missing", type=float, metavar="VALUE", help="read an empty cell as this number")
    parser.add_argument(
        "--header",
        choices=["none", "skip", "keep"],
        default="none",
        help="skip the first line of each file; keep: it has the columns' names, and stands in a joined result",
    )
    parser.add_argument(
        "--records",
        choices=RECORDS,
        default="lines",
        help="lines (default): lines that are cut across records are an error; total: only the total of values counts, as in "
        "SageMaker's container",
    )
    parser.add_argument(
        "--code",
        choices=CODE,
        help="what is done with hooks (model_fn, input_fn, ...) in the model's code/: run: they answer, as in SageMaker's "
        "container; ignore: the model answers without them; hooks without this option are an error",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="at a bad record: stop (default, but not with --job); quarantine: put it into OUT/_rejects.jsonl, write null in "
        "its place and continue; continue: do so with its whole object, as Batch Transform (default with --job)",
    )
    parser.add_argument(
        "--only-rejects",
        action="store_true",
        help="only inputs that OUT/_rejects.jsonl names, after they were mended; those that have not changed are left alone",
    )
    parser.add_argument(
        "--max-errors", type=whole_number, metavar="N", help="stop when more records than this are rejected"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="kind of workers: threads (default); processes, for isolation: one that dies is replaced (default with --code "
        "run); or tasks of dask or ray, on all machines that see IN and OUT under the same paths",
    )
    parser.add_argument(
        "--address",
        metavar="WHERE",
        help="dask scheduler (tcp://HOST:8786) or ray cluster (HOST:6379, auto); default: one started here for the run",
    )
    parser.add_argument(
        "--memory-limit",
        type=_size,
        metavar="SIZE",
        help="memory that the process may use, such as 500M or 2G; a longer line is an error",
    )
    parser.add_argument(
        "--durable", action="store_true", help="write each output to the disk before it gets its name (fsync)"
    )
    parser.add_argument(
        "--cpu-isa",
        metavar="NAME",
        help="highest instruction set of oneDNN and OpenBLAS (AVX2, AVX512_CORE, ...): the same bytes on different CPUs",
    )
    parser.add_argument(
        "--table",
        type=path,
        metavar="FILE",
        help="beside the outputs, all their rows as one table, .parquet or .csv: source, record, id, prediction, probabilities",
    )
    parser.add_argument("--profile", action="store_true", help="print the time that workers spent in each stage")
    parser.add_argument(
        "--request-price",
        metavar="READS,WRITES",
        help="with --dry-run: what a thousand requests to S3 cost, GET and HEAD, PUT and LIST",
    )
    parser.add_argument("--dry-run", action="store_true", help="report what would be done, and do nothing")
    parser.add_argument(
        "--json", action="store_true", help="print the summary as JSON on stdout, and nothing else there"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    parser.add_argument("--verbose", action="store_true", help="name each object that is passed over, and why")
    return parser


def _transform(prog: str, argv: Sequence[str] | None) -> int:
    parser = make_parser(prog)
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        # OUT may follow options, although both are optional beside --job. It takes twice as long.
        arguments = parser.parse_intermixed_args(argv)
    if arguments.job is None and arguments.output is None:
        parser.error("IN and OUT are required, or --job FILE")

    # Imported late, here and below: --help needs none of it, and --dry-run not all.
    from ..engine.code_model import CodeModel, choose_served
    from ..engine.source import name_source
    from ..models.module import find_model
    from ..outputs.layout import OutputLayout
    from ..storage.places import folder_place, plain_place
    from ..storage.uri import from_here

    request, unused = (request_of(arguments), []) if arguments.job is None else read_job(arguments)
    os.environ.update(request.env)  # before a model, or its code, is loaded
    options = Options(
        exact=arguments.exact,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        device=arguments.device,
        overwrite=arguments.overwrite,
        comment=arguments.comment,
        missing=arguments.missing,
        skip_header=arguments.header == "skip",
        records=arguments.records,
        backend=arguments.backend or "threads",
        address=arguments.address,
        on_error=arguments.on_error or ("stop" if arguments.job is None else "continue"),
        max_errors=arguments.max_errors,
        memory_limit=arguments.memory_limit,
        durable=arguments.durable,
        cpu_isa=arguments.cpu_isa,
        runtime=runtime_of_argument(arguments),
        code=arguments.code,
        table=arguments.table,
        spell=as_option,
    )
    found, origin = find_model(arguments.model)
    model = choose_served(found, options, **choice_of(arguments))
    if isinstance(model, CodeModel) and arguments.backend is None:
        # Hooks are Python, and called one after the other in a process.
        options = replace(options, backend="processes", spell=as_option)
    if arguments.quiet:
        warnings.simplefilter("ignore", RuntimeWarning)
    else:
        if unused:
            say(f"note: {', '.join(unused)}: without meaning on this machine")
        if arguments.model is None:
            say(f"model: {found} ({origin})")
        certificate = None if isinstance(model, CodeModel) else certificate_line(model)
        if certificate is not None:
            say(certificate)
    arguments.input, arguments.output = plain_place(arguments.input), folder_place(arguments.output)
    if isinstance(model, CodeModel):  # its code may change the working folder
        arguments.input, arguments.output = from_here(arguments.input), from_here(arguments.output)
    if arguments.dry_run:
        return _dry_run(arguments, model, options, request)

    from ..engine.run import transform
    from ._bar import Bar

    source = arguments.input
    objects = _list(arguments, request)
    if objects.means_nothing:
        say("nothing was rejected")
        return 0
    with stdout_for_data(arguments.json), Bar(quiet=arguments.quiet) as bar:
        summary = transform(
            model,
            objects,
            arguments.output,
            options,
            source=name_source(source),
            progress=bar,
            request=request,
        )
    if not arguments.quiet:
        if not summary.invariant:
            say(f"warning: at batch size {summary.batch_size} a row's last bits depend on its place in the batch")
        if summary.rejected:
            say(f"rejected records: {OutputLayout(arguments.output).rejects}")
        if arguments.profile:
            say(describe_stages(summary))
        say(describe(summary, objects.passed_over))
    if arguments.json:
        print(json.dumps(summary.as_dict()))
    return 1 if summary.rejected else 0


def _list(arguments: argparse.Namespace, request: TransformRequest) -> Listing:
    """The objects of the run; ``--verbose`` names what is passed over."""
    from ..engine.source import Listing
    from ..outputs.layout import OutputLayout
    from ..outputs.rejects import rejected_keys
    from ..storage.places import store_of

    def name(key: str, reason: str) -> None:
        say(f"passed over: {key} ({reason})")

    named = name if arguments.verbose else None
    only = rejected_keys(OutputLayout(arguments.output), store_of(arguments.output)) if arguments.only_rejects else None
    return Listing(arguments.input, request, output=arguments.output, on_passed_over=named, only=only)


def describe(summary: Summary, passed_over: int = 0) -> str:
    """The last line of a run."""
    parts = [counted(summary.inputs, "input"), counted(summary.records, "record"), f"{summary.rejected:,} rejected"]
    if passed_over:
        parts.insert(1, f"{passed_over:,} passed over")
    if summary.skipped:
        parts.insert(1, f"{summary.skipped:,} finished before")
    parts += [
        f"{summary.seconds:.2f} s after a start of {summary.startup_seconds:.2f} s",
        f"{summary.records_per_second:,.0f} records/s",
        f"peak memory {summary.peak_memory_bytes / (1 << 20):,.0f} MiB",
    ]
    return ", ".join(parts)


def describe_stages(summary: Summary) -> str:
    """A small table: the workers' seconds in each stage and their share."""
    total = sum(summary.stage_seconds.values()) or 1.0
    rows = [f"{stage:<8} {seconds:>9.3f} s {seconds / total:>6.1%}" for stage, seconds in summary.stage_seconds.items()]
    return "\n".join(["stage      seconds  share", *rows])


def _dry_run(
    arguments: argparse.Namespace, model: AnyModel | CodeModel, options: Options, request: TransformRequest
) -> int:
    """Lists and counts; MXNet is not imported, nothing is written."""
    from ..engine.requests import Requests, parse_prices
    from ..engine.source import name_source
    from ..outputs.folder import OutputFolder

    request = request.with_default_accept()
    if arguments.table is not None:
        from ..engine.table import check_table

        check_table(arguments.table, arguments.input, arguments.output, request, model)
    folder = OutputFolder(arguments.output)

    def depends_on() -> dict[str, Any]:
        from ..engine.provenance import of_plan

        return of_plan(model, options, name_source(arguments.input), request)

    folder.inspect(depends_on, overwrite=options.overwrite)
    prices = None if arguments.request_price is None else parse_prices(arguments.request_price)
    todo = skipped = size = 0
    requests, limits = Requests(), Limits()
    objects = _list(arguments, request)
    for item in objects:
        if folder.is_finished(item):
            skipped += 1
        else:
            todo += 1
            size += item.size
            requests.add(item, arguments.output, limits)
    rest = Requests.of_folders(arguments.input, todo + skipped + objects.passed_over, arguments.output, skipped)
    requests = Requests(requests.reads + rest.reads, requests.writes + rest.writes)
    if arguments.json:
        facts = {"inputs": todo, "skipped": skipped, "passed_over": objects.passed_over, "bytes": size}
        if requests != Requests():
            facts.update(reads=requests.reads, writes=requests.writes)
        cost = {} if prices is None else {"cost": requests.cost(prices)}
        print(json.dumps({**facts, **cost, "model": model.path}))
    elif not arguments.quiet:
        counts = f"{skipped:,} finished before"
        if objects.passed_over:
            counts += f", {objects.passed_over:,} passed over"
        say(f"would transform {counted(todo, 'input')} ({counted(size, 'byte')}) into {arguments.output}; {counts}")
        if requests != Requests():
            price = "" if prices is None else f", which cost {requests.cost(prices):,.4f}"
            say(f"about {requests.reads:,} GET and {requests.writes:,} PUT and LIST requests to S3{price}")
    return 0
