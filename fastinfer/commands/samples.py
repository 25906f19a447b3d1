"""``fastinfer samples``: images as the CSV files of SageMaker's sample set."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from ..errors import ConfigError, counted
from ..mnist.dataset import read_images
from ..mnist.samples import FORMATS, write_samples
from ._run import path, positive_number, run_command, say


def make_parser(prog: str = "fastinfer samples") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write images as the CSV files of SageMaker's sample set.",
        epilog="Exit codes: 0 done, 1 bad images, 2 bad option, 4 a file cannot be written, 70 internal error, "
        "130 interrupted.",
    )
    parser.add_argument(
        "images", type=path, metavar="IMAGES", help="an IDX .gz file, or a folder with images.gz somewhere below"
    )
    parser.add_argument("out", type=path, metavar="OUT", help="folder for data-0.csv, data-1.csv, …")
    parser.add_argument("--count", type=positive_number, metavar="N", help="the first N images (default: all)")
    parser.add_argument("--format", choices=FORMATS, default="sample", help="how a cell is printed (default: sample)")
    parser.add_argument(
        "--rows-per-file", type=positive_number, default=1, metavar="N", help="lines per file (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    return parser


def _samples(argv: Sequence[str] | None) -> None:
    arguments = make_parser().parse_args(argv)
    start = time.perf_counter()
    images = read_images(arguments.images)
    count = len(images) if arguments.count is None else arguments.count
    if count > len(images):
        raise ConfigError(f"--count must be 1 to {len(images)}, found {count}", path=arguments.images)
    files = write_samples(images[:count], arguments.out, arguments.format, arguments.rows_per_file)
    if not arguments.quiet:
        seconds = time.perf_counter() - start
        say(f"{counted(count, 'image')} in {counted(files, 'file')} in {seconds:.2f} s: {arguments.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_samples, argv)
