"""What an earlier run has finished is taken; one run at a time writes to a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.writer import BUFFER_BYTES
from fastinfer.records.spans import whole
from tests.outputs.results import item, make, open_writer

RECORD = {"depends_on": {"model": "abc", "batch_size": 480}}


def test_a_second_run_takes_what_the_first_finished(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
        make(folder, item("s/b.csv"))
        (tmp_path / "s" / folder.layout.hidden("12-34")).write_bytes(b"half")
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert folder.is_finished(item("a.csv"))
        assert folder.is_finished(item("s/b.csv"))
        assert not folder.is_finished(item("s/c.csv"))
        assert not folder.is_finished(item("t/a.csv"))
    assert os.listdir(tmp_path / "s") == ["b.csv.out"]
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=True) as folder:
        assert not folder.is_finished(item("a.csv"))


def test_a_folder_that_inputs_come_back_to_is_not_swept_again(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.is_finished(item("a.csv"))
        output = open_writer(folder).open(whole(item("a.csv")))
        output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
        assert not folder.is_finished(item("b/x.csv"))
        assert not folder.is_finished(item("z.csv"))
        output.take()
        output.finish(bytes.fromhex(folder.layout.run))
    assert (tmp_path / "a.csv.out").exists()


def test_an_input_that_changed_since_is_not_finished(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.is_finished(item("a.csv", b"second"))


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        with pytest.raises(ConfigError) as caught, OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
            pass
        assert caught.value.code == "output_in_use"
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        pass


def test_an_output_that_was_cut_or_has_no_label_is_made_again(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"), item("b.csv"), item("c.csv"))
    os.truncate(tmp_path / "a.csv.out", 3)
    os.removexattr(tmp_path / "b.csv.out", "user.fastinfer")
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert [folder.is_finished(item(f"{name}.csv")) for name in "abc"] == [False, False, True]


def test_an_overwriting_run_that_was_stopped_does_not_take_the_other_ones_outputs(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"), item("b.csv"))
    other = {"depends_on": {"model": "xyz"}}
    with OutputFolder(str(tmp_path)).open_run(other, overwrite=True) as folder:
        make(folder, item("a.csv"))
    with OutputFolder(str(tmp_path)).open_run(other, overwrite=False) as folder:
        assert [folder.is_finished(item(f"{name}.csv")) for name in "ab"] == [True, False]


def test_a_run_does_not_touch_what_a_run_in_a_folder_below_writes(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    with (
        OutputFolder(str(tmp_path / "inner")).open_run(RECORD, overwrite=False) as inner,
        OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as outer,
    ):
        output = open_writer(inner).open(whole(item("b.csv")))
        output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
        outer.is_finished(item("inner/c.csv"))
        outer.clear_leftovers()
        output.take()
        output.finish(bytes.fromhex(inner.layout.run))
    assert (tmp_path / "inner" / "b.csv.out").exists()


def test_leftovers_of_a_run_that_was_replaced_go(tmp_path: Path) -> None:
    names = []
    for _ in range(3):  # two were killed, one over the other
        with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=True) as folder:
            (tmp_path / "s").mkdir(exist_ok=True)
            names += [folder.layout.hidden("1-2"), folder.layout.hidden("part-x.0-4")]
            for name in names:
                (tmp_path / "s" / name).touch()
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        folder.clear_leftovers()
        folder.write_record(RECORD)
    assert os.listdir(tmp_path / "s") == []
    assert sorted(os.listdir(tmp_path)) == ["_run.json", "s"]


def test_outputs_of_another_run_in_a_folder_below_are_not_overwritten(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path / "sub")).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("x.csv"))
    for overwrite in (False, True):
        with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=overwrite) as folder:
            assert not folder.is_finished(item("other/x.csv"))
            if overwrite:
                assert not folder.is_finished(item("sub/x.csv"))
                continue
            with pytest.raises(ConfigError, match="are of another run") as caught:
                folder.is_finished(item("sub/x.csv"))
            assert (caught.value.code, caught.value.path) == ("other_run", str(tmp_path / "sub"))


def test_a_file_of_somebody_else_in_the_place_of_an_output_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.csv.out").write_text("mine")
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.is_finished(item("sub/y.csv"))
        with pytest.raises(ConfigError, match=r"x\.csv\.out: it is not of this run"):
            folder.is_finished(item("sub/x.csv"))


@pytest.mark.parametrize("name", ["_run.json", "_rejects.jsonl", "_labels.log", "._rejects.jsonl.tmp"])
def test_no_output_is_in_a_folder_with_the_name_of_a_file_of_the_run(name: str, tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path))
    problem = folder.name_problem(item(f"{name}/x.csv"))
    assert problem is not None
    assert problem.code == "output_name"
    assert folder.name_problem(item(f"s/{name}/x.csv")) is None
    assert folder.name_problem(item(f"{name}.csv")) is None
