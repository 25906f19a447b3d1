"""The labels of all rows: from a file of labels, or from a column of the inputs."""

from __future__ import annotations

import gzip
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, quote
from ..mnist.dataset import read_labels
from ..storage.atomic import unreadable

GZIP = b"\x1f\x8b"


def read_label_file(source: str, count: int) -> NDArray[np.float64]:
    """The labels in a file, one for each row: a number a line, or IDX in gzip; or those of ``labels.gz`` below a folder.

    Args:
        source: the file or folder.
        count: of the rows. An IDX file may have more labels: the sample sets show the first images of MNIST's.

    Raises:
        InputError: ``count_mismatch``; ``bad_number``; it cannot be read.
    """
    labels: NDArray[Any]
    if os.path.isdir(source) or _is_idx(source):
        labels = read_labels(source)[: max(count, 0)].astype(np.float64)
    else:
        labels = np.array([_number(line, source, number) for number, line in enumerate(_lines(source), 1)], np.float64)
    if len(labels) != count:
        raise InputError(f"{len(labels):,} labels for {count:,} predictions", code="count_mismatch", path=source)
    return labels


def _is_idx(source: str) -> bool:
    try:
        with open(source, "rb") as file:
            head = file.read(4)
            if head.startswith(GZIP):
                file.seek(0)
                with gzip.open(file) as expanded:
                    head = expanded.read(4)
    except (OSError, EOFError) as error:
        raise unreadable(source, error if isinstance(error, OSError) else OSError(0, str(error))) from error
    return head.startswith(b"\0\0\x08")


def _lines(source: str) -> list[str]:
    try:
        with open(source, encoding="utf-8-sig") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise unreadable(source, error) from error
    except UnicodeDecodeError:
        raise InputError("expected one label a line, or IDX", code="bad_number", path=source) from None


def _number(text: str, path: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"expected a number, found {quote(text)}", code="bad_number", path=path, line=line) from None
