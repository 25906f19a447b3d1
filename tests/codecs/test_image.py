"""Pictures as rows: the pixels that MXNet's own decoder gives, channels first; what is no picture is an error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastinfer.codecs.image as module
from fastinfer.codecs.content_types import decode_rows
from fastinfer.codecs.image import decode_image_body
from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.options import Options
from tests import networks
from tests.conftest import read_tree
from tests.networks import mx
from tests.runs import transform

PIXELS = np.random.RandomState(1).randint(0, 256, (12, 10, 3)).astype(np.uint8)
SHAPE = (3, 12, 10)


def encoded(pixels: np.ndarray, form: str = "PNG", **rest: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **rest)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_pixels_are_those_of_mxnets_decoder(form: str) -> None:
    body = encoded(PIXELS, form)
    expected = mx.image.imdecode(body).asnumpy().transpose(2, 0, 1)
    row = decode_rows(body, "application/x-image", SHAPE)
    assert row.shape == (1, *SHAPE)
    # Builds of libjpeg differ by a little.
    assert np.abs(row[0] - expected).max() <= (0 if form == "PNG" else 3)


@pytest.mark.parametrize("name", ["image/png", "IMAGE/JPEG", "application/x-image; fit=stretch"])
def test_a_picture_has_several_names_and_any_mode(name: str) -> None:
    grey = PIXELS[:, :, 0]
    assert (decode_rows(encoded(grey), name, SHAPE)[0] == grey).all()
    assert (decode_rows(encoded(grey), name, (1, 12, 10))[0, 0] == grey).all()
    with_alpha = np.dstack([PIXELS, np.full((12, 10), 255, np.uint8)])
    assert (decode_rows(encoded(with_alpha), name, SHAPE) == decode_rows(encoded(PIXELS), name, SHAPE)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_the_pixels(channels: int) -> None:
    grey = np.random.RandomState(2).randint(0, 65536, (12, 10)).astype(np.uint16)
    body = encoded(grey)
    row = decode_rows(body, "image/png", (channels, 12, 10))[0]
    assert (row == grey >> 8).all()
    assert (row[0] == mx.image.imdecode(body).asnumpy()[:, :, 0]).all()


def test_mean_and_deviation_are_of_each_channel() -> None:
    row = decode_rows(encoded(PIXELS), "application/x-image; mean=1,2,3; std=2", SHAPE)[0]
    assert np.allclose(row, (PIXELS.transpose(2, 0, 1) - np.array([1, 2, 3])[:, None, None]) / 2)


def test_a_picture_of_another_size_is_stretched_or_cut() -> None:
    wide = np.zeros((12, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # what is in the middle
    stretched = decode_rows(encoded(wide), "application/x-image", SHAPE)[0]
    assert stretched[0, 6, 0] == 0
    assert stretched[0, 6, 5] == 200
    assert (decode_rows(encoded(wide), "application/x-image; fit=crop", SHAPE) == 200).all()


def test_a_picture_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = decode_rows(encoded(np.rot90(PIXELS).copy(), exif=exif), "application/x-image", SHAPE)[0]
    assert (turned == PIXELS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("body", "name", "code", "message"),
    [
        (b"1,2", "", "bad_image", "expected a JPEG or PNG image, found '1,2'"),
        (encoded(PIXELS)[:-40], "", "bad_image", "expected a JPEG or PNG image"),
        (encoded(PIXELS, "GIF"), "", "bad_image", "expected a JPEG or PNG image"),
        (encoded(PIXELS), "; mean=1,2", "unsupported_content_type", "expected 1 or 3 numbers for the parameter mean"),
        (encoded(PIXELS), "; std=0", "unsupported_content_type", "expected 1 or 3 numbers for the parameter std"),
        (encoded(PIXELS), "; mean=x", "unsupported_content_type", "found 'x'"),
        (encoded(PIXELS), "; means=1", "unsupported_content_type", "unsupported parameter 'means'"),
        (encoded(PIXELS), "; fit=tile", "unsupported_content_type", "unsupported parameter 'fit=tile'"),
    ],
)
def test_errors_state_what_is_wrong(body: bytes, name: str, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_rows(body, f"application/x-image{name}", SHAPE)
    assert caught.value.code == code


def test_a_model_of_no_images_takes_none() -> None:
    with pytest.raises(InputError, match=r"the model takes rows of shape \(2,\), no images"):
        decode_image_body(encoded(PIXELS), (2,), {})


def test_the_number_of_pixels_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIXELS_LIMIT", 100)
    with pytest.raises(InputError, match="expected at most 100 pixels, found 10 x 12"):
        decode_image_body(encoded(PIXELS), SHAPE, {})


def test_a_run_reads_pictures(tmp_path: Path) -> None:
    model = networks.save(networks.convolution, tmp_path / "model")
    (tmp_path / "in").mkdir()
    (tmp_path / "csv").mkdir()
    for number in range(3):
        pixels = np.roll(PIXELS, number, axis=0)
        (tmp_path / "in" / str(number)).write_bytes(encoded(pixels))
        row = pixels.transpose(2, 0, 1).reshape(-1)
        (tmp_path / "csv" / str(number)).write_bytes(b",".join(b"%d" % value for value in row) + b"\n")
    options = Options(exact=True, on_error="quarantine")
    transform(model, tmp_path / "csv", tmp_path / "expected", options)
    (tmp_path / "in" / "none").write_bytes(b"1,2\n")
    request = TransformRequest(content_type="application/x-image")
    summary = transform(model, tmp_path / "in", tmp_path / "out", options, request=request)
    assert (summary.inputs, summary.rejected) == (3, 1)
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "expected")
