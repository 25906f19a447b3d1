"""``python -m fastinfer.transform IN OUT``: batch transform on this machine.

Data and ``--json`` go to stdout, words and progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..engine.provenance import of_plan
from ..engine.source import find_objects, name_source
from ..models.module import Model, find_model, load_model
from ..options import BACKENDS, ON_ERROR, Options
from ..outputs.folder import OutputFolder
from ..outputs.layout import OutputLayout
from ..storage.base import Object
from ._run import count_or_auto, run_command, say, whole_number

if TYPE_CHECKING:
    from ..engine.job import ShardReport
    from ..engine.summary import Summary

EPILOG = """\
IN may be a folder (every .csv file below it), a file, or a quoted glob. IN/x/NAME.csv becomes OUT/x/NAME.csv.out, in
the form that SageMaker Batch Transform's MXNet container gives, and with --exact in its very bytes. Run again, it goes
on where it was stopped: outputs that are finished, of inputs that have not changed, are left alone.

exit codes: 0 done; 1 an input is wrong (also where it was put aside); 2 an option is wrong, or the machine lacks
something; 3 the model cannot be used; 4 an output cannot be written; 5 a worker process died twice on the same inputs;
130 interrupted. Finished outputs stay in every case.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_transform, argv)


def _size(text: str) -> int:
    """Bytes, with K, M or G for powers of 1024."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdigit()) or unit not in ("", "K", "M", "G"):
        raise argparse.ArgumentTypeError(f"expected a size such as 500M or 2G, found {text!r}")
    return int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastinfer.transform",
        description="Run an MXNet model over CSV files on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", help="folder, file or glob of CSV records")
    parser.add_argument("output", metavar="OUT", help="folder of the results; made where it is missing")
    parser.add_argument(
        "--model",
        metavar="PATH",
        help="folder or model.tar.gz as SageMaker training saved it (default: $FASTINFER_MODEL, $SM_MODEL_DIR, else the "
        "MNIST model that fastinfer ships)",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="the container's own bytes: every row computed as at batch size 1 (slower)",
    )
    parser.add_argument(
        "--batch-size",
        type=count_or_auto,
        metavar="auto|N",
        help="rows of one forward pass (default auto: a size at which a row's bytes depend on the row alone)",
    )
    parser.add_argument(
        "--workers",
        type=count_or_auto,
        metavar="auto|N",
        help="threads, each with its own graph (default auto: one a core)",
    )
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu|gpu:0,1", help="where the model runs (default cpu)")
    parser.add_argument("--comment", metavar="CHAR", help="skip from this character to the end of its line")
    parser.add_argument("--missing", type=float, metavar="VALUE", help="read an empty cell as this number")
    parser.add_argument("--header", choices=["none", "skip"], default="none", help="pass over each file's first line")
    parser.add_argument("--overwrite", action="store_true", help="make outputs anew that are there already")
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="stop",
        help="at a bad record: stop (default), or put it aside in OUT/_rejects.jsonl and go on, null in its place",
    )
    parser.add_argument("--max-errors", type=whole_number, metavar="N", help="stop when more records are put aside")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="threads",
        help="what workers are: threads (default); processes, for isolation: one that dies is replaced; or tasks of dask "
        "or ray, on all machines that see IN and OUT under the same paths",
    )
    parser.add_argument(
        "--address",
        metavar="WHERE",
        help="the dask scheduler (tcp://HOST:8786) or ray cluster (HOST:6379, auto); default: one on this machine for the run",
    )
    parser.add_argument(
        "--memory-limit",
        type=_size,
        metavar="SIZE",
        help="what the process may hold, such as 500M or 2G; a line too long for it is an error",
    )
    parser.add_argument("--durable", action="store_true", help="have each output on the disk before it gets its name")
    parser.add_argument(
        "--cpu-isa",
        metavar="NAME",
        help="instruction set that oneDNN may use at the most (AVX2, AVX512_CORE, ...): the same bytes on other CPUs",
    )
    parser.add_argument("--profile", action="store_true", help="print where the workers' time went")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _transform(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    options = Options(
        exact=arguments.exact,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        device=arguments.device,
        overwrite=arguments.overwrite,
        comment=arguments.comment,
        missing=arguments.missing,
        skip_header=arguments.header == "skip",
        backend=arguments.backend,
        address=arguments.address,
        on_error=arguments.on_error,
        max_errors=arguments.max_errors,
        memory_limit=arguments.memory_limit,
        durable=arguments.durable,
        cpu_isa=arguments.cpu_isa,
    )
    path, origin = find_model(arguments.model)
    model = load_model(path)
    if arguments.model is None and not arguments.quiet:
        say(f"model: {path} ({origin})")
    if arguments.dry_run:
        return _dry_run(arguments, model, options)

    # Imported late: --help and --dry-run should not wait for NumPy.
    from ..engine.run import transform

    source = arguments.input
    with _Progress(quiet=arguments.quiet) as progress:
        objects = progress.follow(find_objects(source))
        summary = transform(
            model, objects, arguments.output, options, source=name_source(source), progress=progress.add
        )
    if not arguments.quiet:
        if not summary.invariant:
            say(f"warning: at batch size {summary.batch_size} a row's last bits depend on its place in the batch")
        if summary.rejected:
            say(f"put aside: {OutputLayout(arguments.output).rejects}")
        if arguments.profile:
            say(describe_stages(summary))
        say(describe(summary))
    if arguments.json:
        print(json.dumps(summary.as_dict()))
    return 1 if summary.rejected else 0


def describe(summary: Summary) -> str:
    """The last line of a run."""
    parts = [f"{summary.inputs:,} inputs", f"{summary.records:,} records", f"{summary.rejected:,} rejected"]
    if summary.skipped:
        parts.insert(1, f"{summary.skipped:,} finished before")
    parts += [
        f"{summary.seconds:.2f} s",
        f"{summary.records_per_second:,.0f} records/s",
        f"peak memory {summary.peak_memory_bytes / (1 << 20):,.0f} MiB",
    ]
    return ", ".join(parts)


def describe_stages(summary: Summary) -> str:
    """A small table: the workers' seconds in each stage and their share."""
    total = sum(summary.stage_seconds.values()) or 1.0
    rows = [f"{stage:<8} {seconds:>9.3f} s {seconds / total:>6.1%}" for stage, seconds in summary.stage_seconds.items()]
    return "\n".join(["stage      seconds  share", *rows])


def _dry_run(arguments: argparse.Namespace, model: Model, options: Options) -> int:
    """Lists and counts; MXNet is not imported, nothing is written."""
    folder = OutputFolder(arguments.output)
    folder.inspect(of_plan(model, options, name_source(arguments.input)), overwrite=options.overwrite)
    todo = skipped = size = 0
    for item in find_objects(arguments.input):
        if folder.is_finished(item):
            skipped += 1
        else:
            todo += 1
            size += item.size
    if arguments.json:
        print(json.dumps({"inputs": todo, "skipped": skipped, "bytes": size, "model": model.path}))
    elif not arguments.quiet:
        say(f"would transform {todo:,} inputs ({size:,} bytes) into {arguments.output}; {skipped:,} finished before")
    return 0


class _Progress:
    """A bar on a terminal, nothing elsewhere. Its total grows while the objects are listed."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._listed_bytes = self._records = 0

    def __enter__(self) -> _Progress:
        if self._shown:
            from tqdm import tqdm

            self._bar = tqdm(total=0, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        return self

    def follow(self, objects: Iterator[Object]) -> Iterable[Object]:
        """The same objects; their sizes are the total of the bar."""
        return self._count(objects) if self._shown else objects

    def _count(self, objects: Iterator[Object]) -> Iterator[Object]:
        for item in objects:
            self._listed_bytes += item.size
            yield item

    def add(self, report: ShardReport) -> None:
        if self._shown:
            self._records += report.records
            self._bar.total = self._listed_bytes
            self._bar.update(report.bytes_read)
            self._bar.set_postfix_str(f"{self._records:,} records")

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.close()


if __name__ == "__main__":
    sys.exit(main())
