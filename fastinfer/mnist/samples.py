"""Writes images as the CSV files of SageMaker's sample set: `python -m fastinfer.mnist.samples IMAGES OUT --count 1000`.

Each `data-N.csv` is one line of 784 cells printed `%.6E`, the pixel as float32 times float32(1/255), and a newline:
10,192 bytes, those of `batch-transform/mnist-1000-samples`. Two other forms are for tests and comparisons: integers
(`0` to `255`, not scaled) and `repr` (the shortest text of the same scaled value as a double).

A pixel has 256 values, so a line is 784 look-ups in a table of finished cells.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..commands._run import run_command
from ..errors import ConfigError, OutputError
from ..storage.atomic import make_folder, replacing
from .dataset import read_images

FORMATS = ("sample", "integers", "repr")
SAMPLE_NAME = re.compile(r"data-(0|[1-9][0-9]*)\.csv")


def cell_table(cell_format: str) -> list[bytes]:
    """The text of each pixel value 0 to 255.

    Args:
        cell_format: ``sample``, ``integers`` or ``repr``.

    Raises:
        ConfigError: another word.
    """
    if cell_format == "integers":
        return [b"%d" % value for value in range(256)]
    scaled = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    if cell_format == "sample":
        return [b"%.6E" % value for value in scaled.tolist()]
    if cell_format == "repr":
        return [repr(value).encode() for value in scaled.tolist()]
    raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, found {cell_format!r}")


def format_rows(images: NDArray[np.uint8], cell_format: str = "sample") -> list[bytes]:
    """One line of comma-separated cells for each of the images (n, rows, columns), each ended by a newline."""
    table = cell_table(cell_format)
    return [b",".join([table[pixel] for pixel in image.tobytes()]) + b"\n" for image in images]


def write_samples(
    images: NDArray[np.uint8], out: str | os.PathLike[str], cell_format: str = "sample", rows_per_file: int = 1
) -> int:
    """Writes `data-0.csv`, `data-1.csv`, … into the folder `out`, which is created where missing.

    Files of an earlier run with the same name are replaced. A `data-N.csv` that would stay behind, numbered past the
    last new one, is refused: whoever transforms the folder would take it for one of these.

    Args:
        images: uint8 (n, rows, columns), in the order of the files.
        out: the folder.
        cell_format: ``sample``, ``integers`` or ``repr``.
        rows_per_file: lines of each file; the last may have fewer.

    Returns:
        How many files were written.

    Raises:
        ConfigError: a format or a count that makes no sense.
        OutputError: ``cannot_write``, or ``foreign_files``.
    """
    if rows_per_file < 1:
        raise ConfigError(f"--rows-per-file must be at least 1, found {rows_per_file}")
    lines = format_rows(images, cell_format)
    files = -(-len(lines) // rows_per_file)
    folder = Path(out)
    make_folder(folder)
    matches = (SAMPLE_NAME.fullmatch(path.name) for path in folder.iterdir())
    left_over = sorted(int(match[1]) for match in matches if match and int(match[1]) >= files)
    if left_over:
        raise OutputError(
            f"data-{left_over[0]}.csv is there already and not one of the {files} files to be written",
            code="foreign_files",
            path=str(folder),
            hint="remove the older files or give another folder",
        )
    for number in range(files):
        with replacing(folder / f"data-{number}.csv") as temporary:
            temporary.write_bytes(b"".join(lines[number * rows_per_file : (number + 1) * rows_per_file]))
    return files


def _run(argv: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fastinfer.mnist.samples",
        description="Write images as the CSV files of SageMaker's sample set.",
        epilog="Exit codes: 0 done, 1 bad images, 2 bad option, 4 a file cannot be written, 130 interrupted.",
    )
    parser.add_argument("images", metavar="IMAGES", help="an IDX .gz file, or a folder with images.gz somewhere below")
    parser.add_argument("out", metavar="OUT", help="the folder for data-0.csv, data-1.csv, …")
    parser.add_argument("--count", type=int, metavar="N", help="the first N images (default: all)")
    parser.add_argument("--format", choices=FORMATS, default="sample", help="how a cell is printed (default: sample)")
    parser.add_argument("--rows-per-file", type=int, default=1, metavar="N", help="lines of a file (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="no last line on stderr")
    arguments = parser.parse_args(argv)

    start = time.perf_counter()
    images = read_images(arguments.images)
    count = len(images) if arguments.count is None else arguments.count
    if not 1 <= count <= len(images):
        raise ConfigError(f"--count must be 1 to {len(images)}, found {count}", path=arguments.images)
    files = write_samples(images[:count], arguments.out, arguments.format, arguments.rows_per_file)
    if not arguments.quiet:
        seconds = time.perf_counter() - start
        print(f"{count:,} images in {files:,} files in {seconds:.2f} s: {arguments.out}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run_command(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
