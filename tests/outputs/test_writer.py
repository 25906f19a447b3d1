"""Results are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.codecs.json_rows import FORM
from fastinfer.errors import OutputError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.label import Label
from fastinfer.outputs.writer import BUFFER_BYTES, OutputWriter
from fastinfer.records.spans import whole
from fastinfer.storage.atomic import TEMPORARY_PREFIX
from fastinfer.storage.claim import Claim
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


def test_an_output_has_a_label(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path))
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        make(folder, item("a.csv", b"version"), text=text)
        label = Label(bytes.fromhex(folder.layout.run), 0, b"version")
        assert Label.unpack(folder.store.label(folder.layout.result(item("a.csv")))) == label
        (tmp_path / "a.csv.out").unlink()


def test_a_dropped_output_leaves_nothing(tmp_path: Path) -> None:
    output = open_writer(OutputFolder(str(tmp_path))).open(whole(item("b.csv")))
    output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
    output.drop()
    assert os.listdir(tmp_path) == []


def test_a_result_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError), OutputFolder(str(tmp_path / "file")).open_run({"depends_on": {}}, overwrite=False):
        pass


@pytest.mark.parametrize("size", [1, BUFFER_BYTES + 1])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("b.csv", "Is a directory"), ("file/b.csv", "Not a directory"), ("x" * 252 + ".csv", "File name too long")],
)
def test_a_name_that_a_result_cannot_have_is_its_objects_problem(
    name: str, reason: str, size: int, tmp_path: Path
) -> None:
    (tmp_path / "b.csv.out").mkdir()
    (tmp_path / "file").write_bytes(b"")
    writer = open_writer(OutputFolder(str(tmp_path)))
    finished = []
    for key in ("a.csv", name, "c.csv"):
        output = writer.open(whole(item(key)))
        output.add_rows(b"x" * size, 1)
        finished += writer.finish(output)
    finished += writer.flush()
    # The others are written all the same, and nothing half is left.
    assert [str(each.problem and each.problem.code) for each in finished] == ["None", "output_name", "None"]
    assert str(finished[1].problem).endswith(f"{name}.out cannot have this name: {reason}")
    assert sorted(os.listdir(tmp_path)) == ["a.csv.out", "b.csv.out", "c.csv.out", "file"]


def test_a_writer_looks_at_its_claim_before_results_get_their_names(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path))  # a store that does not look itself, as at URLs
    claim = Claim(folder.store, folder.layout.record, "0" * 32)
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        writer = OutputWriter(folder.layout, folder.store, FORM, claim)
        result = writer.open(whole(item("a.csv")))
        result.add_rows(text, 1)
        with pytest.raises(OutputError) as caught:
            [*writer.finish(result), *writer.flush()]
        assert caught.value.code == "folder_lost"
        result.drop()
        assert os.listdir(tmp_path) == []
