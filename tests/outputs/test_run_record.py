"""The record of a folder: whose results are in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, FastinferError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.layout import RUN_RECORD, OutputLayout
from fastinfer.outputs.run_record import RunRecord
from fastinfer.storage.claim import MOST_BYTES
from fastinfer.storage.local import LocalStore
from tests.outputs.results import item, make
from tests.outputs.test_folder import RECORD

RUN = "0" * 16


def test_outputs_of_another_run_are_not_used(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    other = {"depends_on": {"model": "xyz", "batch_size": 480}}
    with (
        pytest.raises(ConfigError, match="the model was another one") as caught,
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


def write_record(folder: Path, **fields: Any) -> str:
    text = json.dumps({"run": RUN, "replaced": [], "depends_on": {"model": "abc"}, **fields})
    (folder / RUN_RECORD).write_text(text)
    return text


def test_a_record_of_nothing_finished_is_replaced(tmp_path: Path) -> None:
    write_record(tmp_path, depends_on={"model": "xyz"}, replaced=["1" * 16])
    record = RunRecord(OutputLayout(str(tmp_path)), LocalStore())
    record.compare(lambda: RECORD["depends_on"], overwrite=False)
    assert not record.resumes
    # Its unfinished files, and those of the run before it, may be in the folder.
    assert record.replaced == [RUN, "1" * 16]
    record.write(LocalStore(), RECORD)
    kept = json.loads((tmp_path / RUN_RECORD).read_text())
    assert kept == {**RECORD, "run": record.run, "replaced": record.replaced, "start": record.claim().start}
    assert record.run not in record.replaced


def test_a_look_compares_what_is_known_and_writes_nothing(tmp_path: Path) -> None:
    kept = write_record(tmp_path, depends_on={"model": "abc", "mxnet": "1.9.1"})
    record = RunRecord(OutputLayout(str(tmp_path)), LocalStore())
    record.compare(lambda: {"model": "abc"}, overwrite=False, partial=True)
    assert (record.resumes, record.run) == (True, RUN)
    record.compare(lambda: {"model": "abc"}, overwrite=False)
    assert not record.resumes
    assert (tmp_path / RUN_RECORD).read_text() == kept


def test_what_results_depend_on_is_asked_only_where_there_is_a_record(tmp_path: Path) -> None:
    asked = []

    def depends_on() -> dict[str, Any]:
        asked.append(True)
        return {"model": "abc"}

    record = RunRecord(OutputLayout(str(tmp_path)), LocalStore())
    record.compare(depends_on, overwrite=False)
    assert not record.resumes
    assert not asked
    write_record(tmp_path, depends_on={"model": "abc"})
    record.compare(depends_on, overwrite=False)
    assert record.resumes
    assert asked == [True]


def test_what_differs_is_said_in_words(tmp_path: Path) -> None:
    depends_on = {"model": "a" * 64, "mode": "default", "batch_size": 480}
    write_record(tmp_path, depends_on={"model": "b" * 64, "mode": "exact", "batch_size": None})
    (tmp_path / "a.csv.out").touch()
    with pytest.raises(ConfigError) as caught:
        RunRecord(OutputLayout(str(tmp_path)), LocalStore()).compare(lambda: depends_on, overwrite=False)
    assert caught.value.message == (
        "the outputs there are of another run: the model was another one; mode was 'exact', is 'default'"
    )


@pytest.mark.parametrize(
    "fields",
    [{"run": 5}, {"run": "../../x"}, {"replaced": ["x"]}, {"replaced": 1}, {"depends_on": 5}, {"run": "1" * 17}],
)
def test_a_record_that_somebody_changed_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    write_record(tmp_path, **fields)
    with pytest.raises(ConfigError, match="is not the record of a run"):
        RunRecord(OutputLayout(str(tmp_path)), LocalStore()).compare(lambda: {"model": "abc"}, overwrite=False)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b'{"run": 1e400}', b" " * (MOST_BYTES + 1)])
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / RUN_RECORD).write_bytes(content)
    with pytest.raises(FastinferError):
        RunRecord(OutputLayout(str(tmp_path)), LocalStore()).compare(lambda: {"model": "abc"}, overwrite=False)


@pytest.mark.parametrize("content", [b"[" * 100_000, b" " * (MOST_BYTES + 1), b"{}", None])
def test_a_run_that_replaces_everything_replaces_a_record_that_cannot_be_used(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is None:
        os.mkfifo(tmp_path / RUN_RECORD)
    else:
        (tmp_path / RUN_RECORD).write_bytes(content)
    (tmp_path / OutputLayout("", RUN).hidden("1-2")).touch()
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=True) as folder:
        folder.clear_leftovers()
        folder.write_record(RECORD)
    assert os.listdir(tmp_path) == [RUN_RECORD]


def test_a_strangers_words_are_cut_and_escaped_in_messages(tmp_path: Path) -> None:
    depends_on: dict[str, Any] = {f"name {number}\x1b[2J\n": "x" * 1000 for number in range(100)}
    write_record(tmp_path, depends_on=depends_on)
    (tmp_path / "\x1b[2J.out").touch()
    with pytest.raises(ConfigError) as caught:
        RunRecord(OutputLayout(str(tmp_path)), LocalStore()).compare(dict, overwrite=False)
    assert len(str(caught.value)) < 2000
    assert caught.value.message.isprintable()
    (tmp_path / RUN_RECORD).unlink()
    with pytest.raises(ConfigError) as caught:
        RunRecord(OutputLayout(str(tmp_path)), LocalStore()).compare(dict, overwrite=False)
    assert caught.value.message.isprintable()
