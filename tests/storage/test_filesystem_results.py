"""Results at URLs of fsspec's: the same as in a folder, resumed after any call at which a run ended, never half there."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastinfer import transform
from fastinfer.commands.report import main as report
from fastinfer.commands.transform import main
from fastinfer.commands.verify import main as verify
from fastinfer.engine.summary import Summary
from fastinfer.errors import ConfigError, FastinferError
from fastinfer.storage import filesystem_writing
from fastinfer.storage.base import Object
from fastinfer.storage.filesystem_results import FilesystemStore
from tests.storage import disk

# Of the run: not those that it writes for itself.
OWN = ("_run.json", "_labels.log")


@pytest.fixture(params=["memory", "disk"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that does not exist yet, of either kind of store."""
    disk.register()
    yield "memory://results/out" if request.param == "memory" else f"disk://host{tmp_path}/results/out"
    disk.clear_memory()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five inputs, one of which is in a folder of its own."""
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.csv").write_text(f"{number},1\n2,{number}\n")
    (folder / "b" / "4.csv").write_text("4,4\n" * 3)
    return folder


def run(source: Path | str, out: str, model: Path, **options: Any) -> Summary:
    return transform(str(source), out, model=str(model), workers=1, **options)


def outputs(out: str) -> dict[str, bytes]:
    return {key: content for key, content in disk.content_below(out).items() if key not in OWN}


def on_disk(source: Path, model: Path, folder: Path, **options: Any) -> dict[str, bytes]:
    """The outputs of the same run in a folder of this machine."""
    run(source, str(folder), model, **options)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.out")}


def test_a_run_gives_the_bytes_of_the_disk_and_goes_on_where_one_ended(
    out: str, source: Path, linear: Path, tmp_path: Path
) -> None:
    expected = on_disk(source, linear, tmp_path / "folder")
    summary = run(source, out, linear)
    assert (summary.inputs, summary.records, summary.skipped) == (5, 11, 0)
    assert outputs(out) == expected
    assert set(disk.content_below(out)) == {*expected, *OWN}
    assert run(source, out, linear).skipped == 5
    # A changed input is done again, and so is an output that was cut or removed.
    (source / "0.csv").write_text("7,7\n")
    files, path = fsspec.core.url_to_fs(out)
    files.pipe_file(f"{path}/1.csv.out", b"[")
    files.rm_file(f"{path}/2.csv.out")
    assert run(source, out, linear).skipped == 2
    assert outputs(out) == on_disk(source, linear, tmp_path / "changed")


def test_another_run_s_results_stay_unless_they_are_to_be_replaced(
    out: str, source: Path, linear: Path, tmp_path: Path
) -> None:
    run(source, out, linear)
    before = disk.content_below(out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.csv").write_text("1,1\n")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "other", out, linear)
    assert caught.value.code == "other_run"
    assert disk.content_below(out) == before
    assert run(tmp_path / "other", out, linear, overwrite=True).inputs == 1
    assert outputs(out)["0.csv.out"] != before["0.csv.out"]
    assert run(tmp_path / "other", out, linear).skipped == 1
    # What somebody else has put there is not touched.
    files, path = fsspec.core.url_to_fs(out)
    files.rm_file(f"{path}/_run.json")
    with pytest.raises(ConfigError) as caught:
        run(source, out, linear)
    assert caught.value.code == "other_run"


def test_bad_records_are_named_and_stay_named(out: str, source: Path, linear: Path) -> None:
    (source / "1.csv").write_text("1,1\nbad\n2,2\n")
    (source / "b" / "4.csv").write_text("x,1\n")
    summary = run(source, out, linear, on_error="quarantine")
    assert (summary.inputs, summary.rejected) == (5, 2)
    rejects = [json.loads(line) for line in outputs(out)["_rejects.jsonl"].splitlines()]
    assert [(each["key"], each["line"], each["code"]) for each in rejects] == [
        ("1.csv", 2, "expected_number"),
        ("b/4.csv", 1, "expected_number"),
    ]
    assert json.loads(outputs(out)["1.csv.out"])[1] is None
    again = run(source, out, linear, on_error="quarantine")
    assert (again.skipped, again.rejected) == (5, 2)
    (source / "1.csv").write_text("1,1\n2,2\n")
    assert run(source, out, linear, on_error="quarantine").rejected == 1
    assert len(outputs(out)["_rejects.jsonl"].splitlines()) == 1
    # If the rejects are gone, their records are rejected again.
    files, path = fsspec.core.url_to_fs(out)
    files.rm_file(f"{path}/_rejects.jsonl")
    again = run(source, out, linear, on_error="quarantine")
    assert (again.skipped, again.rejected) == (4, 1)


def test_rejects_that_a_late_listing_leaves_out_are_an_error_and_come_with_the_next_run(
    out: str, source: Path, linear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "1.csv").write_text("1,1\nbad\n2,2\n")
    kind = disk.KINDS[out.partition("://")[0]]
    listed = kind.ls

    def late(files: Any, path: str, detail: bool = True, **options: Any) -> Any:
        found = listed(files, path, detail=True, **options)
        return [each if detail else each["name"] for each in found if "-rejects-" not in each["name"]]

    with monkeypatch.context() as patch:
        patch.setattr(kind, "ls", late)
        with pytest.raises(FastinferError, match="only 0 of the 1 rejects are found") as caught:
            run(source, out, linear, on_error="quarantine")
        assert caught.value.code == "rejects_missing"
    summary = run(source, out, linear, on_error="quarantine")
    assert (summary.skipped, summary.rejected) == (5, 1)
    assert len(outputs(out)["_rejects.jsonl"].splitlines()) == 1


def test_a_folder_that_another_thread_has_just_created_is_written_to(
    source: Path, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.register()
    put = disk.Disk.pipe_file

    def late(files: Any, path: str, value: bytes, **options: Any) -> None:
        try:
            put(files, path, value, **options)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            raise

    monkeypatch.setattr(disk.Disk, "pipe_file", late)
    assert run(source, f"disk://host{tmp_path}/results/out", linear).inputs == 5


@pytest.mark.filterwarnings("ignore:the next run puts in order")
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_run_that_ends_at_any_call_leaves_whole_results_and_the_next_one_completes_them(
    kind: str, source: Path, linear: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    disk.register()
    (source / "1.csv").write_text("1,1\nbad\n2,2\n")
    expected = on_disk(source, linear, tmp_path / "folder", on_error="quarantine")

    def folder(number: int) -> str:
        return f"memory://results/{number}" if kind == "memory" else f"disk://host{tmp_path}/results/{number}"

    if kind == "memory":
        request.addfinalizer(disk.clear_memory)
    with disk.dying(disk.KINDS[kind], 1000) as calls:
        run(source, folder(0), linear, on_error="quarantine")
    assert len(calls) > 20
    for number in range(1, len(calls), 2):
        out = folder(number)
        with disk.dying(disk.KINDS[kind], number), pytest.raises(FastinferError):
            run(source, out, linear, on_error="quarantine")
        left = {key: content for key, content in disk.content_below(out).items() if key.endswith(".out")}
        assert left.items() <= {**expected, **{key: left[key] for key in left if key.startswith(".")}}.items()
        summary = run(source, out, linear, on_error="quarantine")
        assert summary.rejected == 1
        now = disk.content_below(out)
        assert {key: content for key, content in now.items() if key.endswith(".out")} == expected
        assert set(now) == {*expected, *OWN, "_rejects.jsonl"}


def test_a_process_that_is_killed_is_continued(source: Path, linear: Path, tmp_path: Path) -> None:
    disk.register()
    out = f"disk://host{tmp_path}/results"
    script = (
        "import sys\n"
        "from tests.storage import disk\n"
        "from fastinfer.commands.transform import main\n"
        "disk.register()\n"
        "with disk.dying(disk.Disk, 9, kills=True):\n"
        "    main(sys.argv[1:])\n"
    )
    arguments = [str(source), out, "--model", str(linear), "--workers", "1", "--quiet"]
    killed = subprocess.run([sys.executable, "-c", script, *arguments], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "_run.json" in disk.content_below(out)
    assert main(arguments) == 0
    expected = on_disk(source, linear, tmp_path / "folder")
    assert disk.content_below(out).keys() == {*expected, *OWN}
    assert outputs(out) == expected


def test_an_object_of_unknown_version_is_computed_again(
    out: str, linear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing says of what its result was made; its size alone is not trusted.
    fsspec.filesystem("memory").pipe("/results/in/0.csv", b"1,2\n")
    info = MemoryFileSystem.info
    with monkeypatch.context() as patch:
        patch.setattr(
            MemoryFileSystem,
            "info",
            lambda *each, **_: {name: value for name, value in info(*each).items() if name != "created"},
        )
        for _ in range(2):
            assert run("memory://results/in/0.csv", out, linear).skipped == 0
    assert run("memory://results/in/0.csv", out, linear).skipped == 0
    assert run("memory://results/in/0.csv", out, linear).skipped == 1


def test_a_large_object_is_joined_from_its_parts(
    out: str, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem_writing, "SPOOL_BYTES", 10_000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.csv").write_bytes(b"".join(b"%d,1\n" % (number % 100) for number in range(100_000)))
    expected = on_disk(tmp_path / "in", linear, tmp_path / "folder")
    assert run(tmp_path / "in", out, linear).records == 100_000
    assert outputs(out) == expected


def test_two_runs_that_begin_in_the_same_moment_are_kept_apart_where_the_package_can(
    source: Path, linear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = FilesystemStore.replace

    def late(store: FilesystemStore, uri: str, pieces: Any, *, is_new: bool = False) -> None:
        if is_new:
            fsspec.filesystem("memory").pipe("/results/same/_run.json", b"another's")
        begun(store, uri, pieces, is_new=is_new)

    monkeypatch.setattr(FilesystemStore, "replace", late)
    with pytest.raises(ConfigError, match="another run began in this folder") as caught:
        run(source, "memory://results/same", linear)
    assert caught.value.code == "output_in_use"
    assert outputs("memory://results/same") == {}
    disk.clear_memory()


def test_a_run_never_gives_a_name_to_what_another_has_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.register()
    out = f"disk://host{tmp_path}"
    stores = [FilesystemStore().for_run(out, f".fastinfer-{each * 16}-", "_labels.log", "labels-") for each in "ab"]
    move = disk.Disk.mv

    def late(files: Any, source: str, target: str, **options: Any) -> None:
        monkeypatch.setattr(disk.Disk, "mv", move)
        with disk.dying(disk.Disk, 0), pytest.raises(FastinferError):
            stores[1].replace(f"{out}/_run.json", [b"another's"])
        move(files, source, target, **options)

    monkeypatch.setattr(disk.Disk, "mv", late)
    stores[0].replace(f"{out}/_run.json", [b"mine"])
    assert (tmp_path / "_run.json").read_bytes() == b"mine"


def test_results_are_read_by_the_other_commands(
    out: str, source: Path, linear: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), out, "--model", str(linear), "--table", f"{out}.csv", "--quiet"]) == 0
    files, path = fsspec.core.url_to_fs(f"{out}.csv")
    assert len(files.cat_file(path).splitlines()) == 12
    assert verify([out]) == 0
    assert "5 outputs made again, 0 differ" in capsys.readouterr().err
    assert report([out, "--json", "-o", f"{out}.html"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 11
    assert files.cat_file(f"{path[:-4]}.html").startswith(b"<!doctype html>")
    # Of an output that was changed the place is named.
    files.pipe_file(f"{path[:-4]}/0.csv.out", b"x")
    assert verify([out]) == 1
    assert f"error: {out}/0.csv.out: differs from byte 0 on" in capsys.readouterr().err


def test_keys_that_are_no_names_are_refused(linear: Path, out: str) -> None:
    fsspec.filesystem("memory").pipe("/results/in/a.csv", b"1,2\n")
    item = Object("memory://results/in/a.csv", "../a.csv", 4, b"created:1")
    from fastinfer.engine import run as engine
    from fastinfer.models.module import load_model

    with pytest.raises(FastinferError) as caught:
        engine.transform(load_model(str(linear)), [item], out, source="memory://results/in")
    assert caught.value.code == "unsafe_key"


def test_errors_are_one_line(
    source: Path, linear: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for out in ("http://127.0.0.1:1/out", "nosuch://x/out", "zip://out", "dropbox://x/out"):
        assert main([str(source), out, "--model", str(linear), "--quiet"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("the server\nis away")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", fails)
        assert main([str(source), "memory://results/away", "--model", str(linear), "--quiet"]) != 0
    said = capsys.readouterr().err
    assert "memory://results/away/_run.json: the server is away" in said
    assert len(said.splitlines()) == 1


def test_a_copy_for_a_worker_writes_to_the_same_log(out: str) -> None:
    store = FilesystemStore().for_run(out, f".fastinfer-{'a' * 16}-", "_labels.log", f".fastinfer-{'a' * 16}-labels-")
    copy = pickle.loads(pickle.dumps(store.for_new_results(is_first=True)))
    assert copy.write_many([f"{out}/a.out", f"{out}/b.out"], [b"1", b"22"], [b"label a", b"label b"]).wait() == [0, 0]
    assert store.label(f"{out}/b.out") == b"label b"
    store.settle_labels()
    store.expect_labels([f"{out}/a.out", f"{out}/c.out"])
    assert [store.label(f"{out}/{name}.out") for name in "abc"] == [b"label a", b"label b", None]
    assert sorted(disk.content_below(out)) == ["_labels.log", "a.out", "b.out"]
    assert os.path.basename(f"{out}/a.out") in list(store.names(out))
