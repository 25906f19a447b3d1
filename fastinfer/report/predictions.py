"""What the results of a run say, row by row: classes and how certain they are, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .forms import Form
from .results import Result
from .rows import PLAIN, read_rows

CLASSES, NUMBERS, VALUES = "classes", "numbers", "values"
KINDS = (CLASSES, NUMBERS, VALUES)
# Probabilities of float16 add up to 1 with this error.
SUM_TOLERANCE = 2e-2
# The class of a row without a prediction, and of one that is not a number.
REJECTED, NOT_A_NUMBER = -1, -2


@dataclass
class Predictions:
    """All rows, in the order of the results.

    Attributes:
        kind: ``classes``, ``numbers`` (one value a row) or ``values`` (several, that are no classes).
        reading: how the values are read, in words.
        width: values of a row.
        starts: int64 (results + 1,): the number of the first row of each result.
        classes: int32 (rows,): the class with the largest value, the first one on a tie; REJECTED, NOT_A_NUMBER.
        certainty: float64 (rows,): the probability of that class, or by how much its score exceeds the next one.
        values: float64 (rows,): the first value of a row.
        is_probability: whether `certainty` is a probability.
        labels: float64 (rows,) where the results have labels, NaN for one that is no number; else None.
    """

    kind: str
    reading: str
    width: int
    starts: NDArray[np.int64]
    classes: NDArray[np.int32]
    certainty: NDArray[np.float64]
    values: NDArray[np.float64]
    is_probability: bool
    labels: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def place(self, row: int) -> tuple[int, int]:
        """The number of a row's result, and of the row in it."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return number, row - int(self.starts[number])


def read_predictions(
    results: Sequence[Result], labels: NDArray[Any] | None = None, kind: str | None = None, form: Form = PLAIN
) -> Predictions:
    """Reads all results.

    Args:
        results: see :func:`fastinfer.report.results.find_results`.
        labels: of all rows; they say whether values are classes. None: those that the results have.
        kind: None: by the values and the labels.
        form: how the results are written.

    Raises:
        InputError: a result cannot be read, or has rows of another width than the first one (``bad_output``).
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    counts, width, is_probability, within = [], 0, True, True
    of_results: list[NDArray[np.float64]] = []
    for result in results:
        rows_of_result = 0
        for rows in read_rows(result.path, form):
            rows_of_result += len(rows.values)
            found = rows.values.shape[1]
            if not rows.rejected.all():
                width = width or found
                if found != width:
                    message = f"rows of {found} values, after results with rows of {width} values"
                    raise InputError(message, code="bad_output", path=result.path)
            part, are_probabilities, are_within = _reduce(rows.values, rows.rejected)
            is_probability &= are_probabilities
            within &= are_within
            parts.append(part)
            if rows.labels is not None:
                of_results.append(rows.labels)
        counts.append(rows_of_result)
    none = _reduce(np.zeros((0, 1)), np.zeros(0, dtype=bool))[0]
    classes, top, margin, values = (np.concatenate(arrays) for arrays in zip(none, *parts))
    own_labels = np.concatenate([np.zeros(0), *of_results]) if form.label is not None else None
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    width = width or 1
    judges = own_labels if labels is None else labels
    whole = judges is not None and _are_classes(judges, max(width, 2))
    if kind is None:
        kind = _kind_of(width, is_probability, whole, within)
        if kind == CLASSES and not form.is_whole:
            kind = NUMBERS if width == 1 else VALUES
    if kind == CLASSES and width == 1:
        reading = "each value is the probability of class 1; class 1 from 0.5 on"
        predicted = classes >= 0
        classes = np.where(predicted, values >= 0.5, classes).astype(np.int32)
        certainty = np.where(classes == 1, values, 1 - values)
        is_probability = within
    elif kind == CLASSES and is_probability:
        reading, certainty = "each row has the probabilities of the classes", top
    elif kind == CLASSES:
        reading, certainty = "each row has the scores of the classes; certainty is the distance to the next one", margin
    elif kind == NUMBERS:
        reading, certainty = "each row is one number", top
    else:
        reading, certainty = "each row has several numbers that are not read as classes", top
    certainty = np.nan_to_num(certainty, nan=0.0)
    is_probability &= kind == CLASSES
    return Predictions(kind, reading, width, starts, classes, certainty, values, is_probability, own_labels)


def _reduce(values: NDArray[np.float64], rejected: NDArray[np.bool_]) -> tuple[tuple[NDArray[Any], ...], bool, bool]:
    """Of each row the class, the largest value, its distance to the next and the first value; whether all are probabilities,
    and whether all are from 0 to 1."""
    valid = ~np.isnan(values).any(axis=1)
    known = values[valid]
    classes = np.where(rejected, REJECTED, NOT_A_NUMBER).astype(np.int32)
    top, margin = np.zeros(len(values)), np.zeros(len(values))
    within, sums_up = True, True
    if len(known):
        classes[valid] = known.argmax(axis=1)
        largest = known.max(axis=1)
        top[valid] = largest
        if known.shape[1] > 1:
            margin[valid] = largest - np.partition(known, -2, axis=1)[:, -2]
        within = bool((known >= 0).all() and (known <= 1 + SUM_TOLERANCE).all())
        sums_up = bool((np.abs(known.sum(axis=1) - 1) < SUM_TOLERANCE).all())
    first = np.where(valid, values[:, 0], np.nan)
    return (classes, top, margin, first), within and sums_up, within


def _are_classes(labels: NDArray[Any], count: int) -> bool:
    labels = labels[~np.isnan(labels)]  # a label that is missing says nothing
    return bool(len(labels) and ((labels >= 0) & (labels < count) & (labels == np.floor(labels))).all())


def _kind_of(width: int, is_probability: bool, whole_labels: bool, within: bool) -> str:
    if width == 1:
        return CLASSES if whole_labels and within else NUMBERS
    return CLASSES if is_probability or whole_labels else VALUES


@dataclass(frozen=True)
class Chosen:
    """Rows of a page.

    Attributes:
        rows: int64, ascending: the rows that are listed.
        detailed: int64, ascending: those of them whose values are shown.
        drawn: int64, ascending: those of them whose inputs are shown.
        words: how they were chosen; None where all are listed.
    """

    rows: NDArray[np.int64]
    detailed: NDArray[np.int64]
    drawn: NDArray[np.int64]
    words: str | None


def choose(
    predictions: Predictions,
    wrong: NDArray[np.bool_],
    most_rows: int,
    most_detailed: int,
    labels: NDArray[np.float64] | None = None,
    *,
    most_drawn: int | None = None,
) -> Chosen:
    """Chooses rows for a page: wrong ones, the least certain or those with the largest errors, the first ones, and others by
    chance (the same in each page). Without `most_drawn` all detailed rows are drawn."""
    count = len(predictions)
    order, first = np.arange(count), "the first ones"
    if predictions.kind == CLASSES:
        order, first = np.argsort(predictions.certainty, kind="stable"), "wrong ones, the least certain"
    elif predictions.kind == NUMBERS and labels is not None:
        errors = np.nan_to_num(np.abs(predictions.values - labels), nan=-1.0)
        order, first = np.argsort(-errors, kind="stable"), "those with the largest errors"
    by_interest = np.concatenate([order[wrong[order]], order[~wrong[order]]])
    chance = np.random.default_rng(0).permutation(count)
    rows = _take(most_rows, by_interest, chance, count)
    words = None
    if count > most_rows:
        words = f"{len(rows):,} of {count:,} rows are listed: {first}, and others by chance"
    kept = np.isin(np.arange(count), rows)
    by_interest, chance = by_interest[kept[by_interest]], chance[kept[chance]]
    detailed = _take(most_detailed, by_interest, chance, count)
    kept = np.isin(np.arange(count), detailed)
    by_interest, chance = by_interest[kept[by_interest]], chance[kept[chance]]
    drawn = _take(most_detailed if most_drawn is None else most_drawn, by_interest, chance, count)
    return Chosen(rows, detailed, drawn, words)


def _take(most: int, by_interest: NDArray[np.int64], chance: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(by_interest) <= most:
        return np.sort(by_interest).astype(np.int64)
    chosen = np.zeros(count, dtype=bool)
    chosen[by_interest[: most // 2]] = True
    left = most - int(chosen.sum())
    chosen[chance[~chosen[chance]][:left]] = True
    return np.flatnonzero(chosen).astype(np.int64)
