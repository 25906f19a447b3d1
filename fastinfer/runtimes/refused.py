"""Records that an operator of the model refuses, as an index that is too large: found in the batch that has failed, so that
the others get their predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..errors import FastinferError, InputError, ModelError
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


class _Apart:
    """A batch that has failed, taken apart."""

    def __init__(self, ladder: Ladder, count: int) -> None:
        self._ladder = ladder
        self._count = count
        self._widths = [4 * math.prod(each.shape) for each in ladder.inputs]
        self._rows = [bytes(each.memory.cast("B")[: count * width]) for each, width in zip(ladder.inputs, self._widths)]
        self._refused: dict[int, ModelError] = {}

    def predict(self, error: ModelError) -> tuple[tuple[memoryview, ...], dict[int, ModelError]]:
        try:
            self._put(range(self._count))
            return self._ladder.forward(self._count, repeat=True), {}  # it was a blank row behind them
        except ModelError as reason:
            if reason.code != FAILED_PASS:
                raise
            self._find(0, self._count, reason)
        good = next((number for number in range(self._count) if number not in self._refused), None)
        if good is None:
            return self._refuse_all(error)
        # At their own places, as if nothing had happened; a good record stands where a refused one was.
        chosen = [good if number in self._refused else number for number in range(self._count)]
        self._put(chosen)
        return self._ladder.forward(self._count, repeat=True), self._refused

    def _find(self, first: int, stop: int, error: ModelError) -> None:
        """Finds the refused records among some that fail together."""
        if stop - first == 1:
            self._refused[first] = error
            return
        middle = (first + stop) // 2
        for begin, end in ((first, middle), (middle, stop)):
            self._put(range(begin, end))
            try:
                self._ladder.forward(end - begin, repeat=True)
            except ModelError as reason:
                if reason.code != FAILED_PASS:
                    raise
                self._find(begin, end, reason)

    def _refuse_all(self, error: ModelError) -> tuple[tuple[memoryview, ...], dict[int, ModelError]]:
        self._put(())
        if not self._ladder.has_passed:
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
