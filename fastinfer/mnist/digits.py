"""Reads the predictions for a folder of samples, and draws the digits as text or as a PNG contact sheet.

For every `data-N.csv` of the samples, in the order of N, there must be a `data-N.csv.out`: JSON, one list of
probabilities for each line of the input. A missing output, one without an input, or one with another number of rows is an
error: nothing is skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError, quote
from ..storage.atomic import make_folder, replacing, unreadable
from .dataset import read_labels
from .samples import SAMPLE_NAME

GREY_RAMP = " .:-=+*#%@"
HALF_BLOCKS = " ▀▄█"
# Pixels from here on are drawn as ink by the half blocks.
INK = 0.35


@dataclass(frozen=True)
class Results:
    """The results of a folder of samples, row after row in the order of the files' numbers.

    Args:
        predictions: the most probable class of every row; the first one on a tie.
        shown: the values of the first images, float64 (count, values), not scaled.
    """

    predictions: list[int]
    shown: NDArray[np.float64]


def sample_files(samples: Path) -> list[Path]:
    """The files `data-N.csv` of a folder in the order of N.

    Raises:
        InputError: ``folder_missing``, ``input_missing`` (no sample at all, or a number left out).
    """
    if not samples.is_dir():
        raise InputError("no such folder", code="folder_missing", path=str(samples))
    matches = (SAMPLE_NAME.fullmatch(path.name) for path in samples.iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise InputError("no data-N.csv in this folder", code="input_missing", path=str(samples))
    for expected, number in enumerate(numbers):
        if number != expected:
            raise InputError(
                f"data-{expected}.csv is missing before data-{number}.csv", code="input_missing", path=str(samples)
            )
    return [samples / f"data-{number}.csv" for number in numbers]


def read_results(samples: Path, outputs: Path, count: int = 10) -> Results:
    """Reads every output, and the first `count` images.

    Raises:
        InputError: a file that is missing (``input_missing``), cannot be read, is no list of probabilities
            (``bad_output``), or has another number of rows than its input or no input (``count_mismatch``).
    """
    predictions: list[int] = []
    shown: list[list[float]] = []
    files = sample_files(samples)
    if outputs.is_dir():
        names = {f"{path.name}.out" for path in files}
        for path in sorted(outputs.glob("data-*.csv.out")):
            if path.name not in names:
                raise InputError(f"no input for it in {samples}", code="count_mismatch", path=str(path))
    for path in files:
        lines = [line for line in _read(path).splitlines() if line.strip()]
        output = outputs / f"{path.name}.out"
        rows = _read_probabilities(output)
        if len(rows) != len(lines):
            raise InputError(
                f"{len(rows)} predictions for the {len(lines)} images of {path}",
                code="count_mismatch",
                path=str(output),
            )
        predictions.extend(row.index(max(row)) for row in rows)
        for number, line in enumerate(lines[: max(0, count - len(shown))], 1):
            shown.append(_read_cells(line, path, number))
    if len({len(cells) for cells in shown}) > 1:
        raise InputError("the images differ in size", code="count_mismatch", path=str(samples))
    return Results(predictions, np.array(shown, dtype=np.float64))


def accuracy(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """The share of predictions that are the label."""
    return sum(label == prediction for label, prediction in zip(labels, predictions)) / len(predictions)


def draw_digits(images: NDArray[np.float64], captions: Sequence[str], columns: int = 80, plain: bool = False) -> str:
    """The images as text, as many side by side as fit.

    Args:
        images: (n, rows, columns), 0 to 1.
        captions: a line below each image.
        columns: the width of the terminal in characters.
        plain: ASCII only: a character of the grey ramp for every second row; else half blocks, two rows a character.

    Returns:
        Lines without trailing spaces, each ended by a newline.
    """
    width = max(images.shape[2], *map(len, captions)) if len(captions) else images.shape[2]
    each_line = max(1, (columns + 1) // (width + 1))
    blocks = [
        [line.ljust(width) for line in [*(_grey_lines(image) if plain else _block_lines(image)), caption]]
        for image, caption in zip(images, captions)
    ]
    text = ""
    for first in range(0, len(blocks), each_line):
        for line in zip(*blocks[first : first + each_line]):
            text += " ".join(line).rstrip() + "\n"
    return text


def save_contact_sheet(images: NDArray[np.float64], captions: Sequence[str], wrong: Sequence[bool], path: Path) -> None:
    """Saves the images as one PNG, five beside each other, each above its caption; the wrong ones framed in red.

    Args:
        images: (n, rows, columns), 0 to 1.
        captions: one for each.
        wrong: whether it is to be marked.
        path: the file.

    Raises:
        ConfigError: ``pillow_missing``.
        OutputError: ``cannot_write``.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ConfigError("a PNG requires Pillow", code="pillow_missing", hint="pip install 'Pillow>=9'") from error
    scale, margin, caption_height = 4, 8, 22
    count, rows, columns = images.shape
    across = min(5, count)
    cell_width, cell_height = columns * scale + 2 * margin, rows * scale + 2 * margin + caption_height
    sheet = Image.new("RGB", (across * cell_width, -(-count // across) * cell_height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for number, (image, caption, marked) in enumerate(zip(images, captions, wrong)):
        left, top = number % across * cell_width + margin, number // across * cell_height + margin
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        sheet.paste(Image.fromarray(pixels), (left, top))
        if marked:
            frame = (left - 3, top - 3, left + columns * scale + 2, top + rows * scale + 2)
            draw.rectangle(frame, outline="red", width=3)
        draw.text((left, top + rows * scale + 6), caption, fill="red" if marked else "black", font=font)
    make_folder(path.parent)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise InputError("not ASCII text", code="bad_output", path=str(path)) from error
    except OSError as error:
        raise unreadable(str(path), error) from error


def _read_probabilities(path: Path) -> list[list[float]]:
    text = _read(path)
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and row and all(type(value) in (int, float) and math.isfinite(value) for value in row)
        for row in rows
    ):
        raise InputError(f"expected [[p0, p1, …], …], found {quote(text)}", code="bad_output", path=str(path))
    return rows


def _read_cells(line: str, path: Path, number: int) -> list[float]:
    try:
        return [float(cell) for cell in line.split(",")]
    except ValueError as error:
        raise InputError(str(error), code="bad_number", path=str(path), line=number) from error


def read_labels_of(source: str, count: int) -> list[int]:
    """The first `count` labels of a file or channel folder.

    Raises:
        InputError: as :func:`read_labels`, and ``count_mismatch`` if there are fewer.
    """
    labels: list[int] = read_labels(source).tolist()
    if len(labels) < count:
        raise InputError(f"{len(labels)} labels for {count} predictions", code="count_mismatch", path=source)
    return labels[:count]


def as_squares(values: NDArray[np.float64], samples: Path) -> NDArray[np.float64]:
    """The rows of values as square images from 0 to 1; values above 1 are read as pixels up to 255.

    Raises:
        InputError: ``count_mismatch`` if a row is not a square.
    """
    side = math.isqrt(values.shape[1])
    if side * side != values.shape[1]:
        raise InputError(
            f"expected a square image, found {values.shape[1]} values", code="count_mismatch", path=str(samples)
        )
    scaled = values / 255 if values.max() > 1 else values
    return scaled.reshape(-1, side, side)


def _block_lines(image: NDArray[np.float64]) -> list[str]:
    ink = image >= INK
    if len(ink) % 2:
        ink = np.vstack([ink, np.zeros((1, ink.shape[1]), bool)])
    return ["".join(HALF_BLOCKS[up + 2 * low] for up, low in zip(*pair)) for pair in zip(ink[::2], ink[1::2])]


def _grey_lines(image: NDArray[np.float64]) -> list[str]:
    # A character is about twice as high as wide, so each line shows two rows.
    rows = [image[first : first + 2].mean(axis=0) for first in range(0, len(image), 2)]
    steps = len(GREY_RAMP) - 1
    return ["".join(GREY_RAMP[round(float(min(max(value, 0), 1)) * steps)] for value in row) for row in rows]
