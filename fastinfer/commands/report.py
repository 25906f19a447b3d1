"""``fastinfer report``: what the results of a run say: a page for a browser, or a few lines and pictures for a terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.request import CSV, PREFIX, TransformRequest
from ..engine.source import Listing
from ..errors import ConfigError, FastinferError, InputError, counted, quote
from ..report.forms import Form, first_to_tell, form_of
from ..report.inputs import Inputs, image_shape
from ..report.labels import read_label_file
from ..report.page import Report, accuracy_in_words, write_page
from ..report.pictures import HALF_BLOCKS, draw_images, save_contact_sheet
from ..report.predictions import CLASSES, KINDS, NOT_A_NUMBER, REJECTED, Predictions, read_predictions
from ..report.results import Result, asked_of, find_results, read_record, read_rejects
from ..report.rows import choose_field
from ..storage.places import fetched, folder_place, plain_place, uploaded
from ..storage.uri import absolute, is_url
from ._run import path, positive_number, run_command, say

# What is printed in place of a class where a row has none.
NO_CLASS = {REJECTED: "rejected", NOT_A_NUMBER: "nan"}


def make_parser(prog: str = "fastinfer report") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Show what the results of a run say: as a page (-o), as text and pictures, or as JSON.",
        epilog="Rows are in the natural order of their inputs' names: data-2 before data-10. "
        "Exit codes: 0 done, 1 a result is missing or wrong, 2 bad option, 4 a file cannot be written, "
        "70 internal error, 130 interrupted.",
    )
    parser.add_argument("outputs", type=path, metavar="OUT", help="folder with the results (*.out) of a run")
    parser.add_argument("--inputs", type=path, metavar="IN", help="the folder, or file, of the inputs, which are shown")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        type=path,
        metavar="FILE",
        help="the labels of all rows: one number a line, an IDX .gz file, or a folder with labels.gz somewhere below",
    )
    labels.add_argument(
        "--label-column",
        type=int,
        metavar="N",
        help="take the labels from this column of the inputs: 0 the first, -1 the last",
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        help="what a prediction is: the probabilities or scores of classes, one number, or several values (default: by the "
        "values and the labels; the report says which)",
    )
    parser.add_argument(
        "--field",
        metavar="NAME",
        help="of rows with names, as those of several outputs: the one that is shown (default: the first of numbers)",
    )
    parser.add_argument(
        "--prediction-columns",
        type=positive_number,
        metavar="N",
        help="of results that are lines of CSV: the last N columns are the prediction (default: as the run's record says)",
    )
    parser.add_argument(
        "-o", "--output", type=path, metavar="FILE", help="write the page, one HTML file that loads nothing"
    )
    parser.add_argument("--title", help="of the page (default: the folder's name)")
    parser.add_argument(
        "--count", type=positive_number, default=10, metavar="N", help="rows shown as text (default: 10)"
    )
    parser.add_argument(
        "--png", type=path, metavar="FILE", help="save the shown images as a contact sheet (needs Pillow)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON instead of text and pictures; null: no prediction"
    )
    return parser


def _report(argv: Sequence[str] | None) -> None:
    arguments = make_parser().parse_args(argv)
    with contextlib.ExitStack() as stack:
        _report_on(arguments, stack)


def _report_on(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    """Reports; what is at URLs is fetched, and what is written there uploaded, by contexts of `stack`."""
    name = folder_place(arguments.outputs)
    folder = _local(arguments.outputs, stack)
    if arguments.inputs is not None:
        arguments.inputs = _local(arguments.inputs, stack)
    if arguments.labels is not None:
        arguments.labels = _local(arguments.labels, stack)
    record = read_record(folder)
    results = find_results(folder)
    inputs = Inputs(arguments.inputs, record) if arguments.inputs is not None else None
    form = _form(arguments, record, results, inputs)
    labels, predictions = _read(arguments, results, inputs, form)
    rejects, rejected = read_rejects(folder)
    report = Report(
        title=arguments.title or f"Results in {os.path.basename(absolute(name))}",
        results=results,
        predictions=predictions,
        labels=labels,
        inputs=inputs,
        record=record,
        rejects=rejects,
        rejected=rejected,
        notes=_missing(arguments.inputs, results, record) if arguments.inputs is not None else [],
        form=form,
    )
    for note in [*form.notes, *report.notes]:
        say(f"warning: {note}")
    if inputs is not None and inputs.unread is not None:
        say(f"warning: {inputs.unread}")
        report.notes.append(inputs.unread)
        report.inputs = None
    if not form.is_whole and form.content_type != CSV:
        report.inputs = None
    if arguments.json:
        print(json.dumps(_as_dict(report)))
    else:
        _print(report, arguments.count, arguments.png)
    if arguments.output is not None:
        with uploaded(arguments.output) as page:
            write_page(report, page)
        say(f"page: {arguments.output}")


def _local(place: str, stack: contextlib.ExitStack) -> str:
    """A path of this machine with what is at a place; from a URL it is fetched, whatever its size."""
    place = plain_place(place)
    if not is_url(place):
        return place
    say(f"fetching {place}")
    return str(stack.enter_context(fetched(place, most_objects=None)))


def _form(arguments: argparse.Namespace, record: dict[str, Any], results: list[Result], inputs: Inputs | None) -> Form:
    """How the results are written."""
    first = first_to_tell(results)
    cells = inputs.cells(first) if inputs is not None else None
    form = form_of(record, first, cells=cells, last_columns=arguments.prediction_columns, field=arguments.field)
    return choose_field(form, results)


def _read(
    arguments: argparse.Namespace, results: list[Result], inputs: Inputs | None, form: Form
) -> tuple[NDArray[np.float64] | None, Predictions]:
    """The labels of all rows, and the predictions, which the labels tell how to read."""
    # How many rows there are is known when the results were read.
    predictions = read_predictions(results, kind=arguments.kind, form=form)
    if arguments.labels is not None:
        labels = read_label_file(arguments.labels, len(predictions))
    elif arguments.label_column is None:
        return predictions.labels, predictions
    else:
        if inputs is None:
            raise ConfigError("--label-column requires --inputs")
        sizes = np.diff(predictions.starts).tolist()
        labels = np.concatenate(
            [inputs.column(result, size, arguments.label_column) for result, size in zip(results, sizes)]
        )
    if arguments.kind is None and predictions.kind != CLASSES:
        predictions = read_predictions(results, labels, form=form)
    return labels, predictions


def _missing(source: str, results: list[Result], record: dict[str, Any]) -> list[str]:
    """What to say of inputs without a result, of which the report says nothing."""
    request, _ = asked_of(record) or (TransformRequest(), None)
    request = replace(request, data_type=PREFIX)  # a manifest names objects below the inputs
    found = {result.key for result in results}
    missing = [item.key for item in Listing(source, request) if item.key not in found]
    if not missing:
        return []
    return [f"no result for {counted(len(missing), 'input')}; the first: {quote(missing[0])}"]


def _as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON; docs/jobs.md says what it has."""
    predictions, labels = report.predictions, report.labels
    said = predictions.values
    if predictions.kind == CLASSES:
        said = np.where(predictions.classes < 0, np.nan, predictions.classes)
    found: dict[str, Any] = {
        "records": len(predictions),
        "kind": predictions.kind,
        "predictions": _finite(said),
        "rejected": report.rejected,
        "not_a_number": int((~np.isfinite(said) & (predictions.classes != REJECTED)).sum()),
    }
    if labels is not None:
        found["labels"] = _finite(labels)
        if predictions.kind == CLASSES:
            found["accuracy"] = report.accuracy
    return found


def _finite(values: NDArray[Any]) -> list[float | None]:
    """The values as JSON has them: whole ones as integers; null for what is not finite, which JSON has not."""
    return [
        None if not math.isfinite(value) else int(value) if value == int(value) else value for value in values.tolist()
    ]


def _print(report: Report, count: int, png: str | None) -> None:
    predictions, labels = report.predictions, report.labels
    shown = min(count, len(predictions))
    is_class = predictions.kind == CLASSES
    values = (predictions.classes if is_class else predictions.values)[:shown].tolist()
    said = [NO_CLASS.get(value, f"{value:.6g}") if is_class else f"{value:.6g}" for value in values]
    captions, wrong = said, report.wrong[:shown].tolist()
    if labels is not None:
        expected = [f"{label:.6g}" for label in labels[:shown].tolist()]
        captions = [f"{label} -> {each}{' wrong' * missed}" for label, each, missed in zip(expected, said, wrong)]
        if report.accuracy is not None:
            print(f"accuracy    {accuracy_in_words(report)}")
        print(f"labels      {', '.join(expected)}")
    print(f"predictions {', '.join(said)}")
    images = _first_images(report, shown)
    if images is not None:
        plain = not _can_print(HALF_BLOCKS, sys.stdout.encoding)
        print(draw_images(images, captions, shutil.get_terminal_size().columns, plain), end="")
    if png is not None:
        if images is None:
            raise InputError("the inputs are no images of one channel, or are not given", code="count_mismatch")
        with uploaded(png) as sheet:
            save_contact_sheet(images, captions, wrong, sheet)
        say(f"contact sheet: {png}")


def _first_images(report: Report, count: int) -> NDArray[np.float64] | None:
    """The inputs of the first rows as images (n, rows, columns) from 0 to 1; None where they are none."""
    if report.inputs is None:
        return None
    rows: list[NDArray[np.float64]] = []
    for number, result in enumerate(report.results):
        first, stop = (int(start) for start in report.predictions.starts[number : number + 2])
        if first >= count:
            break
        wanted = range(min(stop, count) - first)
        found = [values for _, values in report.inputs.records(result, stop - first, wanted)]
        if len(found) < len(wanted):
            return None  # a rejected record has no image
        rows += found
    if len({len(row) for row in rows}) != 1:
        return None
    shape, _ = image_shape(report.record, len(rows[0]))
    if shape is None or shape[0] != 1:
        return None
    values = np.array(rows, np.float64).reshape(-1, *shape[1:])
    return values / 255 if values.max() > 1 else values


def _can_print(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _hint(error: FastinferError) -> str | None:
    return "--inputs, or --prediction-columns, tells it" if error.code == "bad_output" and error.hint else None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_report, argv, hint=_hint)
