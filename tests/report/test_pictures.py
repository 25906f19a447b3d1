"""Images drawn as text and as a contact sheet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ConfigError
from fastinfer.mnist.dataset import read_images
from fastinfer.report.pictures import draw_images, save_contact_sheet

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_CHANNEL = ROOT / "examples" / "mnist" / "test"


def test_images_are_drawn_side_by_side_within_the_width() -> None:
    images = read_images(TEST_CHANNEL)[:5].astype(np.float64) / 255
    for columns, each_line in [(28, 1), (57, 2), (80, 2), (200, 5), (10, 1)]:
        lines = draw_images(images, list("72104"), columns).splitlines()
        assert len(lines) == -(-5 // each_line) * 15
        assert max(map(len, lines)) <= max(columns, 28)
    assert lines[14] == "7"


def test_half_blocks_show_every_pixel() -> None:
    image = np.array([[[1, 0], [1, 1], [0, 1]]], dtype=np.float64)
    assert draw_images(image, ["x"]) == "█▄\n ▀\nx\n"


def test_a_missing_pillow_is_reported_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match="a PNG requires Pillow") as caught:
        save_contact_sheet(np.zeros((1, 2, 2)), ["x"], [False], tmp_path / "x.png")
    assert caught.value.code == "pillow_missing"
    assert "pip install 'Pillow" in str(caught.value)
