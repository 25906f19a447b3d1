"""What a source names, whatever store it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.engine.source import find_objects, name_source
from fastinfer.storage.local import LocalStore


def test_of_a_folder_the_csv_files_are_objects(tmp_path: Path) -> None:
    for name in ("a.csv", "B.CSV", "c.txt", "d.csv.out"):
        (tmp_path / name).write_bytes(b"1\n")
    assert [item.key for item in find_objects(str(tmp_path))] == ["B.CSV", "a.csv"]
    assert [item.key for item in find_objects(str(tmp_path / "c.txt"), LocalStore())] == ["c.txt"]


def test_a_source_has_one_name_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_source("in/") == name_source("./in") == name_source(str(tmp_path / "in"))
