"""Labels are read from text and IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fastinfer.errors import InputError
from fastinfer.report.labels import read_label_file


def test_labels_come_from_a_file_of_text_or_idx(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_text("1\n\n0.5\n")
    assert read_label_file(str(path), 2).tolist() == [1, 0.5]
    idx = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 2])
    path.write_bytes(gzip.compress(idx))
    assert read_label_file(str(path), 2).tolist() == [7, 2]
    assert read_label_file(str(path), 1).tolist() == [7]
    with pytest.raises(InputError, match="2 labels for 3 predictions"):
        read_label_file(str(path), 3)
    for content in (b"1\nx\n", b"\xff\xfe", idx, gzip.compress(idx)[:-5]):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_label_file(str(path), 2)
    with pytest.raises(InputError, match="cannot be read"):
        read_label_file(str(tmp_path / "nowhere"), 1)
