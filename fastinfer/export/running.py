"""Runs any bound graph over rows in memory, and compares what two of them give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtimes.base import Executor
from ..runtimes.views import predict_all, rows_of

Array = NDArray[Any]
# Integers of the size of a float, by which the floats between two of them are counted.
_INTEGERS: dict[str, Any] = {"float16": np.int16, "float32": np.int32, "float64": np.int64}


def predict(executor: Executor, rows: Array) -> list[Array]:
    """What a bound graph gives for rows.

    Args:
        executor: the graph.
        rows: float32 array of shape (records, values).

    Returns:
        for each output an array of shape (records * rows, *shape), rows and shape as the output has them.
    """
    size, parts = executor.batch_size, []
    memories = [rows_of(executor, number) for number in range(len(executor.inputs))]
    for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        for memory, given in zip(memories, cut(executor, batch)):
            memory[: len(batch)] = given
            memory[len(batch) :] = memory[0]  # which the graph takes, if it takes the batch
        found = zip(predict_all(executor), executor.outputs)
        parts.append([array[: len(batch) * output.rows] for array, output in found])
    return [np.concatenate(each) for each in zip(*parts)]


def cut(executor: Executor, rows: Array) -> list[Array]:
    """Rows by the inputs of a graph: (records, values) of each."""
    widths = [math.prod(each.shape) for each in executor.inputs]
    return np.split(rows, np.cumsum(widths)[:-1], axis=1)


@dataclass(frozen=True)
class Difference:
    """How far an output is from what was expected.

    Attributes:
        output: its name.
        absolute: the largest difference of two values.
        relative: the largest difference, divided by the largest value of its row; where rows have one value, by that or by
            their median, because a single value may be the small rest of large terms.
        ulp: the largest number of floats between two values.
        row: where the relative difference is largest; None where there is none.
        value: which value of that row.
        expected, found: the two values there.
        labels: how many rows have a label: the place of the largest of several values.
        changed: the rows whose label is another one.
    """

    output: str
    absolute: float
    relative: float
    ulp: int
    row: int | None
    value: int | None
    expected: float | None
    found: float | None
    labels: int
    changed: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "changed": list(self.changed)}


def compare(output: str, expected: Array, found: Array) -> Difference:
    """Compares two arrays (rows, ...). Infinities and NaN count as equal where both have them."""
    rows = len(expected)
    left, right = (np.asarray(array, np.float64).reshape(rows, -1) for array in (expected, found))
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where(same, 0, np.abs(left - right))
    distance[np.isnan(distance)] = math.inf
    finite = np.where(np.isfinite(left), np.abs(left), 0)
    scale = np.where((largest := _scale(finite)) > 0, largest, 1)[:, None]
    relative = distance / scale
    changed = _changed_labels(expected, found)
    row: int | None = None
    value: int | None = None
    if distance.any():
        row, value = divmod(int(relative.argmax()), relative.shape[1])
    return Difference(
        output=output,
        absolute=float(distance.max(initial=0)),
        relative=float(relative.max(initial=0)),
        ulp=0 if row is None else _floats_between(expected, found),
        row=row,
        value=value,
        expected=None if row is None else float(left[row, value or 0]),
        found=None if row is None else float(right[row, value or 0]),
        labels=0 if changed is None else rows,
        changed=tuple(changed or ()),
    )


def _scale(finite: Array) -> Array:
    """By what differences in each row are divided."""
    largest: Array = finite.max(axis=1, initial=0)
    return np.maximum(largest, np.median(largest)) if finite.shape[1] == 1 and len(largest) else largest


def _changed_labels(expected: Array, found: Array) -> list[int] | None:
    """The rows in which another value is the largest; None where a row is not a list of several values."""
    if expected.ndim != 2 or expected.shape[1] < 2:
        return None
    return [int(row) for row in np.flatnonzero(expected.argmax(axis=1) != found.argmax(axis=1))]


def _floats_between(left: Array, right: Array) -> int:
    """The largest number of floats from a value to the other; 0 for whole numbers."""
    kind = _INTEGERS.get(left.dtype.name)
    if kind is None or left.dtype != right.dtype:
        return 0
    most = 0
    for one, other in zip(_ordered(left, kind), _ordered(right, kind)):
        most = max(most, abs(one - other))
    return most


def _ordered(values: Array, kind: Any) -> list[int]:
    """Floats as whole numbers of the same order, without those that differ in being a number."""
    bits = np.ascontiguousarray(values).view(kind).astype(np.int64).reshape(-1)
    sign = np.int64(np.iinfo(kind).min)
    ordered: list[int] = np.where(bits < 0, sign - bits, bits).tolist()
    return ordered


def same_bits(left: Sequence[Array], right: Sequence[Array]) -> bool:
    """Whether all arrays have the same bytes."""
    return all(one.tobytes() == other.tobytes() for one, other in zip(left, right))
