"""Sample files: the bytes of SageMaker's sample set, and no file of an older run among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ConfigError, OutputError
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import cell_table, write_samples

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_CHANNEL = ROOT / "examples" / "mnist" / "test"


@pytest.mark.parametrize("cell_format", ["sample", "integers", "repr"])
def test_every_cell_reads_back_as_its_pixel(cell_format: str) -> None:
    cells = [float(text) for text in cell_table(cell_format)]
    exact = np.arange(256, dtype=np.float32) * (np.float32(1 / 255) if cell_format != "integers" else 1)
    if cell_format == "sample":
        assert [f"{value:.6E}" for value in exact.tolist()] == [text.decode() for text in cell_table("sample")]
        np.testing.assert_allclose(cells, exact, rtol=5e-7)
    else:
        assert cells == exact.tolist()


def test_lines_go_to_files_in_order(tmp_path: Path) -> None:
    images = read_images(TEST_CHANNEL)[:7]
    assert write_samples(images, tmp_path, "integers", rows_per_file=3) == 3
    rows = [np.loadtxt(tmp_path / f"data-{n}.csv", delimiter=",", dtype=np.uint8, ndmin=2) for n in range(3)]
    assert [len(part) for part in rows] == [3, 3, 1]
    assert np.array_equal(np.concatenate(rows), images.reshape(7, 784))


def test_a_second_run_replaces_its_own_files_only(tmp_path: Path) -> None:
    images = read_images(TEST_CHANNEL)[:4]
    write_samples(images, tmp_path)
    (tmp_path / "notes.csv").write_text("mine")
    write_samples(images[::-1], tmp_path)
    assert (tmp_path / "data-3.csv").read_bytes() == b",".join(
        cell_table("sample")[pixel] for pixel in images[0].tobytes()
    ) + b"\n"
    assert (tmp_path / "notes.csv").read_text() == "mine"

    with pytest.raises(OutputError, match=r"data-2\.csv exists already") as caught:
        write_samples(images[:2], tmp_path)
    assert caught.value.code == "foreign_files"
    assert len(list(tmp_path.iterdir())) == 5


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    images = read_images(TEST_CHANNEL)[:1]
    with pytest.raises(ConfigError, match="rows_per_file must be at least 1"):
        write_samples(images, tmp_path, rows_per_file=0)
    with pytest.raises(ConfigError, match="cell_format must be one of"):
        write_samples(images, tmp_path, "hex")
