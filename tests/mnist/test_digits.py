"""Digits: predictions read beside their samples, drawn as text and as a contact sheet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ConfigError, InputError
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.digits import as_squares, draw_digits, read_labels_of, read_results, save_contact_sheet
from fastinfer.mnist.samples import write_samples

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_CHANNEL = ROOT / "examples" / "mnist" / "test"


def test_digits_are_drawn_side_by_side_within_the_width() -> None:
    images = read_images(TEST_CHANNEL)[:5].astype(np.float64) / 255
    for columns, each_line in [(28, 1), (57, 2), (80, 2), (200, 5), (10, 1)]:
        lines = draw_digits(images, list("72104"), columns).splitlines()
        assert len(lines) == -(-5 // each_line) * 15
        assert max(map(len, lines)) <= max(columns, 28)
    assert lines[14] == "7"


def test_half_blocks_show_every_pixel() -> None:
    image = np.array([[[1, 0], [1, 1], [0, 1]]], dtype=np.float64)
    assert draw_digits(image, ["x"]) == "█▄\n ▀\nx\n"


def test_a_missing_pillow_is_reported_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match="a PNG requires Pillow") as caught:
        save_contact_sheet(np.zeros((1, 2, 2)), ["x"], [False], tmp_path / "x.png")
    assert caught.value.code == "pillow_missing"
    assert "pip install 'Pillow" in str(caught.value)


def test_results_are_read_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    write_samples(read_images(TEST_CHANNEL)[:11], tmp_path)
    for number in range(11):
        row = [0.0] * 10
        row[number % 10] = 1.0
        (tmp_path / f"data-{number}.csv.out").write_text(json.dumps([row]))
    results = read_results(tmp_path, tmp_path, count=3)
    assert results.predictions == [*range(10), 0]
    assert results.shown.shape == (3, 784)


def test_a_row_that_is_no_square_image_is_refused(tmp_path: Path) -> None:
    assert as_squares(np.full((2, 4), 255.0), tmp_path).tolist() == [[[1, 1], [1, 1]]] * 2
    with pytest.raises(InputError, match="expected a square image, found 5 values"):
        as_squares(np.zeros((1, 5)), tmp_path)


def test_labels_must_be_enough() -> None:
    assert read_labels_of(str(TEST_CHANNEL), 3) == [7, 2, 1]
    with pytest.raises(InputError, match="10000 labels for 10001 predictions"):
        read_labels_of(str(TEST_CHANNEL), 10_001)
