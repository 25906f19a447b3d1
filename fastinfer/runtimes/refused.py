"""Records that an operator of the model refuses, as an index that is too large: found in the batch that has failed, so that
the others get their predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import FastinferError, InputError, ModelError
from .base import RefusedValueError
from .ladder import Ladder

# The codes of the errors: of a pass that fails; of a record that is the reason.
FAILED_PASS, REFUSED = "failed_pass", "refused_record"
# Of so many refused records in a row, without another one between them, the model or the whole input is at fault.
MOST_IN_A_ROW = 1024


def predict(ladder: Ladder, count: int, *, blank: bool = False) -> tuple[tuple[memoryview, ...], dict[int, ModelError]]:
    """Predicts the first rows in the memory of the ladder's inputs; see :meth:`fastinfer.runtimes.ladder.Ladder.forward`.

    Args:
        ladder: bound graphs.
        count: how many rows there are, at least 1.
        blank: see :meth:`fastinfer.runtimes.ladder.Ladder.forward`.

    Returns:
        the outputs' values, which are not to be used for refused records, and are none if all are refused; and why each
        record is refused, by its number.

    Raises:
        ModelError: no record is at fault.
    """
    try:
        return ladder.forward(count, blank=blank), {}
    except ModelError as error:
        if error.code != FAILED_PASS:
            raise
        return _Apart(ladder, count).predict(error)


class _Failed(NamedTuple):
    """Rows that one pass computes, which fails; and its error."""

    rows: range
    error: ModelError


class _Apart:
    """A batch that has failed, taken apart."""

    def __init__(self, ladder: Ladder, count: int) -> None:
        self._ladder = ladder
        self._count = count
        self._widths = [4 * math.prod(each.shape) for each in ladder.inputs]
        self._rows = [bytes(each.memory.cast("B")[: count * width]) for each, width in zip(ladder.inputs, self._widths)]
        self._refused: dict[int, ModelError] = {}

    def predict(self, error: ModelError) -> tuple[tuple[memoryview, ...], dict[int, ModelError]]:
        numbers = range(self._count)
        if self._count < self._ladder.batch_size:
            try:
                self._put(numbers)
                return self._ladder.forward(self._count, repeat=True), {}  # it was a blank row behind them
            except ModelError as again:
                error = again
                if error.code != FAILED_PASS:
                    raise
        self._find(_Failed(self._ladder.failed, error))
        good = next((number for number in numbers if number not in self._refused), None)
        if good is None:
            return self._refuse_all(error)
        # At their own places, as if nothing had happened; a good record stands where a refused one was.
        self._put([good if number in self._refused else number for number in numbers])
        return self._ladder.forward(self._count, repeat=True), self._refused

    def _find(self, failed: _Failed) -> None:
        """Finds the refused records from the first to the last.

        Behind a refused record as many rows are tried together as there were, on average, for each refused one so far; while
        they pass, twice as many each time. So few passes are made in vain, whether records are refused often or seldom.
        """
        first = self._find_first(failed) + 1
        size = first
        while first < self._count:
            rows = range(first, min(first + size, self._count))
            again = self._try(rows)
            if again is None:
                first, size = rows.stop, 2 * size
            else:
                first = self._find_first(again) + 1
                size = first // max(1, len(self._refused))

    def _find_first(self, failed: _Failed) -> int:
        """Finds the first refused record of rows that fail together, by halves; each must fail alone as well."""
        rows = failed.rows
        while rows != failed.rows or len(rows) > 1:
            part = rows[: -(-len(rows) // 2)]
            again = self._try(part)
            if again is not None:
                failed, rows = again, again.rows
            elif part == rows:
                return rows.start  # no record is at fault, so that what is left fails in the end or is right
            else:
                rows = rows[len(part) :]
        self._refused[rows.start] = failed.error
        return rows.start

    def _try(self, rows: range) -> _Failed | None:
        """Predicts some rows; where that fails, those of the pass that has failed. Those before them pass."""
        self._put(rows)
        try:
            self._ladder.forward(len(rows), repeat=True)
        except ModelError as error:
            if error.code != FAILED_PASS:
                raise
            failed = self._ladder.failed
            return _Failed(rows[failed.start : failed.stop], error)
        return None

    def _refuse_all(self, error: ModelError) -> tuple[tuple[memoryview, ...], dict[int, ModelError]]:
        self._put(())
        if not self._ladder.has_passed and not isinstance(error, RefusedValueError):
            try:
                self._ladder.forward(1, blank=True)
            except ModelError:
                raise error from None  # the model refuses whatever it is given
        return (), self._refused

    def _put(self, numbers: range | list[int] | tuple[()]) -> None:
        """Writes these rows to the memory of the inputs, and nothing else."""
        for each, width, rows in zip(self._ladder.inputs, self._widths, self._rows):
            memory = each.memory.cast("B")
            if isinstance(numbers, range):
                text = rows[numbers.start * width : numbers.stop * width]
            else:
                text = b"".join(rows[number * width : (number + 1) * width] for number in numbers)
            memory[: len(text)] = text
            memory[len(text) :] = bytes(len(memory) - len(text))


def refusal(error: ModelError, record: int | None = None) -> InputError:
    """The error of a record that is refused.

    Args:
        error: what the runtime said.
        record: its number among its object's records, from 1, where that says more than a line does.
    """
    which = "the record" if record is None else f"record {record:,}"
    return InputError(
        f"the model refuses {which}: {error.message}", code=REFUSED, hint=error.hint or "correct it, or leave it out"
    )


class RefusedInARow:
    """Ends a run whose records are refused one after another: each of them costs a pass, and nothing comes out.

    Args:
        path: of the model.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0

    def count(self, refused: Mapping[int, FastinferError], records: int) -> None:
        """Counts a batch. Raises ModelError (``failed_pass``) at the limit.

        Args:
            refused: why records are refused, by their numbers.
            records: how many there are.
        """
        if len(refused) < records or not records:
            self._count = 0
            return
        self._count += records
        if self._count >= MOST_IN_A_ROW:
            raise ModelError(
                f"it refuses {self._count:,} records in a row; the last one: {refused[max(refused)].message}",
                code=FAILED_PASS,
                path=self._path,
                hint="compare the records with what the model takes",
            )
