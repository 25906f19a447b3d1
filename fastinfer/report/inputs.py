"""Reads chosen records of a run's CSV inputs again, to show them and to take labels from them."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote
from ..records.compression import AUTO, expand
from ..records.split import split
from ..storage.atomic import unreadable
from ..storage.listing import list_files
from ..storage.regular import open_regular
from .results import Result

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Inputs:
    """The CSV inputs of a folder of results.

    Args:
        folder: of the inputs; or one input.
        record: of the run, which says how they were read.
    """

    def __init__(self, folder: str, record: dict[str, Any]) -> None:
        self._folder = folder
        settings = record.get("depends_on")
        settings = settings if isinstance(settings, dict) else {}
        comment = settings.get("comment")
        self._comment = comment.encode() if isinstance(comment, str) else None
        self._skip_header = bool(settings.get("skip_header")) or settings.get("header") in ("skip", "keep")
        missing = settings.get("missing")  # as text, which JSON has for any float
        self._missing = math.nan if missing is None else float(missing)

    def path_of(self, result: Result) -> str:
        """The input that a result belongs to. Raises InputError (``input_missing``)."""
        path = os.path.join(self._folder, result.key) if os.path.isdir(self._folder) else self._folder
        if not os.path.isfile(path):
            raise InputError(f"no such input, but a result: {result.path}", code="input_missing", path=path)
        return path

    def records(self, result: Result, count: int, wanted: Collection[int]) -> dict[int, list[float]]:
        """The values of records of one input.

        Args:
            result: of the input.
            count: rows of the result: what a record is follows from it, as in the run.
            wanted: the numbers of the records.

        Returns:
            The values of each; a record that has something else than numbers is left out, since it was rejected.

        Raises:
            InputError: ``count_mismatch`` where the lines are neither records nor make up whole ones.
        """
        path = self.path_of(result)
        lines = sum(1 for _ in self._lines(path))
        found: dict[int, list[float]] = {}
        chosen = set(wanted)
        if count and lines % count == 0:  # a record is one line, or some
            each = lines // count
            for number, (_, line) in enumerate(self._lines(path)):
                if number // each in chosen:
                    found.setdefault(number // each, []).extend(self._cells(line))
        elif lines and count % lines == 0:  # a line has some records
            each = count // lines
            for number, (_, line) in enumerate(self._lines(path)):
                wanted_here = [record for record in range(number * each, (number + 1) * each) if record in chosen]
                cells = self._cells(line) if wanted_here else []
                size = len(cells) // each
                for record in wanted_here:
                    start = (record - number * each) * size
                    found[record] = cells[start : start + size]
        else:
            message = f"{lines:,} lines for {count:,} predictions of {result.path}"
            raise InputError(message, code="count_mismatch", path=path)
        return {record: cells for record, cells in found.items() if cells}

    def column(self, result: Result, count: int, column: int) -> NDArray[np.float64]:
        """The numbers in one column of an input whose lines are its records; the first column is 0, the last one -1.

        Raises:
            InputError: ``count_mismatch``; ``bad_number`` with its line.
        """
        path = self.path_of(result)
        labels = []
        for number, line in self._lines(path):
            cells = line.split(b",")
            try:
                labels.append(float(cells[column]))
            except IndexError:
                message = f"no column {column}: {len(cells)} columns"
                raise InputError(message, code="bad_number", path=path, line=number) from None
            except ValueError:
                message = f"expected a label, found {quote(cells[column].decode(errors='replace'))}"
                raise InputError(message, code="bad_number", path=path, line=number) from None
        if len(labels) != count:
            message = f"{len(labels):,} lines for {count:,} predictions of {result.path}"
            raise InputError(message, code="count_mismatch", path=path)
        return np.array(labels, np.float64)

    def _lines(self, path: str) -> Iterator[tuple[int, bytes]]:
        """The lines that have values, without their ends, and their numbers in the file."""
        (item,) = list_files(path)
        try:
            with open_regular(path) as file:
                for record in split(expand(file.read, AUTO, item), "line", path=path):
                    text, number = record.content, record.place.number
                    if number == 1:
                        text = text.removeprefix(BYTE_ORDER_MARK)
                        if self._skip_header:
                            continue
                    if self._comment is not None:
                        text = text.partition(self._comment)[0]
                    text = text.strip()
                    if text:
                        yield number, text
        except OSError as error:
            raise unreadable(path, error) from error

    def _cells(self, line: bytes) -> list[float]:
        try:
            return [float(cell) if cell.strip() else self._missing for cell in line.split(b",")]
        except ValueError:
            return []


def image_shape(record: dict[str, Any], values: int) -> tuple[tuple[int, int, int] | None, str]:
    """The shape (channels, rows, columns) in which records are drawn, and where it comes from; None: they are no images.

    Args:
        record: of the run, with the shape of the model's input.
        values: of a record.
    """
    shape = record.get("row_shape")
    if isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape):
        if len(shape) == 2:
            shape = [1, *shape]
        if len(shape) == 3 and shape[0] in (1, 3) and math.prod(shape) == values and min(shape[1:]) > 1:
            return (shape[0], shape[1], shape[2]), "the shape of the model's input"
        if len(shape) != 1:
            return None, ""
    side = math.isqrt(values)
    if side >= 8 and side * side == values:
        return (1, side, side), f"a guess: {values:,} values fill a square"
    return None, ""
