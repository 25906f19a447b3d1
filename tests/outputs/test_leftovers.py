"""What killed workers left is removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.outputs.layout import OutputLayout
from fastinfer.outputs.leftovers import Leftovers
from fastinfer.storage.local import LocalStore

RUN, REPLACED, OTHER = "0" * 16, "1" * 16, "2" * 16
LAYOUT = OutputLayout("", RUN)
HALF, SPAN, LABELS = (LAYOUT.hidden(word) for word in ("1-2", "part-0123456789abcdef.0-5", "labels-1-2"))
OLD = OutputLayout("", REPLACED).hidden("part-0123456789abcdef.0-5")
FOREIGN = OutputLayout("", OTHER).hidden("1-2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name in (HALF, SPAN, LABELS, OLD, FOREIGN, ".fastinfer-x"):
            (folder / name).write_bytes(b"x")
    (tmp_path / "a" / "1.csv.out").write_bytes(b"[]")
    (tmp_path / "._run.json.tmp").write_bytes(b"half")
    return tmp_path


@pytest.fixture
def leftovers(folder: Path) -> Leftovers:
    return Leftovers(OutputLayout(str(folder), RUN), LocalStore(), [REPLACED])


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_folder_is_swept_once_and_results_in_it_are_reported(folder: Path, leftovers: Leftovers) -> None:
    assert leftovers.sweep_once("a", remove=True)
    assert left(folder / "a") == sorted([LABELS, SPAN, FOREIGN, ".fastinfer-x", "1.csv.out"])
    (folder / "a" / HALF).write_bytes(b"being written")
    assert leftovers.sweep_once("a", remove=True)
    assert HALF in left(folder / "a")
    leftovers.sweep_again()
    assert HALF not in left(folder / "a")
    assert not leftovers.sweep_once("b", remove=False)
    assert HALF in left(folder / "b")
    assert not leftovers.sweep_once("nowhere", remove=True)
    for name in ("._run.json.tmp-w1-3", "._run.json.tmp.bak"):  # of a store without locks; the user's own
        (folder / name).write_bytes(b"x")
    leftovers.sweep_once("", remove=True)
    assert left(folder) == ["._run.json.tmp.bak", "a", "b"]


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_run_that_is_done_leaves_nothing_half_done(everywhere: bool, folder: Path, leftovers: Leftovers) -> None:
    leftovers.expect_spans(str(folder / "a"))
    leftovers.clear(everywhere=everywhere)
    kept = [LABELS, FOREIGN, ".fastinfer-x"]
    assert left(folder / "a") == sorted([*kept, "1.csv.out"])
    assert left(folder / "b") == sorted(kept if everywhere else [*kept, HALF, SPAN, OLD])
