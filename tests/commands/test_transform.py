"""The command: what it writes where, its exit codes, and what it keeps when it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fastinfer.commands.transform import main, option_hint
from fastinfer.errors import ConfigError, FastinferError, InputError, ModelError
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import Options
from fastinfer.outputs.layout import OutputLayout
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.batch_size import choose_batching
from fastinfer.storage.atomic import TEMPORARY_PREFIX
from tests.conftest import csv, read_tree, wait_until
from tests.runs import transform


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastinfer.transform", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def test_each_csv_gets_its_out_beside_nothing_else(samples: Path, mlp: Path, tmp_path: Path) -> None:
    done = command(samples, tmp_path / "out", "--model", mlp)
    assert (done.returncode, done.stdout) == (0, "")
    expected = sorted(f"{path.relative_to(samples)}.out" for path in samples.rglob("*.csv"))
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == ["_run.json", *expected]
    assert done.stderr.splitlines()[-1].startswith("30 inputs, 30 records, 0 rejected, ")
    for text in read_tree(tmp_path / "out").values():
        ((*probabilities,),) = json.loads(text)
        assert len(probabilities) == 10
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_options_may_stand_between_the_two_folders(samples: Path, linear: Path, tmp_path: Path) -> None:
    assert main([str(samples), "--model", str(linear), "--dry-run", "--quiet", str(tmp_path / "out")]) == 0


def test_behind_two_dashes_names_may_begin_like_options(
    samples: Path, linear: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--model", str(linear), "--quiet", "--", str(samples), "--out"]) == 0
    assert (tmp_path / "--out" / "_run.json").exists()


def test_without_a_model_the_shipped_one_is_used_and_named(samples: Path, tmp_path: Path) -> None:
    done = command(samples, tmp_path / "out")
    assert done.returncode == 0
    assert f"model: {SHIPPED_MODEL} (the MNIST model that fastinfer ships)" in done.stderr
    digit = json.loads((tmp_path / "out" / "b" / "c" / "data-0.csv.out").read_bytes())[0]
    assert np.argmax(digit) == 7


def test_the_environment_names_a_model(samples: Path, mlp: Path, tmp_path: Path) -> None:
    done = command(samples, tmp_path / "out", FASTINFER_MODEL=str(mlp))
    assert done.returncode == 0
    assert "($FASTINFER_MODEL)" in done.stderr


def test_quiet_says_nothing_and_json_goes_to_stdout(samples: Path, mlp: Path, tmp_path: Path) -> None:
    done = command(samples, tmp_path / "out", "--model", mlp, "--quiet", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["inputs"], summary["records"], summary["rejected"], summary["skipped"]) == (30, 30, 0, 0)
    assert summary["bytes_read"] == 30 * 10_192
    assert summary["peak_memory_bytes"] > 1 << 20


def test_closed_standard_streams_do_no_harm(samples: Path, mlp: Path, tmp_path: Path) -> None:
    script = 'exec "$0" -m fastinfer.transform "$@" <&- >&- 2>&-'
    arguments = ["sh", "-c", script, sys.executable, str(samples), str(tmp_path / "out"), "--model", str(mlp)]
    assert subprocess.run(arguments).returncode == 0
    assert len(read_tree(tmp_path / "out")) == 30
    assert all(text.startswith(b"[[0") for text in read_tree(tmp_path / "out").values())


@pytest.mark.parametrize("mode", [[], ["--exact"], ["--on-error", "quarantine"]])
def test_a_run_on_threads_needs_no_numpy(mode: list[str], samples: Path, mlp: Path, tmp_path: Path) -> None:
    choose_batching(load_runtime(), load_model(mlp), Options())  # from here on the probe's answer is known
    script = (
        "import sys; from fastinfer.commands.transform import main\n"
        "code = main(sys.argv[1:])\n"
        "heavy = {'mxnet', 'numpy', 'joblib', 'tqdm', 'tempfile', 'platform', 'logging', 'concurrent.futures', 'asyncio'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    arguments = [samples, tmp_path / "out", "--model", mlp, "--quiet", *mode]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("0 []\n", "")


def test_help_and_dry_run_do_not_import_the_heavy_parts(samples: Path, mlp: Path, tmp_path: Path) -> None:
    for arguments in (["--help"], [samples, tmp_path / "out", "--model", mlp, "--dry-run", "--json"]):
        script = (
            "import sys; from fastinfer.commands.transform import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "print(sorted({'mxnet', 'numpy', 'joblib'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
        )
        assert done.stderr == "[]\n"
    assert json.loads(done.stdout) == {
        "inputs": 30,
        "skipped": 0,
        "passed_over": 0,
        "bytes": 30 * 10_192,
        "model": str(mlp),
    }
    assert not (tmp_path / "out").exists()


def test_a_dry_run_reports_what_is_left_and_changes_nothing(samples: Path, mlp: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    transform(mlp, samples, output)
    (output / "a" / "data-1.csv.out").unlink()
    run_id = json.loads((output / "_run.json").read_text())["run"]
    (output / "a" / f".fastinfer-{run_id}-1-2").write_bytes(b"another run may be writing this")
    before = {path: path.stat().st_ctime_ns for path in sorted(output.rglob("*"))}
    done = command(samples, output, "--model", mlp, "--dry-run", "--json")
    assert (done.returncode, json.loads(done.stdout)["inputs"], json.loads(done.stdout)["skipped"]) == (0, 1, 29)
    refused = command(samples, output, "--model", mlp, "--dry-run", "--exact")
    assert (refused.returncode, "mode was 'default', is 'exact'" in refused.stderr) == (2, True)
    assert command(samples, output, "--dry-run", "--device", "tpu").returncode == 2
    assert {path: path.stat().st_ctime_ns for path in sorted(output.rglob("*"))} == before


def test_a_second_run_does_what_is_left(samples: Path, mlp: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = transform(mlp, samples, output)
    before = read_tree(output)
    times = {path: path.stat().st_ctime_ns for path in output.rglob("*.out")}
    gone, changed = output / "a" / "data-1.csv.out", samples / "a" / "data-3.csv"
    gone.unlink()
    os.utime(changed, ns=(1, 1))
    second = transform(mlp, samples, output)
    assert (first.inputs, first.skipped) == (30, 0)
    assert (second.inputs, second.skipped) == (2, 28)
    assert read_tree(output) == before
    redone = {path.name for path in output.rglob("*.out") if times[path] != path.stat().st_ctime_ns}
    assert redone == {"data-1.csv.out", "data-3.csv.out"}
    third = transform(mlp, samples, output, Options(overwrite=True))
    assert (third.inputs, third.skipped) == (30, 0)
    assert read_tree(output) == before


def test_outputs_of_another_model_are_not_mixed_in(samples: Path, mlp: Path, tmp_path: Path) -> None:
    transform(mlp, samples, tmp_path / "out")
    done = command(samples, tmp_path / "out", "--model", mlp, "--exact")
    assert done.returncode == 2
    assert "mode was 'default', is 'exact'" in done.stderr
    assert "--overwrite" in done.stderr


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        (b"1,2\n3,abc,5\n", ":2:3", "expected a number, found 'abc'"),
        (b"1,2\n3,abc\n", ":2:3", "expected a number, found 'abc'"),
        (b"1,2\n,4\n", ":2:1", "found an empty field"),
        (b"1,2\n3\n", ":2:", "expected 2 fields as in the first line, found 1"),
        (b"1,2\n3,4,5\n", ":2:", "expected 2 fields as in the first line, found 3"),
        (b"1,2,3\n", ":1", "expected lines of 2 values, or of a multiple or a part of that, found 3"),
        (b"1\n2\n3\n", ":1", "expected a multiple of 2 values, found 3"),
        (b"", "", "empty input: no values found"),
        (b"\n \n", "", "empty input: no values found"),
        (b"x1,x2\n1,2\n", ":1:1", "found 'x1'"),
        (b'"1",2\n', ":1:1", "expected a number"),
        (b"1,2\n" * 300_000 + b"1,\xff\n", ":300001:3", "expected a number"),
    ],
)
def test_a_bad_record_is_named_and_what_is_finished_stays(
    body: bytes, place: str, message: str, linear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_bytes(b"1,2\n3,4\n")
    (source / "b.csv").write_bytes(body)
    (source / "c.csv").write_bytes(b"5,6\n")
    code = main([str(source), str(tmp_path / "out"), "--model", str(linear), "--workers", "1", "--quiet"])
    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith(f"error: {source}/b.csv{place}")
    assert message in error
    assert list(read_tree(tmp_path / "out")) == ["a.csv.out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["_run.json", "a.csv.out"]

    # Mended, the same command finishes.
    (source / "b.csv").write_bytes(b"3,4\n")
    assert main([str(source), str(tmp_path / "out"), "--model", str(linear), "--quiet"]) == 0
    assert list(read_tree(tmp_path / "out")) == ["a.csv.out", "b.csv.out", "c.csv.out"]


def test_the_first_bad_file_of_those_met_is_named(linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.csv").write_bytes(b"1,2\n" if number < 3 else b"x,2\n")
    for workers in (1, 4):
        with pytest.raises(InputError) as caught:
            transform(linear, source, tmp_path / f"out-{workers}", Options(workers=workers))
        # One worker meets the first; of four, with two files each, a worker meets the first bad one of its own share.
        met = {str(source / f"{number}.csv") for number in ((3,) if workers == 1 else (3, 4, 6))}
        assert caught.value.path in met


def test_what_is_refused_can_be_asked_for(linear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    for folder in (plain, odd):
        folder.mkdir()
    (plain / "x.csv").write_bytes(b"1,-2\n3,4\n")
    (odd / "x.csv").write_bytes(b"\xef\xbb\xbfname,other\n1, \n# a remark\n3,4 # another\n")
    options = {"--header": "skip", "--missing": "-2", "--comment": "#"}
    for left_out in (*options, None):
        arguments = [word for name, value in options.items() if name != left_out for word in (name, value)]
        output = tmp_path / f"out{left_out}"
        code = main([str(odd), str(output), "--model", str(linear), "--quiet", *arguments])
        if left_out is None:
            transform(linear, plain, tmp_path / "expected")
            assert read_tree(output) == read_tree(tmp_path / "expected")
        else:
            # Each is refused by default, and the message names the option.
            assert code == 1
            assert left_out in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (InputError("", code="empty_cell"), "--missing VALUE reads it"),
        (InputError("", code="expected_number", found="# a", line=3, column=1), "--comment '#' skips comments"),
        (
            InputError("", code="expected_number", found="x", line=1, column=1),
            "--header skip skips a first line of names",
        ),
        (
            InputError("", code="expected_number", found="x", line=1, column=4),
            "--header skip skips a first line of names",
        ),
        (InputError("", code="expected_number", found="x", line=2, column=1), None),
        (InputError("", code="expected_number", found="x", line=1, column=9), None),
        (InputError("", code="expected_number", found="1;2", line=1, column=1, hint="it is ';'"), None),
        (
            InputError("", code="refused_record", hint="leave it out"),
            "correct it, or go on without it: --on-error quarantine",
        ),
        (ConfigError("", code="other_run"), "name another folder, or --overwrite"),
        (
            ConfigError("", code="other_machine"),
            "use the same versions and environment on all machines, and --cpu-isa for ",
        ),
        (ConfigError("", code="no_such_device"), "--device cpu"),
        (ConfigError("", code="no_such_device", hint="another build"), "--device cpu, or another build"),
        (ModelError("no such model", code="model_missing"), "name a folder or a model.tar.gz with --model"),
        (ModelError("the model lacks model-symbol.json", code="model_incomplete"), None),
        (ModelError("at batch size 3", code="mixed_batch"), "leave --batch-size out"),
        (ModelError("is not JSON"), None),
    ],
)
def test_hints_name_this_commands_options(error: FastinferError, hint: str | None) -> None:
    given = option_hint(error)
    assert given is None if hint is None else given is not None and given.startswith(hint)


def test_a_byte_order_mark_is_dropped(linear: Path, tmp_path: Path) -> None:
    for name, body in {"a.csv": b"1,2\n", "b.csv": b"\xef\xbb\xbf1,2\n"}.items():
        (tmp_path / name).write_bytes(body)
    transform(linear, tmp_path, tmp_path / "out")
    assert len(set(read_tree(tmp_path / "out").values())) == 1


def test_a_file_larger_than_a_chunk_and_a_batch_is_one_list(linear: Path, tmp_path: Path) -> None:
    rows = np.random.RandomState(0).randint(0, 99_999, (200_000, 2))
    (tmp_path / "x.csv").write_bytes(b"".join(b"%d,%d\n" % tuple(row) for row in rows.tolist()))
    transform(linear, tmp_path, tmp_path / "out")
    predictions = json.loads((tmp_path / "out" / "x.csv.out").read_bytes())
    assert len(predictions) == 200_000
    (tmp_path / "y.csv").write_bytes(b"%d,%d\n" % tuple(rows[123_456].tolist()))
    transform(linear, tmp_path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "y.csv.out").read_bytes()) == [predictions[123_456]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "gpu"], 2, "there is no gpu:0"),
        (["--device", "gpu:0,1"], 2, "there is no gpu:0"),
        (["--device", "tpu"], 2, "expected cpu, gpu"),
        (["--device", "cpu:0,0"], 2, "names a device twice"),
        (["--model", "nowhere"], 3, "nowhere: no such model"),
    ],
)
def test_what_cannot_be_done_has_its_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    samples: Path,
    tmp_path: Path,
    mlp: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = arguments if "--model" in arguments else [*arguments, "--model", str(mlp)]
    assert main([str(samples), str(tmp_path / "out"), *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--batch-size", "--workers"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "²"])
def test_counts_are_checked(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["in", "out", f"{option}={value}"])
    assert caught.value.code == 2
    assert "expected auto or a number of at least 1" in capsys.readouterr().err
    if value in ("0", "-1"):
        with pytest.raises(ConfigError):
            Options(**{option.strip("-").replace("-", "_"): int(value)})


def test_an_output_that_cannot_be_written_has_its_exit_code(
    samples: Path, mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    assert main([str(samples), str(tmp_path / "out"), "--model", str(mlp)]) == 4
    assert f"{tmp_path}/out: cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-errors", "3"], "--max-errors must be at least 0, and requires --on-error quarantine"),
        (["--address", "x"], "--address requires --backend dask or ray, found 'threads'"),
        (["--cpu-isa", "x"], "--cpu-isa must be one of SSE41, "),
        (["--memory-limit", "0"], "--memory-limit must be at least 1, found 0"),
        (
            ["--comment", os.fsdecode(b"\xff")],
            "expected as comment one ASCII character that no number contains, found ",
        ),
        (["--comment", "§"], "expected as comment one ASCII character that no number contains, found '§'"),
    ],
)
def test_a_wrong_option_is_named_as_it_is_typed(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["in", "out", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", [["", "out"], ["in", ""], ["in", "out", "--model", ""]])
def test_an_empty_path_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "it must be a path, found ''" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"1;2\n", "values are separated by ';', expected ','"),
        (b'"1","2"\n', "values are in quotes, expected bare numbers"),
        (b"a,b\n1,2\n", "--header skip skips a first line of names"),
        (
            b"u1,1,2\nu2,1,2\n",
            "the first column holds text, as an ID is: the model takes numbers alone; --id-column 0 puts it in front of the "
            "answer",
        ),
    ],
)
def test_a_first_line_has_the_hint_that_fits(
    body: bytes, hint: str, linear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_bytes(body)
    assert main([str(tmp_path), str(tmp_path / "out"), "--model", str(linear)]) == 1
    assert capsys.readouterr().err.endswith(f". Hint: {hint}\n")


def test_lines_that_are_cut_across_records_are_warned_of_once(linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02d}.csv").write_bytes(b"1,2,3\n4,5,6\n")
    done = command(source, tmp_path / "out", "--model", linear, "--records", "total")
    assert done.returncode == 0
    assert done.stderr.splitlines()[:-1] == [
        "warning: lines of 3 values are cut across records of 2 values: only the total of values counts"
    ]
    assert {len(json.loads(text)) for text in read_tree(tmp_path / "out").values()} == {3}
    assert command(source, tmp_path / "quiet", "--model", linear, "--records", "total", "--quiet").stderr == ""


# Data is the model's input divided by 10, as the hook's result shows.
DIVIDING = """
import mxnet as mx
import numpy as np


def input_fn(data, content_type, model):
    rows = np.array([[float(cell) for cell in line.split(",")] for line in data.split()]) / 10
    return mx.io.NDArrayIter(mx.nd.array(rows), batch_size=1)
"""


@pytest.mark.parametrize("packed", [False, True])
def test_hooks_are_run_or_ignored_as_it_is_said(
    packed: bool, linear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(linear, model)
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(DIVIDING)
    if packed:
        with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
            tar.add(model, ".")
        model = tmp_path / "model.tar.gz"
    for name, body in (("as_it_is", b"10,20\n30,40\n"), ("divided", b"1,2\n3,4\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_bytes(body)
    options = ["--model", str(model), "--exact", "--quiet"]
    assert main([str(tmp_path / "as_it_is"), str(tmp_path / "none"), *options]) == 3
    assert "code/inference.py defines input_fn" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    for source, output, code in (("as_it_is", "run", "run"), ("divided", "ignored", "ignore")):
        threads = ["--code", code, "--backend", "threads"]
        assert main([str(tmp_path / source), str(tmp_path / output), *options, *threads]) == 0
    assert read_tree(tmp_path / "run") == read_tree(tmp_path / "ignored") != {}


def test_the_last_line_says_how_long_the_start_took(
    samples: Path, mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(samples), str(tmp_path / "out"), "--model", str(mlp), "--json"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    times = f", {summary['seconds']:.2f} s after a start of {summary['startup_seconds']:.2f} s, "
    assert times in captured.err.splitlines()[-1]


def test_two_contexts_give_what_one_gives(samples: Path, mlp: Path, tmp_path: Path) -> None:
    trees = []
    for number, device in enumerate(["cpu", "cpu:0,1"]):
        transform(mlp, samples, tmp_path / f"out-{number}", Options(device=device, workers=2))
        trees.append(read_tree(tmp_path / f"out-{number}"))
    assert trees[0] == trees[1]


def test_a_batch_size_that_is_not_invariant_is_reported(
    samples: Path, mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for batch_size in (8, 48):
        arguments = [
            str(samples),
            str(tmp_path / str(batch_size)),
            "--model",
            str(mlp),
            "--batch-size",
            str(batch_size),
        ]
        assert main([*arguments, "--json"]) == 0
        captured = capsys.readouterr()
        assert ("depend on its place in the batch" in captured.err) == (not json.loads(captured.out)["invariant"])


def test_a_killed_run_continues_and_gives_the_same_bytes_as_an_uninterrupted_one(
    digits: np.ndarray, mlp: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(3000):
        (source / f"{number:04d}.csv").write_bytes(csv(digits[number % 500][None], "integers"))
    arguments = [sys.executable, "-m", "fastinfer.transform", str(source), str(output), "--model", str(mlp), "--quiet"]
    process = subprocess.Popen(arguments)
    wait_until((output / "0100.csv.out").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = read_tree(output)
    assert len(killed) > 0
    assert all(text.startswith(b"[[") and text.endswith(b"]]") for text in killed.values())
    times = {path: path.stat().st_ino for path in output.rglob("*.out")}
    assert subprocess.run(arguments, timeout=300).returncode == 0
    transform(mlp, source, tmp_path / "unbroken")
    assert read_tree(output) == read_tree(tmp_path / "unbroken")
    assert sorted(os.listdir(output)) == sorted(["_run.json", *read_tree(tmp_path / "unbroken")])
    assert {path: path.stat().st_ino for path in times} == times


def test_ctrl_c_keeps_what_is_finished(digits: np.ndarray, mlp: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    # More than a minute's work; the same file under many names takes no disk.
    (source / "000.csv").write_bytes(csv(digits[:1000], "integers") * 20)
    for number in range(1, 1000):
        os.link(source / "000.csv", source / f"{number:03d}.csv")
    arguments = [sys.executable, "-m", "fastinfer.transform", str(source), str(output), "--model", str(mlp)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_until((output / "000.csv.out").exists, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    names = os.listdir(output)
    assert "000.csv.out" in names
    # It ends soon: most is not done.
    assert len(names) < 500
    # Finished parts of large files are kept for the next run; half-written files are not.
    layout = OutputLayout("", json.loads((output / "_run.json").read_text())["run"])
    assert not [name for name in names if name.startswith(TEMPORARY_PREFIX) and not layout.is_span(name)]
