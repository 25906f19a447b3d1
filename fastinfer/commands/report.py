"""``fastinfer report``: the predictions for sample images: accuracy, labels beside predictions, the digits."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..mnist.digits import (
    HALF_BLOCKS,
    accuracy,
    as_squares,
    draw_digits,
    read_labels_of,
    read_results,
    save_contact_sheet,
)
from ._run import path, positive_number, run_command, say


def _can_print(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastinfer report",
        description="Show the predictions for sample images: accuracy, labels beside predictions, the digits.",
        epilog="Exit codes: 0 done, 1 an output is missing or wrong, 2 bad option, 4 the PNG cannot be written, "
        "70 internal error, 130 interrupted.",
    )
    parser.add_argument("samples", type=path, metavar="SAMPLES_DIR", help="folder with data-0.csv, data-1.csv, …")
    parser.add_argument("outputs", type=path, metavar="OUT_DIR", help="folder with data-0.csv.out, …")
    parser.add_argument(
        "--labels", type=path, metavar="LABELS", help="an IDX .gz file, or a folder with labels.gz somewhere below"
    )
    parser.add_argument(
        "--count", type=positive_number, default=10, metavar="N", help="number of digits to show (default: 10)"
    )
    parser.add_argument(
        "--png", type=path, metavar="FILE", help="save the shown digits as a contact sheet (needs Pillow)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of text and digits")
    return parser


def _report(argv: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(argv)
    samples = Path(arguments.samples)
    results = read_results(samples, Path(arguments.outputs), arguments.count)
    predictions = results.predictions
    shown = predictions[: arguments.count]
    labels = read_labels_of(arguments.labels, len(predictions)) if arguments.labels is not None else None
    captions = [str(prediction) for prediction in shown]
    wrong = [False] * len(shown)
    if labels is not None:
        wrong = [label != prediction for label, prediction in zip(labels, shown)]
        pairs = zip(labels, shown, wrong)
        captions = [f"{label} -> {prediction}" + " wrong" * missed for label, prediction, missed in pairs]
    images = as_squares(results.shown, samples)
    if arguments.png:
        save_contact_sheet(images, captions, wrong, Path(arguments.png))
    if arguments.json:
        report: dict[str, Any] = {"images": len(predictions), "predictions": predictions}
        if labels is not None:
            report.update(labels=labels, accuracy=accuracy(labels, predictions))
        print(json.dumps(report))
        return
    if labels is not None:
        correct = sum(label == prediction for label, prediction in zip(labels, predictions))
        print(f"accuracy    {accuracy(labels, predictions):.4f} ({correct:,} of {len(predictions):,})")
        print(f"labels      {', '.join(map(str, labels[: len(shown)]))}")
    print(f"predictions {', '.join(map(str, shown))}")
    plain = not _can_print(HALF_BLOCKS, sys.stdout.encoding)
    print(draw_digits(images, captions, shutil.get_terminal_size().columns, plain), end="")
    if arguments.png:
        say(f"contact sheet: {arguments.png}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_report, argv)
