"""A finished run made again: where a byte differs, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastinfer
from fastinfer import load_model
from fastinfer.commands import transform as command
from fastinfer.commands import verify
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.verify import verify_run
from fastinfer.errors import ConfigError
from fastinfer.options import Options
from tests import networks
from tests.networks import mx
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
    assert verify_run(str(finished)) == (4, [], [], 0)
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


def test_what_was_said_of_the_model_is_said_again(
    mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(",".join(["0.5"] * 784) + "\n")
    places = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(mlp), "--quiet"]
    nodes = json.loads((mlp / "model-symbol.json").read_text())["nodes"]
    layer = next(node["name"] for node in nodes if node["op"] == "FullyConnected")
    assert command.main([*places, "--output", f"{layer}_output", "--input-shape", "data:28,28", "--epoch", "0"]) == 0
    # Also with a model that is named: it is the same one, read in the same way.
    for arguments in ([], ["--model", str(mlp)]):
        assert verify.main([str(tmp_path / "out"), *arguments]) == 0
        assert capsys.readouterr().err == "1 output made again, 0 differ\n"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cpu", "another", "cpu was"),
        ("cpu_features", "another", "the CPU had other instruction sets"),
        ("fastinfer", "0.0.1", "fastinfer was"),
        ("libmxnet", "another", "libmxnet was"),
        ("batch_size", 1, "batch_size was 1"),
    ],
)
def test_what_was_not_as_it_is_now_is_the_reason(finished: Path, name: str, value: object, reason: str) -> None:
    edit_record(finished, lambda record: record["depends_on"].update({name: value}))
    assert verify_run(str(finished)).differing == []  # a change by itself is no difference
    (finished / "1.csv.out").write_text("b,3\n")
    found = verify_run(str(finished))
    assert [(each.key, each.reason) for each in found.differing] == [("1.csv", "; ".join(found.changes))]
    assert len(found.changes) == 1
    assert found.changes[0].startswith(reason)


def test_an_input_that_has_changed_is_the_reason_and_one_that_is_gone_is_counted(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = finished.parent / "in"
    (source / "0.csv").write_text("id,x,y\na,7,7\nb,7,7\nc,7,7\n")
    (source / "1.csv").unlink()
    (source / "2.csv").write_text("")
    assert verify.main([str(finished)]) == 1
    said = capsys.readouterr().err
    assert "0.csv.out: differs from byte" in said
    assert "on: the input has changed since\n" in said
    assert "2.csv.out: is not made again: the input cannot be used any more; the input has changed since\n" in said
    assert said.endswith("3 outputs made again, 2 differ, 1 left out, whose inputs are not there any more\n")


def test_an_output_without_its_label_is_not_blamed_on_the_model(finished: Path) -> None:
    path = finished / "0.csv.out"
    path.unlink()
    path.write_text("another")  # as a copy without extended attributes has none
    ((_, place, reason),) = verify_run(str(finished)).differing
    assert place == 0
    assert reason.startswith("the input has changed since, or the output")


def test_rows_that_depend_on_their_place_and_random_numbers_are_reasons(finished: Path) -> None:
    (finished / "0.csv.out").write_text("another")
    edit_record(finished, lambda record: record.update(invariant=False, varies=["noise"]))
    ((_, _, reason),) = verify_run(str(finished)).differing
    assert (
        reason
        == "noise draw random numbers; a row's last bits depend on its place in the batch, at the batch size of that run"
    )


def edit_record(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "_run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        verify_run(str(tmp_path))
    assert caught.value.code == "other_run"


@pytest.mark.parametrize(
    "change",
    [
        {"row_shape": 5},
        {"model_path": None},
        {"model_path": ["x"]},
        {"depends_on": {}},
        {"depends_on": {"source": 5}},
        {"model_choice": {"a": 1}},
        {"model_choice": {"epoch": "x"}},
        {"options": {"a": 1}},
        {"options": {"missing": "x"}},
        {"request": {"a": 1}},
        {"request": {"accept": 5}},
        {"varies": 5},
        {"invariant": None},
    ],
)
def test_a_damaged_record_is_refused(finished: Path, change: dict[str, Any]) -> None:
    edit_record(finished, lambda record: record.update(change))
    with pytest.raises(ConfigError, match="is not the record of a run") as caught:
        verify_run(str(finished))
    assert (caught.value.code, caught.value.path) == ("other_run", str(finished / "_run.json"))


@pytest.mark.parametrize("name", ["row_shape", "model_path", "varies", "invariant", "options"])
def test_a_record_that_lacks_a_part_is_refused(finished: Path, name: str) -> None:
    edit_record(finished, lambda record: record.pop(name))
    with pytest.raises(ConfigError, match="is not the record of a run"):
        verify_run(str(finished))


def test_code_is_run_only_where_the_caller_names_its_model(tmp_path: Path) -> None:
    ran, model = tmp_path / "ran", networks.save(networks.linear, tmp_path / "model")
    (model / "code").mkdir()
    lines = ["from pathlib import Path", "def output_fn(prediction, accept):", f"    Path({str(ran)!r}).touch()"]
    (model / "code" / "inference.py").write_text("\n".join([*lines, "    return '[1.0]', accept", ""]))
    (tmp_path / "a.csv").write_text("1,2\n")

    def fastinfer(*arguments: object) -> tuple[int, str, bool]:
        """The exit code, what is said, whether the code ran; in a process of its own, which MXNet is loaded into."""
        ran.unlink(missing_ok=True)
        command = [sys.executable, "-m", "fastinfer", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, ran.exists()

    code, _, has_run = fastinfer("transform", tmp_path / "a.csv", tmp_path / "out", "--model", model, "--code", "run")
    assert (code, has_run) == (0, True)
    code, said, has_run = fastinfer("verify", tmp_path / "out")
    assert (code, has_run) == (3, False)
    assert "the model of the run has code of its own" in said
    assert "--model" in said
    code, said, has_run = fastinfer("verify", tmp_path / "out", "--model", model)
    assert (code, has_run) == (0, True), said


def test_no_variable_of_the_environment_is_set_by_a_record(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_record(finished, lambda record: record["request"].update(env={"LD_PRELOAD": "/tmp/x.so"}))
    with pytest.raises(ConfigError, match=r"the run had 'LD_PRELOAD=/tmp/x\.so' in its environment") as caught:
        verify_run(str(finished))
    assert caught.value.code == "bad_environment"
    assert "LD_PRELOAD" not in os.environ
    edit_record(finished, lambda record: record["request"].update(env={"FASTINFER_OTHER": "b"}))
    monkeypatch.setenv("FASTINFER_OTHER", "b")
    assert verify_run(str(finished)).compared == 4


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


def test_another_output_of_the_same_model_is_no_other_model(tmp_path: Path) -> None:
    hidden = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="hidden")
    folder = networks.write(tmp_path / "m", mx.sym.FullyConnected(hidden, num_hidden=1, name="last"), {"data": (2,)})
    (tmp_path / "x.csv").write_text("1,2\n")
    fastinfer.transform(tmp_path / "x.csv", tmp_path / "out", load_model(folder))
    with pytest.raises(ConfigError) as caught:
        fastinfer.transform(tmp_path / "x.csv", tmp_path / "out", load_model(folder, output="hidden_output"))
    message = "the outputs there are of another run: output was 'last_output', is 'hidden_output'"
    assert (caught.value.code, caught.value.message) == ("other_run", message)
    with pytest.raises(ConfigError, match="output was 'last_output', is 'all: last_output'"):
        fastinfer.transform(tmp_path / "x.csv", tmp_path / "out", load_model(folder, output="all"))
