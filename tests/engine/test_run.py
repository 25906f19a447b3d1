"""What a run promises: the same bytes for every division, nothing lost, bad records quarantined with their place."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.codecs.csv import CsvCodec, CsvOptions, count_columns
from fastinfer.engine import plan
from fastinfer.engine import run as engine
from fastinfer.engine.job import Job
from fastinfer.engine.plan import Shard
from fastinfer.engine.process import release
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import find_objects
from fastinfer.engine.worker import run_shard
from fastinfer.errors import ConfigError, InputError, ModelError, OutputError
from fastinfer.models.module import load_model
from fastinfer.options import Limits, Options
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.layout import OutputLayout
from fastinfer.records.reading import read_chunks
from fastinfer.records.spans import Span, cut, whole
from fastinfer.runtimes.batch_size import Batching
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.storage import local
from fastinfer.storage.atomic import TEMPORARY_PREFIX
from fastinfer.storage.local import LocalStore
from tests import networks
from tests.conftest import csv, read_tree, skip
from tests.runs import OnBatch, transform

# Spans of 64 KiB, read in chunks of 4 KiB, so that small files are large objects.
SMALL = Limits(chunk_bytes=4 << 10, large_object_bytes=96 << 10, span_bytes_least=64 << 10, span_bytes_most=64 << 10)


def run(model: Path, source: Path, output: Path, limits: Limits | None = None, **options: Any) -> dict[str, bytes]:
    transform(model, source, output, Options(**options), limits=limits)
    return read_tree(output)


PLAIN = CsvOptions()


def spans_of(path: Path, row_values: int, csv: CsvOptions = PLAIN) -> list[Span]:
    item = next(find_objects(str(path)))
    return cut(LocalStore(), item, 64 << 10, row_values, lambda lines: count_columns(lines, csv), 1 << 20)


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name.startswith(TEMPORARY_PREFIX)]


# Large files


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last_newline", [True, False])
def test_a_file_cut_in_parts_gives_the_bytes_of_the_whole(
    newline: bytes, last_newline: bool, mlp: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    body = csv(digits[:700], "integers", newline)
    (source / "x.csv").write_bytes(body if last_newline else body[: -len(newline)])
    (source / "small.csv").write_bytes(csv(digits[:2], "integers", newline))
    whole = run(mlp, source, tmp_path / "whole")
    assert len(spans_of(source / "x.csv", 784)) > 15
    for workers in (1, 3):
        output = tmp_path / f"parts-{workers}"
        summary = transform(mlp, source, output, Options(workers=workers), limits=SMALL)
        assert read_tree(output) == whole
        assert (summary.inputs, summary.records) == (2, 702)
        assert left_over(output) == []


def test_lines_that_are_not_records_are_not_cut(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_bytes(csv(digits[:100].reshape(-1, 28), "integers"))
    assert spans_of(tmp_path / "grid.csv", 784) == []
    (tmp_path / "rows.csv").write_bytes(csv(digits[:100], "integers"))
    results = run(mlp, tmp_path, tmp_path / "out", limits=SMALL)
    assert results["grid.csv.out"] == results["rows.csv.out"]


def test_text_before_the_first_record_does_not_count_as_columns(linear: Path, tmp_path: Path) -> None:
    body = b"".join(b"%d,2\n" % number for number in range(30_000))
    (tmp_path / "a.csv").write_bytes(b"a,b,c,d\n\n# e,f,g,h\n" + body)
    (tmp_path / "b.csv").write_bytes(b"a,b\n" + body)
    assert len(spans_of(tmp_path / "a.csv", 2, CsvOptions("#", None, True))) > 2
    results = run(linear, tmp_path, tmp_path / "out", comment="#", skip_header=True, limits=SMALL)
    assert results["a.csv.out"] == results["b.csv.out"]


def test_an_error_in_a_late_part_names_its_line(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    lines = csv(digits[:700], "integers").split(b"\n")
    lines[612] = lines[612].replace(b",", b",x", 3)
    (tmp_path / "x.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        run(mlp, tmp_path, tmp_path / "out", limits=SMALL)
    assert (caught.value.line, caught.value.column) == (613, lines[612].index(b"x") + 1)
    assert read_tree(tmp_path / "out") == {}


def test_finished_parts_are_not_done_again(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(csv(digits[:700], "integers"))
    expected = run(mlp, tmp_path, tmp_path / "whole", limits=SMALL)
    output = tmp_path / "out"
    stop = threading.Event()
    transform(
        mlp, tmp_path, output, Options(workers=1), stop=stop, progress=OnBatch(lambda _: stop.set()), limits=SMALL
    )
    parts = {name: os.stat(output / name).st_ino for name in left_over(output)}
    assert parts
    assert read_tree(output) == {}
    done: list[int] = []
    summary = transform(mlp, tmp_path, output, progress=OnBatch(done.append), limits=SMALL)
    assert sum(done) < 700
    assert summary.inputs == 1
    assert read_tree(output) == expected
    assert left_over(output) == []


def test_parts_of_a_changed_input_are_not_used(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    path, output, stop = tmp_path / "x.csv", tmp_path / "out", threading.Event()
    path.write_bytes(csv(digits[:700], "integers"))
    transform(mlp, path, output, Options(workers=1), stop=stop, progress=OnBatch(lambda _: stop.set()), limits=SMALL)
    assert left_over(output)
    path.write_bytes(csv(digits[700:1400], "integers"))
    results = run(mlp, path, output, limits=SMALL)
    assert results == run(mlp, path, tmp_path / "fresh", limits=SMALL)
    assert left_over(output) == []


def test_an_input_that_grows_while_it_is_read_is_an_error(digits: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(csv(digits[:1000]))
    item = next(find_objects(str(path)))
    chunks = read_chunks(LocalStore(), whole(item), bytearray(1 << 20), 1 << 20)
    next(chunks)
    with open(path, "ab") as file:
        file.write(csv(digits[:1]))
    with pytest.raises(InputError) as caught:
        list(chunks)
    assert caught.value.code == "input_changed"


def test_an_input_that_vanishes_is_an_error_and_the_others_stay(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_bytes(b"1,2\n")

    def vanish(*arguments: Any, **named: Any) -> Any:
        shards = list(plan.plan_shards(*arguments, **named))
        (tmp_path / "b.csv").unlink()
        return shards

    monkeypatch.setattr(engine, "plan_shards", vanish)
    with pytest.raises(InputError, match=r"b\.csv: cannot be read: No such file"):
        run(linear, tmp_path, tmp_path / "out", workers=1)
    assert list(read_tree(tmp_path / "out")) == ["a.csv.out"]


def test_leftovers_of_removed_inputs_are_removed(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2\n")
    output = tmp_path / "out"
    run(linear, tmp_path, output)
    gone = output / "gone"
    gone.mkdir()
    layout = OutputLayout("", json.loads((output / "_run.json").read_text())["run"])
    other = OutputLayout("", "f" * 16).hidden("1-2")
    for name in (layout.hidden("part-0123456789abcdef.0-5"), layout.hidden("1-2"), other, ".fastinfer-x"):
        (gone / name).write_bytes(b"x")
    (tmp_path / "b.csv").write_bytes(b"1,2\n")
    assert sorted(run(linear, tmp_path, output)) == ["a.csv.out", "b.csv.out"]
    assert sorted(path.name for path in gone.iterdir()) == sorted([".fastinfer-x", other])


def test_a_large_unusable_input_is_rejected_once_and_the_run_continues(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "blank.csv").write_bytes(b"\n" * 500_000)
    for name in ("changes", "good"):
        (source / f"{name}.csv").write_bytes(b"1,2\n" * 100_000)
    (source / "small.csv").write_bytes(b"1,2\n")

    def touch(*arguments: Any, **named: Any) -> Any:
        for shard in plan.plan_shards(*arguments, **named):
            if isinstance(shard.items[0], Span) and shard.items[0].item.key == "changes.csv":
                os.utime(source / "changes.csv", (1, 1))
            yield shard

    with monkeypatch.context() as patched:
        patched.setattr(engine, "plan_shards", touch)
        summary = transform(
            linear,
            source,
            tmp_path / "out",
            Options(on_error="quarantine", workers=2),
            limits=dataclasses.replace(SMALL, shard_bytes=64 << 10),
        )
    assert (summary.inputs, summary.rejected, summary.records) == (2, 2, summary.records)
    assert sorted(read_tree(tmp_path / "out")) == ["good.csv.out", "small.csv.out"]
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert sorted((reject["key"], reject["code"]) for reject in rejects) == [
        ("blank.csv", "empty_input"),
        ("changes.csv", "input_changed"),
    ]
    assert left_over(tmp_path / "out") == []
    # What can be used now is done by the next run, and the other is reported again.
    again = transform(linear, source, tmp_path / "out", Options(on_error="quarantine", workers=1), limits=SMALL)
    assert (again.inputs, again.skipped, again.rejected) == (1, 2, 1)


# Bad records


BAD_LINES = [b"1,x,3,4", b"1,2,3", b"1,2,3,4,5", b"1,2,3,4,", b",2,3,4", b'"1",2,3,4', b"1,2,3,\xff", b"1;2;3;4"]


@pytest.fixture
def four(tmp_path: Path) -> Path:
    from tests import networks

    return networks.save(networks.scalar, tmp_path / "four")


def test_comments_and_empty_cells_are_not_said_of_other_types_than_csv(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text("[[1, 2, 3, 4]]")
    request = TransformRequest(content_type="application/json")
    for options in (Options(comment="#"), Options(missing=0.0)):
        with pytest.raises(ConfigError, match="only text/csv has comments and empty cells"):
            transform(linear, tmp_path / "in", tmp_path / "out", options, request=request)


@pytest.mark.parametrize("options", [{"on_error": "continue"}, {"on_error": "quarantine", "overwrite": True}])
def test_a_whole_object_that_is_rejected_has_no_result_of_an_earlier_run(
    options: dict[str, Any], linear: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.csv", "b.csv"):
        (source / name).write_text("1,2,3,4\n")
    assert sorted(run(linear, source, output, on_error=options["on_error"])) >= ["a.csv.out", "b.csv.out"]
    (source / "a.csv").write_bytes(b"" if options["on_error"] == "quarantine" else b"x\n")
    tree = run(linear, source, output, **options)
    assert "a.csv.out" not in tree
    assert "b.csv.out" in tree
    assert b'"key": "a.csv"' in (output / "_rejects.jsonl").read_bytes()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("batch_size", [2, 48])
def test_bad_records_are_quarantined_with_their_place(
    newline: bytes, batch_size: int, four: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    good = [b"%d,2,3,%d" % (number, number) for number in range(len(BAD_LINES) + 1)]
    # A bad line at every second place, the first and the last line good.
    lines = [line for pair in zip(good, BAD_LINES) for line in pair] + good[-1:]
    (source / "mixed.csv").write_bytes(newline.join(lines))
    (source / "good.csv").write_bytes(b"\n".join(good))
    options = Options(on_error="quarantine", batch_size=batch_size)
    summary = transform(four, source, tmp_path / "out", options)
    results = {name: json.loads(text) for name, text in read_tree(tmp_path / "out").items()}
    assert results["mixed.csv.out"][::2] == results["good.csv.out"]
    assert results["mixed.csv.out"][1::2] == [None] * len(BAD_LINES)
    assert (summary.inputs, summary.records, summary.rejected) == (2, len(lines) + len(good), len(BAD_LINES))

    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == list(range(2, len(lines), 2))
    assert [reject["record"].encode("utf-8", "surrogateescape") for reject in rejects] == BAD_LINES
    assert {reject["path"] for reject in rejects} == {str(source / "mixed.csv")}
    codes = ["expected_number", *["unequal_line"] * 3, "empty_cell", *["expected_number"] * 3]
    assert [reject["code"] for reject in rejects] == codes
    assert all(reject["column"] >= 1 and reject["message"] for reject in rejects)


def test_a_bad_file_is_rejected_as_a_whole(linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_bytes(b"1,2\n")
    (source / "empty.csv").write_bytes(b"\n\n")
    (source / "gone.csv").write_bytes(b"1,2\n")
    (source / "z.csv").write_bytes(b"3,4\n")
    item = next(find_objects(str(source / "gone.csv")))
    (source / "gone.csv").unlink()
    folder = OutputFolder(str(tmp_path / "out"))
    with folder.open_run({"depends_on": {}}, overwrite=False):
        job = Job(
            "t",
            load_model(linear),
            (("cpu", 0),),
            Batching(48, False, True),
            CsvCodec(),
            folder.layout,
            quarantine=True,
        )
        files = [*find_objects(str(source)), item]
        report = run_shard(Shard(0, sorted(files, key=lambda file: file.key)), job)
        folder.settle(has_rejects=True)
    release(job)
    assert (report.error, report.inputs, report.rejected) == (None, 2, 2)
    assert sorted(read_tree(tmp_path / "out")) == ["a.csv.out", "z.csv.out"]
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [(reject["key"], reject["line"], reject["code"]) for reject in rejects] == [
        ("empty.csv", None, "empty_input"),
        ("gone.csv", None, "input_missing"),
    ]


def test_the_rejects_of_a_stopped_file_s_old_version_go_with_its_spans(linear: Path, tmp_path: Path) -> None:
    large = tmp_path / "in" / "large.csv"
    large.parent.mkdir()
    large.write_bytes(b"x,2\n" + b"1,2\n" * 100_000)
    limits = dataclasses.replace(SMALL, shard_bytes=64 << 10)
    with pytest.raises(InputError, match="1 reject, at most 0 allowed"):
        run(linear, large.parent, tmp_path / "out", limits, on_error="quarantine", max_errors=0, workers=1)
    assert (tmp_path / "out" / "_rejects.jsonl").exists()
    large.write_bytes(b"30,2\n" + b"1,2\n" * 100_000)
    summary = transform(linear, large.parent, tmp_path / "out", Options(on_error="quarantine"), limits=limits)
    assert (summary.inputs, summary.rejected) == (1, 0)
    assert not (tmp_path / "out" / "_rejects.jsonl").exists()


def test_records_of_a_cut_file_are_quarantined_with_their_line(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    lines = csv(digits[:700], "integers").splitlines()
    bad = {5: b"x" + lines[5], 333: lines[333] + b",1", 699: lines[699][:-1]}
    for number, line in bad.items():
        lines[number] = line
    (tmp_path / "x.csv").write_bytes(b"\n".join(lines))
    results = run(mlp, tmp_path, tmp_path / "out", on_error="quarantine", limits=SMALL)
    predictions = json.loads(results["x.csv.out"])
    assert [number for number, row in enumerate(predictions) if row is None] == list(bad)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert {reject["line"] - 1: reject["record"].encode() for reject in rejects} == bad


def test_rejects_are_reported_once_over_resumed_runs(linear: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in "abc":
        (source / f"{name}.csv").write_bytes(b"1,2\nx,2\n")
    (source / "d.csv").write_bytes(b"")
    for _ in range(2):
        run(linear, source, output, on_error="quarantine")
        keys = [json.loads(line)["key"] for line in (output / "_rejects.jsonl").read_text().splitlines()]
        assert sorted(keys) == ["a.csv", "b.csv", "c.csv", "d.csv"]
    (source / "d.csv").write_bytes(b"5,6\n")
    (source / "a.csv").write_bytes(b"1,2\n3,2\n")
    (output / "b.csv.out").unlink()
    run(linear, source, output, on_error="quarantine")
    keys = [json.loads(line)["key"] for line in (output / "_rejects.jsonl").read_text().splitlines()]
    assert sorted(keys) == ["b.csv", "c.csv"]


def test_too_many_rejects_end_the_run(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n" + b"x,2\n" * 3)
    run(linear, tmp_path, tmp_path / "out", on_error="quarantine", max_errors=3)
    with pytest.raises(InputError) as caught:
        run(linear, tmp_path, tmp_path / "other", on_error="quarantine", max_errors=2)
    assert caught.value.code == "too_many_errors"


def test_rejects_of_results_that_are_made_again_are_not_counted_twice(linear: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.csv").write_bytes(b"1,2\n" + b"x,2\n" * 2)
    (source / "b.csv").write_bytes(b"1,2\nx,2\n")
    run(linear, source, output, on_error="quarantine")
    (source / "a.csv").write_bytes(b"1,2\n" + b"y,2\n" * 2)
    run(linear, source, output, on_error="quarantine", max_errors=3)
    assert len((output / "_rejects.jsonl").read_text().splitlines()) == 3
    # Those of results that stay count: beside others, and alone.
    (source / "a.csv").write_bytes(b"1,2\n3,4\n" + b"y,2\n" * 2)
    for _ in range(2):
        with pytest.raises(InputError, match="3 rejects, at most 2 allowed"):
            run(linear, source, output, on_error="quarantine", max_errors=2, workers=1)


def test_rejects_of_parts_that_stay_are_counted(linear: Path, tmp_path: Path) -> None:
    limits = Limits(large_object_bytes=100, span_bytes_least=100, span_bytes_most=100, chunk_bytes=64)
    (tmp_path / "a.csv").write_bytes(b"x,2\n" * 3 + b"1,2\n" * 97)
    (tmp_path / "b.csv").write_bytes(b"y,2\n")
    run(linear, tmp_path, tmp_path / "out", limits, on_error="quarantine", max_errors=4)
    for most in (4, 3):
        (tmp_path / "b.csv").write_bytes(b"z,22\n" if most == 4 else b"z,222\n")
        with contextlib.nullcontext() if most == 4 else pytest.raises(InputError, match="4 rejects, at most 3"):
            run(linear, tmp_path, tmp_path / "out", limits, on_error="quarantine", max_errors=most, workers=1)


def test_what_cannot_be_listed_is_rejected_and_the_run_continues(linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "c"):
        (source / f"{name}.csv").write_bytes(b"1,2\n")
    (source / "b.csv").symlink_to("nowhere")
    os.mkfifo(source / "d.csv")
    (source / "e").symlink_to(source)
    results = run(linear, source, tmp_path / "out", on_error="quarantine")
    assert sorted(results) == ["a.csv.out", "c.csv.out"]
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    # Each worker writes its own as it meets them.
    assert sorted((reject["key"], reject["code"]) for reject in rejects) == [
        ("b.csv", "input_missing"),
        ("d.csv", "cannot_read"),
        ("e", "link_loop"),
    ]
    with pytest.raises(InputError, match=r"b\.csv: cannot be read"):
        run(linear, source, tmp_path / "stop", workers=1)
    assert list(read_tree(tmp_path / "stop")) == ["a.csv.out"]


def test_rejects_of_finished_parts_are_kept(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    lines = csv(digits[:700], "integers").splitlines()
    for number in range(0, 700, 50):
        lines[number] = b"x" + lines[number]
    (tmp_path / "x.csv").write_bytes(b"\n".join(lines))
    output, stop = tmp_path / "out", threading.Event()
    options = Options(workers=1, on_error="quarantine")
    transform(mlp, tmp_path, output, options, stop=stop, progress=OnBatch(lambda _: stop.set()), limits=SMALL)
    assert left_over(output)
    summary = transform(mlp, tmp_path, output, options, limits=SMALL)
    rejects = [json.loads(line)["line"] for line in (output / "_rejects.jsonl").read_text().splitlines()]
    assert sorted(rejects) == list(range(1, 701, 50))
    assert summary.rejected == 14


def test_rejects_are_kept_whatever_folder_the_command_runs_in(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(b"1,2\nx,2\n")
    monkeypatch.chdir(tmp_path)
    options = Options(on_error="quarantine")
    assert transform(linear, Path("in"), Path("out"), options).rejected == 1
    monkeypatch.chdir("/")
    again = transform(linear, tmp_path / "in", tmp_path / "out", options)
    assert (again.skipped, again.rejected) == (1, 1)
    assert len((tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()) == 1


# Runs after runs


def test_older_results_are_not_mistaken_for_those_of_a_stopped_overwriting_run(linear: Path, tmp_path: Path) -> None:
    from tests import networks

    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(20):
        (source / f"{number:02d}.csv").write_bytes(b"%d,2\n" % number)
    run(linear, source, output)
    other = networks.save(networks.linear, tmp_path / "other")
    networks.edit(other, lambda saved: [array.__imul__(-1) for array in saved.values()])
    (source / "10.csv").write_bytes(b"bad,2\n")
    with pytest.raises(InputError):
        run(other, source, output, workers=1, overwrite=True)
    (source / "10.csv").write_bytes(b"10,2\n")
    assert run(other, source, output) == run(other, source, tmp_path / "fresh")


def test_a_run_that_finished_nothing_does_not_block_another(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(InputError):
        run(linear, tmp_path, tmp_path / "out")
    assert list(run(linear, tmp_path, tmp_path / "out", skip_header=True)) == ["x.csv.out"]


def test_another_source_is_another_run(linear: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_bytes(f"{len(name)},{name == 'one':d}\n".encode())
        os.utime(tmp_path / name / "a.csv", (10**9, 10**9))
    run(linear, tmp_path / "one", tmp_path / "out")
    with pytest.raises(ConfigError, match="source was"):
        run(linear, tmp_path / "two", tmp_path / "out")


def test_inputs_with_names_like_our_own_are_inputs(linear: Path, tmp_path: Path) -> None:
    names = [".fastinfer-y.csv", f".fastinfer-{'0' * 16}-1-2.csv", ".a.csv"]
    for name in names:
        (tmp_path / name).write_bytes(b"1,2\n")
    for _ in range(3):
        # The folder of the inputs is that of the outputs, too.
        assert sorted(run(linear, tmp_path / ".*.csv", tmp_path)) == sorted(f"{name}.out" for name in names)
    assert all((tmp_path / name).read_bytes() == b"1,2\n" for name in names)


def test_an_input_that_was_changed_and_given_its_old_time_is_done_again(linear: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for content in (b"1,2\n", b"1,2\n3,4\n", b"5,6\n7,8\n"):
        path.write_bytes(content)
        os.utime(
            path, ns=(-1_500_000_001, -1_500_000_001)
        )  # archives of reproducible builds have one time for all files
        (rows,) = run(linear, tmp_path, tmp_path / "out").values()
        assert rows == run(linear, tmp_path, tmp_path / f"out{len(content)}{content[0]}")["x.csv.out"]


def test_an_input_whose_output_cannot_have_its_name_is_put_aside(linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    names = [
        "a.csv",
        "x" * 248 + ".csv",
        "_run.json/b.csv",
        "_rejects.jsonl/e.csv",
        "c.csv",
        "c.csv.out/d.csv",
        "z.csv",
    ]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"1,2\n")
    # Hidden ones are objects only where they are asked for.
    manifest, request = source / "list", TransformRequest(data_type="ManifestFile")
    manifest.write_text("\n".join(names))
    with pytest.raises(InputError, match=r"cannot have this name|with the name of the run's own"):
        transform(linear, manifest, tmp_path / "stop", request=request)
    for _ in range(2):
        transform(linear, manifest, tmp_path / "out", Options(on_error="quarantine"), request=request)
        results = read_tree(tmp_path / "out")
        # Of two whose outputs need the same name, the first that is written has it.
        assert sorted(results) in (
            ["a.csv.out", "c.csv.out", "z.csv.out"],
            ["a.csv.out", "c.csv.out/d.csv.out", "z.csv.out"],
        )
        rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
        assert {reject["key"] for reject in rejects} == {*names} - {name[: -len(".out")] for name in results}
        assert {reject["code"] for reject in rejects} == {"output_name"}


def command(folder: Path, model: Path) -> list[str]:
    """A run in a process of its own, whose memory can be measured and bounded."""
    return [sys.executable, "-m", "fastinfer.transform", str(folder), str(folder / "out"), "--model", str(model)]


def test_an_endless_line_is_refused_without_holding_it(linear: Path, tmp_path: Path) -> None:
    with open(tmp_path / "x.csv", "wb") as file:
        file.truncate(1 << 30)
    arguments = command(tmp_path, linear)
    script = f"import resource, subprocess; print(subprocess.run({[*arguments, '--memory-limit', '300M']}).returncode, "
    script += "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, peak_kib = map(int, done.stdout.split())
    assert code == 1
    assert "is longer than" in done.stderr
    assert peak_kib < 400 << 10


# The machine


@pytest.fixture(params=["tmpfs"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, 32 KiB large."""
    if os.geteuid() != 0:
        skip("only root can mount a small file system")
    folder = tmp_path / "mounted"
    folder.mkdir()
    if subprocess.run(["mount", "-t", request.param, "-o", "size=32k", "none", folder], capture_output=True).returncode:
        skip("this container may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_an_error_and_nothing_half_is_left(
    mounted: Path, samples: Path, mlp: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        run(mlp, samples, mounted)
    finished = read_tree(mounted)
    assert len(finished) < 30
    assert left_over(mounted) == []
    subprocess.run(["mount", "-o", "remount,size=1m", mounted], check=True)
    assert run(mlp, samples, mounted) == run(mlp, samples, tmp_path / "out")
    assert finished.items() <= read_tree(mounted).items()


@pytest.mark.parametrize("mounted", ["ramfs"], indirect=True)
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_labels_are_kept_where_there_are_no_attributes(
    mounted: Path, backend: str, mlp: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    lines = csv(digits[:700], "integers").splitlines()
    lines[5] = b"x"
    (source / "large.csv").write_bytes(b"\n".join(lines))
    (source / "small.csv").write_bytes(b"\n".join(lines[:8]))
    (source / "bad.csv").write_bytes(b"")
    options = Options(backend=backend, workers=2, on_error="quarantine")
    first = transform(mlp, source, mounted / "out", options, limits=SMALL)
    assert (first.inputs, first.rejected) == (2, 3)
    assert sorted(path.name for path in (mounted / "out").iterdir()) == [
        "_labels.log",
        "_rejects.jsonl",
        "_run.json",
        "large.csv.out",
        "small.csv.out",
    ]
    (source / "small.csv").write_bytes(b"\n".join(lines[:9]))
    again = transform(mlp, source, mounted / "out", options, limits=SMALL)
    assert (again.inputs, again.skipped, again.rejected) == (1, 1, 3)


def test_a_folder_that_may_not_be_written_is_an_error(mounted: Path, samples: Path, mlp: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    with pytest.raises(OutputError, match="cannot be written: Read-only file system"):
        run(mlp, samples, mounted)


def test_durable_outputs_are_the_same(samples: Path, mlp: Path, tmp_path: Path) -> None:
    assert run(mlp, samples, tmp_path / "durable", durable=True) == run(mlp, samples, tmp_path / "out")


def test_the_stages_are_timed(samples: Path, mlp: Path, tmp_path: Path) -> None:
    summary = transform(mlp, samples, tmp_path / "out", Options(workers=2))
    stages = summary.stage_seconds
    assert list(stages) == ["read", "parse", "forward", "format", "write", "wait"]
    assert all(seconds > 0 for stage, seconds in stages.items() if stage != "wait")
    assert sum(stages.values()) == pytest.approx(2 * summary.seconds, rel=0.01)


def test_a_memory_limit_bounds_a_line(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1," * 40_000_000)
    arguments = command(tmp_path, linear)
    limited = subprocess.run([*arguments, "--memory-limit", "260M"], capture_output=True, text=True)
    assert limited.returncode == 1
    assert "the line that begins at byte 0 is longer than" in limited.stderr
    refused = subprocess.run([*arguments, "--memory-limit", "50M"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "50 MiB of memory are not enough" in refused.stderr


def test_what_is_read_ahead_is_part_of_the_memory_limit(linear: Path) -> None:
    with pytest.raises(ConfigError, match="of memory are not enough") as caught:
        engine._line_bytes(50 << 20, Limits(), load_model(linear), 2, 1, 0)
    with pytest.raises(ConfigError, match="of memory are not enough") as with_ahead:
        engine._line_bytes(50 << 20, Limits(), load_model(linear), 2, 1, 48 << 20)
    found = [re.findall(r"([0-9,]+) MiB are needed", str(each.value))[0] for each in (caught, with_ahead)]
    needed = [int(each.replace(",", "")) for each in found]
    assert needed[1] - needed[0] == pytest.approx(96, abs=2)


@pytest.mark.parametrize("shape", ["one-file", "many-files"])
def test_memory_does_not_grow_with_the_input(shape: str, mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    peaks = []
    for factor in (1, 8):
        source = tmp_path / f"in-{factor}"
        source.mkdir()
        if shape == "one-file":
            body = csv(digits[:1000], "integers")
            with open(source / "x.csv", "wb") as file:
                for _ in range(15 * factor):
                    file.write(body)
        else:
            for number in range(1500 * factor):
                (source / f"{number}.csv").write_bytes(csv(digits[number % 100][None], "integers"))
        arguments = [sys.executable, "-m", "fastinfer.transform", str(source), str(tmp_path / f"out-{factor}")]
        done = subprocess.run([*arguments, "--json", "--quiet", "--model", str(mlp)], capture_output=True, check=True)
        peaks.append(json.loads(done.stdout)["peak_memory_bytes"])
    assert peaks[1] - peaks[0] < 24 << 20, peaks


def test_files_are_read_while_the_model_runs(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for number in range(local.FILES_PER_CALL + 1):
        (tmp_path / "in" / f"{number:03d}.csv").write_bytes(b"1,2\n")
    second_group_read = threading.Event()
    calls: list[int] = []
    read_files, forward = local.read_files, MXNetExecutor.forward

    def read(paths: list[bytes], versions: list[bytes], buffer: bytearray) -> list[tuple[int, int]]:
        calls.append(len(paths))
        if len(calls) == 2:
            second_group_read.set()
        return read_files(paths, versions, buffer)

    def run_model(executor: MXNetExecutor) -> Any:
        # The first batch is run only when the second group has been asked for: without a reader this waits in vain.
        assert second_group_read.wait(300)
        return forward(executor)

    monkeypatch.setattr(local, "read_files", read)
    options = Options(workers=1, exact=True)  # nothing is probed
    transform(linear, tmp_path / "in", tmp_path / "expected", options)
    calls.clear()
    second_group_read.clear()
    monkeypatch.setattr(MXNetExecutor, "forward", run_model)
    transform(linear, tmp_path / "in", tmp_path / "out", options)
    assert calls == [local.FILES_PER_CALL, 1]
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "expected")


def test_the_stages_of_a_large_file_are_timed(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n" * 500_000)
    summary = transform(linear, tmp_path, tmp_path / "out", Options(workers=1))
    assert all(seconds > 0 for seconds in summary.stage_seconds.values())
    assert sum(summary.stage_seconds.values()) == pytest.approx(summary.seconds, rel=0.01)


def test_records_that_mix_although_the_probes_did_not_are_an_error(tmp_path: Path) -> None:
    def mixing() -> tuple[networks.Any, tuple[int, ...]]:
        data = networks.mx.sym.var("data")
        huge = networks.mx.sym.relu(networks.mx.sym.abs(data) - 1e12)
        layer = networks.mx.sym.FullyConnected(data, num_hidden=2)
        return networks.mx.sym.broadcast_add(layer, networks.mx.sym.sum(huge)), (3,)

    model, source = networks.save(mixing, tmp_path / "model"), tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_bytes(b"1,2,3\n" * 50)
    assert transform(model, source, tmp_path / "fine", Options(workers=1)).records == 50
    (source / "a.csv").write_bytes(b"1,2,3\n" * 49 + b"1e20,2,3\n" + b"1,2,3\n" * 50)
    with pytest.raises(ModelError, match="its records influence each other") as caught:
        transform(model, source, tmp_path / "out", Options(workers=1))
    assert caught.value.code == "mixed_rows"
    assert read_tree(tmp_path / "out") == {}
    assert transform(model, source, tmp_path / "exact", Options(workers=1, exact=True)).records == 99 + 1
