"""The record of a folder: whose results are in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.layout import RUN_RECORD, OutputLayout
from fastinfer.outputs.run_record import RunRecord
from fastinfer.storage.local import LocalStore
from tests.outputs.results import item, make
from tests.outputs.test_folder import RECORD


def test_outputs_of_another_run_are_not_used(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    other = {"depends_on": {"model": "xyz", "batch_size": 480}}
    with (
        pytest.raises(ConfigError, match="model was 'abc', is 'xyz'") as caught,
        OutputFolder(str(tmp_path)).open_run(other, overwrite=False),
    ):
        pass
    assert caught.value.code == "other_run"
    with OutputFolder(str(tmp_path)).open_run(other, overwrite=True) as folder:
        assert not folder.is_finished(item("a.csv"))


@pytest.mark.parametrize("record", [None, b"", b"{}", b"[1]"])
def test_outputs_of_unknown_origin_are_not_used(record: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "a.csv.out").write_bytes(b"?")
    if record is not None:
        (tmp_path / RUN_RECORD).write_bytes(record)
    with pytest.raises(ConfigError) as caught, OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        pass
    assert caught.value.code == "other_run"


def test_a_record_of_nothing_finished_is_replaced(tmp_path: Path) -> None:
    (tmp_path / RUN_RECORD).write_text(json.dumps({"depends_on": {"model": "xyz"}, "since_ns": 1}))
    record = RunRecord(OutputLayout(str(tmp_path)), LocalStore())
    record.begin(RECORD, overwrite=False)
    assert not record.resumes
    kept = json.loads((tmp_path / RUN_RECORD).read_text())
    assert kept == {**RECORD, "since_ns": record.since_ns}
    assert record.since_ns > 1


def test_a_look_compares_what_is_known_and_writes_nothing(tmp_path: Path) -> None:
    kept = json.dumps({"depends_on": {"model": "abc", "mxnet": "1.9.1"}, "since_ns": 1})
    (tmp_path / RUN_RECORD).write_text(kept)
    record = RunRecord(OutputLayout(str(tmp_path)), LocalStore())
    record.compare({"model": "abc"}, overwrite=False, partial=True)
    assert record.resumes
    record.compare({"model": "abc"}, overwrite=False)
    assert not record.resumes
    assert (tmp_path / RUN_RECORD).read_text() == kept
