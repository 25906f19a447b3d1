"""Results are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.errors import OutputError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.writer import BUFFER_BYTES
from fastinfer.records.spans import whole
from fastinfer.storage.local import TEMPORARY_PREFIX
from tests.outputs.results import item, make, open_writer


def test_an_output_has_its_name_only_when_finished(tmp_path: Path) -> None:
    writer = open_writer(OutputFolder(str(tmp_path)))
    large, small = writer.open(whole(item("a/b.csv"))), writer.open(whole(item("a/c.csv")))
    large.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
    large.add_rows(b"y", 1)
    small.add_rows(b"z", 1)
    assert [name.startswith(TEMPORARY_PREFIX) for name in os.listdir(tmp_path / "a")] == [True]
    assert [finished.item for finished in writer.finish(large)] == [large.span.item]
    assert writer.finish(small) == []
    assert os.listdir(tmp_path / "a") == ["b.csv.out"]
    assert [finished.item for finished in writer.flush()] == [small.span.item]
    assert (tmp_path / "a" / "b.csv.out").read_bytes() == b"[" + b"x" * (BUFFER_BYTES + 1) + b", y]"
    assert (tmp_path / "a" / "c.csv.out").read_bytes() == b"[z]"
    assert writer.flush() == []


def test_many_small_outputs_are_written_in_order(tmp_path: Path) -> None:
    keys = [f"{number % 3}/{number:04d}.csv" for number in range(700)]
    assert make(OutputFolder(str(tmp_path)), *map(item, keys)) == keys
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(
        f"{key}.out" for key in keys
    )


def test_an_output_has_its_inputs_time(tmp_path: Path) -> None:
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        make(OutputFolder(str(tmp_path)), item("a.csv", 1_234_567_891_987_654_321), text=text)
        assert (tmp_path / "a.csv.out").stat().st_mtime_ns == 1_234_567_891_987_654_321


def test_a_dropped_output_leaves_nothing(tmp_path: Path) -> None:
    output = open_writer(OutputFolder(str(tmp_path))).open(whole(item("b.csv")))
    output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
    output.drop()
    assert os.listdir(tmp_path) == []


def test_a_result_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        with pytest.raises(OutputError) as caught:
            make(OutputFolder(str(tmp_path)), item("file/x.csv"), text=text)
        assert str(caught.value) == f"{tmp_path}/file/x.csv.out: cannot be written: Not a directory"
    with pytest.raises(OutputError), OutputFolder(str(tmp_path / "file")).open_run({"depends_on": {}}, overwrite=False):
        pass


@pytest.mark.parametrize("size", [1, BUFFER_BYTES + 1])
def test_a_folder_in_the_place_of_an_output_is_an_error_and_leaves_nothing_half(size: int, tmp_path: Path) -> None:
    (tmp_path / "b.csv.out").mkdir()
    with pytest.raises(OutputError, match=r"b\.csv\.out: cannot be written: Is a directory"):
        make(OutputFolder(str(tmp_path)), item("a.csv"), item("b.csv"), item("c.csv"), text=b"x" * size)
    # Of a group, the others are written all the same.
    assert sorted(os.listdir(tmp_path)) == ["a.csv.out", "b.csv.out", "c.csv.out"][: 3 if size == 1 else 2]
