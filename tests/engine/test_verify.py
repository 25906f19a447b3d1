"""A finished run made again: where a byte differs, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.commands import transform as command
from fastinfer.commands import verify
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.verify import verify_run
from fastinfer.errors import ConfigError
from fastinfer.options import Options
from tests import networks
from tests.runs import transform


@pytest.fixture
def finished(linear: Path, tmp_path: Path) -> Path:
    """The folder of a run with a filter, a join, rejects, and options."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.csv").write_text(f"id,x,y\na,{number},2\nb,,3\nc,no,1\n")
    request = TransformRequest(id_column="id", header="keep")
    options = Options(on_error="quarantine", missing=0.5)
    summary = transform(linear, tmp_path / "in", tmp_path / "out", options, request=request)
    assert (summary.records, summary.records_read, summary.rejected) == (12, 12, 4)
    return tmp_path / "out"


def test_a_run_that_was_left_alone_is_made_again_byte_for_byte(finished: Path) -> None:
    assert verify_run(str(finished)) == (4, [], [])
    assert verify_run(str(finished), sample=2).compared == 2


def test_the_first_byte_that_differs_is_named_with_the_reason(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished / "1.csv.out"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    ((key, place, reason),) = verify_run(str(finished)).differing
    assert (key, place) == ("1.csv", 20)
    assert reason.startswith("nothing that bytes depend on has changed")
    other = networks.save(networks.linear, tmp_path / "other")
    networks.edit(other, lambda saved: saved.update({name: value + 1 for name, value in saved.items()}))
    assert verify.main([str(finished), "--model", str(other), "--json"]) == 1
    said = capsys.readouterr()
    assert len(json.loads(said.out)["differing"]) == 4
    assert "0.csv.out: differs from byte" in said.err
    assert "note: the model was another one" in said.err
    assert "4 outputs made again, 4 differ" in said.err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        verify_run(str(tmp_path))
    assert caught.value.code == "other_run"


def test_only_what_was_rejected_is_run_again(finished: Path, linear: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = finished.parent / "in"
    (source / "2.csv").write_text("id,x,y\na,1,2\n")
    (source / "9.csv").write_text("id,x,y\na,1,2\n")
    arguments = [str(source), str(finished), "--model", str(linear), "--id-column", "id", "--header", "keep"]
    arguments += ["--on-error", "quarantine", "--missing", "0.5", "--compression-type", "none", "--only-rejects"]
    assert command.main(arguments) == 1
    assert "1 input, 3 finished before, 1 record, 3 rejected" in capsys.readouterr().err
    assert not (finished / "9.csv.out").exists()
    keys = {json.loads(line)["key"] for line in (finished / "_rejects.jsonl").read_text().splitlines()}
    assert keys == {"0.csv", "1.csv", "3.csv"}
