"""What an earlier run has finished is taken; one run at a time writes to a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.writer import BUFFER_BYTES
from fastinfer.records.spans import whole
from fastinfer.storage.local import TEMPORARY_PREFIX
from tests.outputs.results import item, make, open_writer

RECORD = {"depends_on": {"model": "abc", "batch_size": 480}}


def test_a_second_run_takes_what_the_first_finished(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
        make(folder, item("s/b.csv"))
        (tmp_path / "s" / f"{TEMPORARY_PREFIX}12-34").write_bytes(b"half")
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
        output.finish()
    assert (tmp_path / "a.csv.out").exists()


@pytest.mark.parametrize("change_ns", [-1, 1])
def test_an_input_that_changed_since_is_not_finished(change_ns: int, tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.is_finished(item("a.csv", int(item("").version) + change_ns))


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        with pytest.raises(ConfigError) as caught, OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
            pass
        assert caught.value.code == "output_in_use"
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        pass
