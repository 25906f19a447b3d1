"""One HTML file: counts and plots over all rows, and a list of rows beside their inputs. It loads nothing from anywhere.

Numbers go into it as typed arrays (base64), text as JSON, which the script puts into the page as text only. The one script and
the one style sheet are allowed by their hashes; nothing else may run or be loaded, whatever the names of files say.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import counted
from ..storage.atomic import make_folder, replacing
from .forms import Form
from .inputs import Inputs, image_shape
from .predictions import CLASSES, NUMBERS, Chosen, Predictions, choose
from .results import Result
from .rows import PLAIN, read_rows

TEMPLATE = Path(__file__).parent / "template"

# Rows that a page lists, and those of them whose inputs it shows: a page has a few megabytes at most.
MOST_ROWS = 100_000
MOST_DETAILED = 2_000
MOST_INPUT_BYTES = 4 << 20
# A confusion matrix of more classes cannot be read; the commonest confusions are listed instead.
MOST_MATRIX_CLASSES = 40
BINS = 20
# Values of a prediction, and of an input that is no image, that are shown.
MOST_VALUES = 12
# Outputs of a row of which the distribution is drawn.
MOST_DISTRIBUTIONS = 8


@dataclass
class Report:
    """What a page is made of.

    Attributes:
        title: of the page.
        results: in the order of their rows.
        predictions: of all rows.
        labels: float64 (rows,), or None.
        inputs: None: they are not shown.
        record: of the run.
        rejects: the first ones.
        rejected: how many there are.
        notes: what the reader should know.
        form: how the results are written.
    """

    title: str
    results: Sequence[Result]
    predictions: Predictions
    labels: NDArray[np.float64] | None = None
    inputs: Inputs | None = None
    record: dict[str, Any] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    rejected: int = 0
    notes: list[str] = field(default_factory=list)
    form: Form = PLAIN

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Of each row, whether it has both a class and a label."""
        predictions, labels = self.predictions, self.labels
        if labels is None or predictions.kind != CLASSES:
            return np.zeros(len(predictions), dtype=bool)
        judged: NDArray[np.bool_] = (predictions.classes >= 0) & ~np.isnan(labels)
        return judged

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Of each row, whether its class is not its label."""
        wrong: NDArray[np.bool_] = self.judged & (self.predictions.classes != self.labels)
        return wrong

    @property
    def accuracy(self) -> float | None:
        """The share of right classes; None where no row was judged."""
        judged = int(self.judged.sum())
        return (judged - int(self.wrong.sum())) / judged if judged else None


def write_page(report: Report, path: Path) -> None:
    """Writes the page.

    Raises:
        InputError: an input or a result cannot be read.
        OutputError: ``cannot_write``.
    """
    page = make_page(report)
    make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def make_page(report: Report) -> str:
    """The page as text. Raises InputError."""
    most_drawn = _most_drawn(report)
    chosen = choose(report.predictions, report.wrong, MOST_ROWS, MOST_DETAILED, report.labels, most_drawn=most_drawn)
    content = {
        "title": report.title,
        "facts": _facts(report),
        "kind": report.predictions.kind,
        "isProbability": report.predictions.is_probability,
        "width": report.predictions.width,
        "plots": _plots(report),
        "rows": _rows(report, chosen),
        "rejects": report.rejects,
        "rejected": report.rejected,
        "notes": [*report.form.notes, *report.notes, *_chosen_in_words(report, chosen)],
        "record": json.dumps(report.record, indent=2, ensure_ascii=False) if report.record else "",
    }
    script, style = ((TEMPLATE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    # A closing tag or a comment within the JSON would end its element.
    text = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    # Lone surrogates, of names that are not UTF-8, cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    page = (TEMPLATE / "page.html").read_text(encoding="utf-8")
    for name, value in {
        "SCRIPT_HASH": _hash(script),
        "STYLE_HASH": _hash(style),
        "STYLE": style,
        "SCRIPT": script,
        "CONTENT": text,
    }.items():
        before, mark, after = page.partition(f"{{{{{name}}}}}")
        assert mark, name
        page = before + value + after
    return page


def _chosen_in_words(report: Report, chosen: Chosen) -> list[str]:
    """What the reader should know of the rows that the page has."""
    words = [chosen.words] if chosen.words is not None else []
    if len(chosen.drawn) < len(chosen.rows) and report.inputs is not None:
        words.append(f"of {counted(len(chosen.drawn), 'row')} of these the inputs are shown, chosen in the same way")
    return words


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _facts(report: Report) -> list[tuple[str, str]]:
    """What stands at the top: names and values."""
    predictions, labels = report.predictions, report.labels
    facts = [("rows", f"{len(predictions):,}"), ("results", f"{len(report.results):,}")]
    if labels is not None and predictions.kind == CLASSES:
        facts.append(("accuracy", accuracy_in_words(report)))
    elif labels is not None and predictions.kind == NUMBERS:
        residuals = _residuals(predictions, labels)
        if len(residuals):
            facts.append(("mean absolute error", f"{np.abs(residuals).mean():.6g}"))
            with np.errstate(over="ignore"):
                facts.append(("root mean square error", f"{math.sqrt((residuals**2).mean()):.6g}"))
    facts.append(("rejected", f"{report.rejected:,}"))
    if labels is not None and np.isnan(labels).any():
        facts.append(("without a label", f"{int(np.isnan(labels).sum()):,}"))
    unknown = int((predictions.classes == -2).sum())
    if unknown:
        facts.append(("not a number", f"{unknown:,}"))
    facts.append(("read as", predictions.reading))
    return facts


def accuracy_in_words(report: Report) -> str:
    """The accuracy with the numbers that it is made of."""
    judged = int(report.judged.sum())
    share = "none" if report.accuracy is None else f"{report.accuracy:.4f}"
    return f"{share} ({judged - int(report.wrong.sum()):,} of {judged:,})"


def _residuals(predictions: Predictions, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    residuals: NDArray[np.float64] = predictions.values.astype(np.float64) - labels
    finite: NDArray[np.float64] = residuals[np.isfinite(residuals)]
    return finite


def _plots(report: Report) -> dict[str, Any]:
    """Counts over all rows."""
    predictions, labels = report.predictions, report.labels
    if predictions.kind == CLASSES:
        return _class_plots(predictions, labels)
    if predictions.kind == NUMBERS:
        plots: dict[str, Any] = {"histograms": [_histogram("prediction", predictions.values)]}
        if labels is not None:
            plots["histograms"].append(_histogram("prediction minus label", _residuals(predictions, labels)))
            plots["scatter"] = _scatter(labels, predictions.values.astype(np.float64))
        return plots
    return {"histograms": _distributions(report)}


def _class_plots(predictions: Predictions, labels: NDArray[np.float64] | None) -> dict[str, Any]:
    known = predictions.classes >= 0
    count = max(predictions.width, 2)
    counts = np.bincount(predictions.classes[known], minlength=count)
    plots: dict[str, Any] = {"counts": counts.tolist()}
    certainty = predictions.certainty[known]
    if len(certainty):
        bounds = (0.0, 1.0) if predictions.is_probability else None
        plots["certainty"] = _histogram("certainty", certainty, bounds)
    if labels is not None:
        of_labels = np.nan_to_num(labels, nan=-1.0, posinf=-1.0, neginf=-1.0).astype(np.int64)
        valid = known & (of_labels >= 0) & (of_labels < count) & (labels == of_labels)
        pairs, numbers = np.unique(of_labels[valid] * count + predictions.classes[valid], return_counts=True)
        confusions = [(int(pair // count), int(pair % count), int(number)) for pair, number in zip(pairs, numbers)]
        if count <= MOST_MATRIX_CLASSES:
            plots["confusion"] = confusions
        else:
            missed = sorted((entry for entry in confusions if entry[0] != entry[1]), key=lambda entry: -entry[2])
            plots["commonest"] = missed[:20]
    return plots


def _histogram(name: str, values: NDArray[Any], bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return {"name": name, "counts": [], "low": 0.0, "high": 0.0}
    low, high = bounds or (float(finite.min()), float(finite.max()))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    # In halves: the distance of two large numbers may be none that a float has.
    counts, _ = np.histogram(np.clip(finite, low, high) / 2, BINS, (low / 2, high / 2))
    return {"name": name, "counts": counts.tolist(), "low": low, "high": high}


def _scatter(labels: NDArray[np.float64], values: NDArray[np.float64]) -> dict[str, Any]:
    """Labels and predictions counted in cells, so that a million rows are drawn as fast as ten."""
    finite = np.isfinite(labels) & np.isfinite(values)
    labels, values = labels[finite] / 2, values[finite] / 2
    if not len(labels):
        return {"low": 0.0, "high": 0.0, "cells": []}
    low, high = float(min(labels.min(), values.min())), float(max(labels.max(), values.max()))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts, _, _ = np.histogram2d(labels, values, 60, ((low, high), (low, high)))
    cells = [(int(x), int(y), int(counts[x, y])) for x, y in np.argwhere(counts)]
    return {"low": 2 * low, "high": 2 * high, "cells": cells}


def _distributions(report: Report) -> list[dict[str, Any]]:
    """The first outputs of all rows; of many rows evenly spread ones, which the name says."""
    step = max(1, len(report.predictions) // MOST_ROWS)
    taken: list[NDArray[np.float64]] = []
    row = 0
    for result in report.results:
        for rows in read_rows(result.path, report.form):
            first = -row % step
            taken.append(rows.values[first::step, :MOST_DISTRIBUTIONS])
            row += len(rows.values)
    width = min(report.predictions.width, MOST_DISTRIBUTIONS)
    values = np.concatenate([part for part in taken if part.shape[1] == width] or [np.zeros((0, width))])
    every = f", of every {step:,}th row" if step > 1 else ""
    return [_histogram(f"output {number}{every}", values[:, number]) for number in range(width)]


def _rows(report: Report, chosen: Chosen) -> dict[str, Any]:
    predictions, labels = report.predictions, report.labels
    rows = chosen.rows
    numbers = np.searchsorted(predictions.starts, rows, side="right") - 1
    used, of_row = np.unique(numbers, return_inverse=True)
    content: dict[str, Any] = {
        "names": [report.results[number].key for number in used],
        "name": _packed(of_row, np.uint32),
        "record": _packed(rows - predictions.starts[numbers], np.uint32),
        "class": _packed(predictions.classes[rows], np.int32),
        "certainty": _packed_numbers(predictions.certainty[rows]),
        "value": _packed_numbers(predictions.values[rows]),
        "label": _packed_numbers(labels[rows]) if labels is not None else None,
    }
    content["details"] = _details(report, chosen)
    return content


def _packed(values: NDArray[Any], kind: type[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode()


def _packed_numbers(values: NDArray[Any]) -> list[str]:
    """The numbers with the kind of their array: four bytes each where these hold them."""
    with np.errstate(over="ignore"):
        is_short = np.array_equal(values.astype(np.float32), values, equal_nan=True)
    return ["Float32", _packed(values, np.float32)] if is_short else ["Float64", _packed(values, np.float64)]


def _details(report: Report, chosen: Chosen) -> dict[str, Any]:
    """Of the detailed rows their predictions as text, and their inputs: images as bytes, others as text."""
    predictions = report.predictions
    by_result: dict[int, list[int]] = {}
    for row in chosen.detailed:
        number, record = predictions.place(int(row))
        by_result.setdefault(number, []).append(record)
    texts: list[str] = []
    found: dict[int, NDArray[np.float64]] = {}  # inputs that may be images
    words: dict[int, str] = {}
    drawn = set(chosen.drawn.tolist())
    for number, records in by_result.items():
        result, first = report.results[number], int(predictions.starts[number])
        texts.extend(_predicted(result, records, predictions, report.form))
        wanted = [record for record in records if first + record in drawn]
        if report.inputs is None or not wanted:
            continue
        for record, values in report.inputs.records(result, int(predictions.starts[number + 1]) - first, wanted):
            words[first + record] = _shown(values)
            if image_shape(report.record, len(values))[0] is not None:
                found[first + record] = values
    rows = chosen.detailed.tolist()
    details: dict[str, Any] = {
        "rows": np.searchsorted(chosen.rows, chosen.detailed).tolist(),
        "predicted": texts,
        "shape": None,
    }
    widths = {len(values) for values in found.values()}
    if len(widths) == 1 and len(found) == len(words):
        shape, reason = image_shape(report.record, widths.pop())
        if shape is not None:
            details.update(_images([found.get(row) for row in rows], shape))
            details["shapeFrom"] = reason
            return details
    details["values"] = [words.get(row) for row in rows]
    return details


def _most_drawn(report: Report) -> int:
    """How many inputs are shown: of images no more than a page may have, of others a few numbers each."""
    if report.inputs is None:
        return 0
    shape = report.record.get("row_shape")
    size = math.prod(shape) if isinstance(shape, list) else report.inputs.cells(report.results[0]) or 1
    return max(1, MOST_INPUT_BYTES // size) if image_shape(report.record, size)[0] is not None else MOST_DETAILED


def _predicted(result: Result, records: list[int], predictions: Predictions, form: Form) -> list[str]:
    """The predictions of some records, in words."""
    found: dict[int, str] = {}
    wanted, first = set(records), 0
    for rows in read_rows(result.path, form):
        for record in wanted.intersection(range(first, first + len(rows.values))):
            values = rows.values[record - first]
            if rows.rejected[record - first]:
                found[record] = "rejected"
            elif predictions.kind == CLASSES and len(values) > 1:
                best = np.argsort(-values, kind="stable")[:5]
                found[record] = ", ".join(f"{index}: {values[index]:.4g}" for index in best)
            else:
                found[record] = _shown(values)
        first += len(rows.values)
    return [found[record] for record in records]


def _shown(values: NDArray[np.float64]) -> str:
    more = f", … ({len(values):,} values)" if len(values) > MOST_VALUES else ""
    return ", ".join(f"{value:.6g}" for value in values[:MOST_VALUES].tolist()) + more


def _images(cells: list[NDArray[np.float64] | None], shape: tuple[int, int, int]) -> dict[str, Any]:
    """The records as images of bytes."""
    drawn = [row for row in cells if row is not None]
    values = np.array(drawn, np.float32).reshape(len(drawn), math.prod(shape))
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if low >= 0:  # pixels, or shares of the brightest one
        low, high = 0.0, 255.0 if 1 < high <= 255 else max(high, 1.0)
    pixels = np.rint((values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
    numbers = iter(range(len(drawn)))
    return {
        "shape": shape,
        "images": base64.b64encode(pixels.tobytes()).decode(),
        "image": [-1 if row is None else next(numbers) for row in cells],
    }
