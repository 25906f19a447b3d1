"""Writes images as the CSV files of SageMaker's sample set.

Each `data-N.csv` is one line of 784 cells printed `%.6E`, the pixel as float32 times float32(1/255), and a newline:
10,192 bytes, those of `batch-transform/mnist-1000-samples`. Two other forms are for tests and comparisons: integers
(`0` to `255`, not scaled) and `repr` (the shortest text of the same scaled value as a double).

A pixel has 256 values, so a line is 784 look-ups in a table of finished cells.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, OutputError
from ..storage.atomic import make_folder, replacing

FORMATS = ("sample", "integers", "repr")
# The names in SageMaker's sample set.
SAMPLE_NAME = re.compile(r"data-(0|[1-9][0-9]*)\.csv")


def cell_table(cell_format: str) -> list[bytes]:
    """The text of each pixel value 0 to 255.

    Args:
        cell_format: ``sample``, ``integers`` or ``repr``.

    Raises:
        ConfigError: an unknown format.
    """
    if cell_format == "integers":
        return [b"%d" % value for value in range(256)]
    scaled = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    if cell_format == "sample":
        return [b"%.6E" % value for value in scaled.tolist()]
    if cell_format == "repr":
        return [repr(value).encode() for value in scaled.tolist()]
    raise ConfigError(f"cell_format must be one of {', '.join(FORMATS)}, found {cell_format!r}")


def format_rows(images: NDArray[np.uint8], cell_format: str = "sample") -> list[bytes]:
    """One line of comma-separated cells for each of the images (n, rows, columns), each ended by a newline."""
    table = cell_table(cell_format)
    return [b",".join([table[pixel] for pixel in image.tobytes()]) + b"\n" for image in images]


def write_samples(
    images: NDArray[np.uint8], out: str | os.PathLike[str], cell_format: str = "sample", rows_per_file: int = 1
) -> int:
    """Writes `data-0.csv`, `data-1.csv`, … into the folder `out`, which is created if missing.

    Existing files with the same names are replaced. A `data-N.csv` with a number past the last new one is an error: a
    transform of the folder would mix it with the new ones.

    Args:
        images: uint8 (n, rows, columns), in the order of the files.
        out: the folder.
        cell_format: ``sample``, ``integers`` or ``repr``.
        rows_per_file: lines of each file; the last may have fewer.

    Returns:
        How many files were written.

    Raises:
        ConfigError: an unknown format, or `rows_per_file` below 1.
        OutputError: ``cannot_write``, or ``foreign_files``.
    """
    if rows_per_file < 1:
        raise ConfigError(f"rows_per_file must be at least 1, found {rows_per_file}")
    lines = format_rows(images, cell_format)
    files = -(-len(lines) // rows_per_file)
    folder = Path(out)
    make_folder(folder)
    matches = (SAMPLE_NAME.fullmatch(path.name) for path in folder.iterdir())
    left_over = sorted(int(match[1]) for match in matches if match and int(match[1]) >= files)
    if left_over:
        raise OutputError(
            f"data-{left_over[0]}.csv exists already and is not one of the {files} files to be written",
            code="foreign_files",
            path=str(folder),
            hint="remove the older files, or name another folder",
        )
    for number in range(files):
        with replacing(folder / f"data-{number}.csv") as temporary:
            temporary.write_bytes(b"".join(lines[number * rows_per_file : (number + 1) * rows_per_file]))
    return files
