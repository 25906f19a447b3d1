"""``application/x-image``: a JPEG or PNG picture as one row of a model of images, (channels, height, width).

The pixels, 0 to 255 (of 16 bits the upper 8), in the order red, green, blue, are given to the model as they are unless
parameters of the content type say more: ``application/x-image; mean=123.68,116.779,103.939; std=58.4,57.1,57.4; fit=crop``. A
picture of another size than the model's is stretched to it, or with ``fit=crop`` scaled until it covers it, and cut.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError, quote
from ..extras import install_command

FORMATS = ("JPEG", "PNG")
# A small file may say that it holds any number of pixels.
PIXELS_LIMIT = 64_000_000
PARAMETERS = ("mean", "std", "fit")
FITS = ("stretch", "crop")
# What Pillow calls pictures with so many channels.
MODES = {1: "L", 3: "RGB"}


def decode_image_body(body: bytes, row_shape: tuple[int, ...], parameters: Mapping[str, str]) -> NDArray[np.float32]:
    """The row that a picture is.

    Args:
        body: a JPEG or PNG file.
        row_shape: shape of one row: (1 or 3, height, width).
        parameters: of the content type: ``mean`` is subtracted from each channel, which is then divided by ``std`` (a number,
            or one for each channel); ``fit``, one of :data:`FITS`.

    Returns:
        float32 array of shape (1, *row_shape).

    Raises:
        InputError: ``bad_image`` where it is not a JPEG or PNG, is damaged or too large; ``bad_shape`` where the model takes no
            images; ``unsupported_content_type`` where a parameter is wrong.
        ConfigError: ``pillow_missing``.
    """
    if len(row_shape) != 3 or row_shape[0] not in MODES:
        raise InputError(
            f"the model takes rows of shape {row_shape}, no images: expected (1 or 3, height, width)",
            code="bad_shape",
        )
    mean, std, fit = read_parameters(parameters, row_shape[0])
    pixels = np.asarray(_open(body, row_shape, crops=fit == "crop"), np.float32).reshape(*row_shape[1:], row_shape[0])
    rows = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
    return rows[np.newaxis]


def read_parameters(
    parameters: Mapping[str, str], channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """The parameters of a content type: mean and standard deviation of each channel, and how a picture is fitted.

    Raises:
        InputError: ``unsupported_content_type``.
    """
    fit = parameters.get("fit", FITS[0])
    unknown = [name for name in parameters if name not in (*PARAMETERS, "charset")]
    if unknown or fit not in FITS:
        found = unknown[0] if unknown else f"fit={fit}"
        raise InputError(
            f"unsupported parameter {quote(found)} of application/x-image: expected mean, std, or fit=stretch or crop",
            code="unsupported_content_type",
        )
    values = []
    for name, default in (("mean", "0"), ("std", "1")):
        text = parameters.get(name, default)
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if (
            len(numbers) not in (1, channels)
            or not all(map(math.isfinite, numbers))
            or (name == "std" and 0 in numbers)
        ):
            raise InputError(
                f"expected 1 or {channels} numbers for the parameter {name} of application/x-image, found {quote(text)}",
                code="unsupported_content_type",
            )
        values.append(np.array(numbers, np.float32))
    return values[0], values[1], fit


def _open(body: bytes, row_shape: tuple[int, ...], *, crops: bool) -> Any:
    """The picture with the channels and the size of a row, upright as its EXIF data say."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ConfigError("images require Pillow", code="pillow_missing", hint=install_command("report")) from error
    channels, height, width = row_shape
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
            if picture.width * picture.height > PIXELS_LIMIT:
                found = f"{picture.width:,} x {picture.height:,}"
                raise InputError(f"expected at most {PIXELS_LIMIT:,} pixels, found {found}", code="bad_image")
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16 bits, of which Pillow would keep the lower ones and end at 255
                upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
            upright = upright.convert(MODES[channels])
    except InputError:
        raise
    except UnidentifiedImageError as error:  # whose own words are of an object of Python
        raise InputError(f"expected a JPEG or PNG image, found {quote(body[:16])}", code="bad_image") from error
    except Exception as error:  # Pillow raises what its decoders raise
        raise InputError(f"expected a JPEG or PNG image: {error}", code="bad_image") from error
    if upright.size == (width, height):
        return upright
    resampling: Any = getattr(Image, "Resampling", Image)  # its place in Pillow before 9.1
    bilinear = resampling.BILINEAR
    return ImageOps.fit(upright, (width, height), bilinear) if crops else upright.resize((width, height), bilinear)
