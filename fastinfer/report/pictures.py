"""Draws images as text for a terminal, or as a PNG contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..extras import install_command
from ..storage.atomic import make_folder, replacing

GREY_RAMP = " .:-=+*#%@"
HALF_BLOCKS = " ▀▄█"
# Pixels from here on are drawn as ink by the half blocks.
INK = 0.35


def draw_images(images: NDArray[np.float64], captions: Sequence[str], columns: int = 80, plain: bool = False) -> str:
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
        raise ConfigError("a PNG requires Pillow", code="pillow_missing", hint=install_command("report")) from error
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
