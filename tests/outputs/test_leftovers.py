"""What killed workers left is removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.outputs.layout import OutputLayout
from fastinfer.outputs.leftovers import Leftovers
from fastinfer.storage.local import LocalStore

HALF, SPAN = ".fastinfer-12-34", ".part-0123456789abcdef.0-5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name in (HALF, SPAN, ".fastinfer-x", ".part-of-somebody"):
            (folder / name).write_bytes(b"x")
    (tmp_path / "a" / "1.csv.out").write_bytes(b"[]")
    (tmp_path / "b" / ".fastinfer-56-78").mkdir()  # somebody else's, though of such a name
    return tmp_path


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_folder_is_swept_once_and_results_in_it_are_reported(folder: Path) -> None:
    leftovers = Leftovers(OutputLayout(str(folder)), LocalStore())
    assert leftovers.sweep_once("a", remove=True)
    assert left(folder / "a") == [".fastinfer-x", SPAN, ".part-of-somebody", "1.csv.out"]
    (folder / "a" / HALF).write_bytes(b"being written")
    assert leftovers.sweep_once("a", remove=True)
    assert HALF in left(folder / "a")
    leftovers.sweep_again()
    assert HALF not in left(folder / "a")
    assert not leftovers.sweep_once("b", remove=False)
    assert HALF in left(folder / "b")
    assert not leftovers.sweep_once("nowhere", remove=True)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_run_that_is_done_leaves_nothing_half_done(everywhere: bool, folder: Path) -> None:
    leftovers = Leftovers(OutputLayout(str(folder)), LocalStore())
    leftovers.expect_spans(str(folder / "a"))
    leftovers.clear(everywhere=everywhere)
    assert left(folder / "a") == [".fastinfer-x", ".part-of-somebody", "1.csv.out"]
    kept = [".fastinfer-56-78", ".fastinfer-x", ".part-of-somebody"]
    assert left(folder / "b") == (kept if everywhere else sorted([*kept, HALF, SPAN]))
