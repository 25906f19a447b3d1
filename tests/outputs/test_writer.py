"""Outputs are whole or not there, and are taken for finished only where they are."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fastinfer._native.files import write_files
from fastinfer.errors import ConfigError, OutputError
from fastinfer.outputs.folder import RUN_RECORD, TEMPORARY_PREFIX, OutputFolder
from fastinfer.outputs.writer import BUFFER_BYTES, OutputWriter
from fastinfer.storage.local import InputFile

RECORD = {"depends_on": {"model": "abc", "batch_size": 480}}


def item(key: str, modified_ns: int = 1_600_000_000_000_000_000) -> InputFile:
    return InputFile(f"/in/{key}", key, 4, modified_ns)


def make(folder: OutputFolder, *sources: InputFile, text: bytes = b"[[1.0]]") -> list[str]:
    """Writes outputs as a worker does; returns the keys of what got its name."""
    writer = OutputWriter(folder, "w")
    named = []
    for source in sources:
        output = writer.open(source)
        output.add_rows(text, 1)
        named += writer.finish(output)
    named += writer.flush()
    return [finished.file.key for finished in named]


def test_an_output_has_its_name_only_when_finished(tmp_path: Path) -> None:
    writer = OutputWriter(OutputFolder(str(tmp_path)), "w")
    large, small = writer.open(item("a/b.csv")), writer.open(item("a/c.csv"))
    large.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
    large.add_rows(b"y", 1)
    small.add_rows(b"z", 1)
    assert os.listdir(tmp_path / "a") == [f"{TEMPORARY_PREFIX}w"]
    assert [finished.file for finished in writer.finish(large)] == [large.file]
    assert writer.finish(small) == []
    assert os.listdir(tmp_path / "a") == ["b.csv.out"]
    assert [finished.file for finished in writer.flush()] == [small.file]
    assert (tmp_path / "a" / "b.csv.out").read_bytes() == b"[" + b"x" * (BUFFER_BYTES + 1) + b", y]"
    assert (tmp_path / "a" / "c.csv.out").read_bytes() == b"[z]"
    assert writer.flush() == []


def test_many_small_outputs_are_written_in_order(tmp_path: Path) -> None:
    keys = [f"{number % 3}/{number:04d}.csv" for number in range(700)]
    assert make(OutputFolder(str(tmp_path)), *map(item, keys)) == keys
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(
        f"{key}.out" for key in keys
    )


def test_an_output_has_its_inputs_time(tmp_path: Path) -> None:
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        make(OutputFolder(str(tmp_path)), item("a.csv", 1_234_567_891_987_654_321), text=text)
        assert (tmp_path / "a.csv.out").stat().st_mtime_ns == 1_234_567_891_987_654_321


def test_a_dropped_output_leaves_nothing(tmp_path: Path) -> None:
    output = OutputWriter(OutputFolder(str(tmp_path)), "w").open(item("b.csv"))
    output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
    output.drop()
    assert os.listdir(tmp_path) == []


def test_a_second_run_takes_what_the_first_finished(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
        make(folder, item("s/b.csv"))
        (tmp_path / "s" / f"{TEMPORARY_PREFIX}12-34").write_bytes(b"half")
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert folder.has(item("a.csv"))
        assert folder.has(item("s/b.csv"))
        assert not folder.has(item("s/c.csv"))
        assert not folder.has(item("t/a.csv"))
    assert os.listdir(tmp_path / "s") == ["b.csv.out"]
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=True) as folder:
        assert not folder.has(item("a.csv"))


def test_a_folder_that_inputs_come_back_to_is_not_swept_again(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.has(item("a.csv"))
        output = OutputWriter(folder, "w").open(item("a.csv"))
        output.add_rows(b"x" * (BUFFER_BYTES + 1), 1)
        assert not folder.has(item("b/x.csv"))
        assert not folder.has(item("z.csv"))
        output.take()
        output.finish()
    assert (tmp_path / "a.csv.out").exists()


@pytest.mark.parametrize("change_ns", [-1, 1])
def test_an_input_that_changed_since_is_not_finished(change_ns: int, tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        make(folder, item("a.csv"))
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False) as folder:
        assert not folder.has(item("a.csv", item("").modified_ns + change_ns))


def test_outputs_of_another_run_are_not_taken(tmp_path: Path) -> None:
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
        assert not folder.has(item("a.csv"))


@pytest.mark.parametrize("record", [None, b"", b"{}", b"[1]"])
def test_outputs_of_unknown_origin_are_not_taken(record: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "a.csv.out").write_bytes(b"?")
    if record is not None:
        (tmp_path / RUN_RECORD).write_bytes(record)
    with pytest.raises(ConfigError) as caught, OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        pass
    assert caught.value.code == "other_run"


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        with pytest.raises(ConfigError) as caught, OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
            pass
        assert caught.value.code == "output_in_use"
    with OutputFolder(str(tmp_path)).open_run(RECORD, overwrite=False):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for text in (b"small", b"x" * (BUFFER_BYTES + 1)):
        with pytest.raises(OutputError) as caught:
            make(OutputFolder(str(tmp_path)), item("file/x.csv"), text=text)
        assert str(caught.value) == f"{tmp_path}/file/x.csv.out: cannot be written: Not a directory"
    with pytest.raises(OutputError), OutputFolder(str(tmp_path / "file")).open_run(RECORD, overwrite=False):
        pass


@pytest.mark.parametrize("size", [1, BUFFER_BYTES + 1])
def test_a_folder_in_the_place_of_an_output_is_an_error_and_leaves_nothing_half(size: int, tmp_path: Path) -> None:
    (tmp_path / "b.csv.out").mkdir()
    with pytest.raises(OutputError, match=r"b\.csv\.out: cannot be written: Is a directory"):
        make(OutputFolder(str(tmp_path)), item("a.csv"), item("b.csv"), item("c.csv"), text=b"x" * size)
    # Of a group, the others are written all the same.
    assert sorted(os.listdir(tmp_path)) == ["a.csv.out", "b.csv.out", "c.csv.out"][: 3 if size == 1 else 2]


# How small files get their names: by descriptor, by /proc for whoever may not do that, by renaming elsewhere.

WRITE = """
import os, sys
from fastinfer._native.files import write_files
if sys.argv[2] == "without privilege" and os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
folder = os.fsencode(sys.argv[1])
names = [b"a.out", b"sub/b.out", b"sub/c.out", b"d.out"]
paths = [folder + b"/" + name for name in names]
texts = [b"text of " + name for name in names]
print(write_files(paths, texts, [-1, 10**18 + 5, 7, 2 * 10**9], b".fastinfer-1-1", sys.argv[2] == "durable"))
"""


@pytest.mark.parametrize("way", ["as is", "without privilege", "durable"])
def test_small_files_get_names_and_times_whoever_writes_them(way: str) -> None:
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sub").mkdir()
        for place in (folder, folder / "sub"):
            place.chmod(0o777)
        (folder / "sub" / "b.out").write_bytes(b"of an earlier run, and longer than what comes now")
        (folder / "sub" / "b.out").chmod(0o666)
        done = subprocess.run([sys.executable, "-c", WRITE, name, way], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[0, 0, 0, 0]\n", "")
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        assert {key: path.read_bytes() for key, path in found.items()} == {
            key: f"text of {key}".encode() for key in ("a.out", "sub/b.out", "sub/c.out", "d.out")
        }
        assert [found[key].stat().st_mtime_ns for key in ("a.out", "sub/b.out", "sub/c.out", "d.out")] == [
            -1,
            10**18 + 5,
            7,
            2 * 10**9,
        ]


def test_files_that_cannot_be_written_are_told_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "folder.out").mkdir()
    names = ["a.out", "missing/b.out", "folder.out", "x" * 250 + ".out", "y" * 256, "c.out"]
    paths = [os.fsencode(tmp_path / name) for name in names]
    codes = write_files(paths, [b"text"] * len(names), [1] * len(names), b".fastinfer-1-1", False)
    assert codes == [0, errno.ENOENT, errno.EISDIR, 0, errno.ENAMETOOLONG, 0]
    assert sorted(os.listdir(tmp_path)) == sorted(["a.out", "folder.out", "x" * 250 + ".out", "c.out"])
