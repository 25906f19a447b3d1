"""A file is whole under its name or not there, whatever stops the writer; what the system refuses says which place."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, InputError, OutputError
from fastinfer.storage.atomic import (
    locking,
    make_folder,
    remove_leftovers,
    replacing,
    replacing_long,
    sync_folder,
    unreadable,
    unwritable,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        # No pattern such as * or *.json finds it.
        assert (temporary.name[0], temporary.suffix) == (".", ".tmp")
        temporary.write_text("new")
    assert (path.read_text(), names(tmp_path)) == ("new", ["x.json"])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_writer_that_fails_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert (path.read_text(), names(tmp_path)) == ("old", ["x"])


def test_a_writer_that_fails_before_it_writes_raises_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first"), replacing(tmp_path / "x"):
        raise ValueError("first")
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as first, open(first, "wb") as file:
        file.write(b"half of the first")
        file.flush()
        with replacing(path) as second:
            assert second != first
            second.write_bytes(b"the second")
        assert path.read_bytes() == b"the second"
        file.write(b", and the rest")
    assert (path.read_bytes(), names(tmp_path)) == (b"half of the first, and the rest", ["x"])


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with contextlib.suppress(SystemExit), replacing(tmp_path / "x") as temporary:
        os.link(write(tmp_path / "kept", "half"), temporary)
        os.link(temporary, temporary.with_name(temporary.name.replace("0", "1")[:-8] + "0000.tmp"))
        raise SystemExit
    for name in (".hidden.tmp", ".fastinfer", "x.tmp"):
        write(tmp_path / name, "")
    assert any(name.startswith(".fastinfer-") for name in names(tmp_path))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".fastinfer", ".hidden.tmp", "kept", "x.tmp"]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_writer_removes_what_killed_writers_of_the_same_file_left(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    with replacing_long(path) as first:
        first.write_bytes(b"1")
        left = first.with_name(first.name.replace(".tmp", "0.tmp"))
        left.write_bytes(b"half")  # nobody has locked it
        with replacing_long(tmp_path / "other.csv") as other:
            other.write_bytes(b"2")
            assert left.exists()
        with replacing_long(path) as second:
            second.write_bytes(b"3")
            assert sorted(tmp_path.glob(".*")) == sorted([first, second])
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"all.csv": b"1", "other.csv": b"2"}
    with pytest.raises(OutputError, match=r"no/all\.csv"), replacing_long(tmp_path / "no" / "all.csv"):
        pass


def test_a_folder_is_locked_by_one_program_at_a_time(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from fastinfer.storage.atomic import locking\n"
    script += f"with locking(Path({str(tmp_path)!r})): print(1)"
    with locking(tmp_path):
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "another program is writing to this folder" in other.stderr
        with pytest.raises(ConfigError) as caught, locking(tmp_path):
            pass
        assert (caught.value.code, caught.value.path) == ("output_in_use", str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "1\n"
    with pytest.raises(OutputError, match="No such file"), locking(tmp_path / "nothing"):
        pass


def test_an_error_of_the_system_is_one_of_the_output_with_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x"
    with pytest.raises(OutputError) as caught, replacing(path) as temporary:
        temporary.write_text("x")
    assert (caught.value.code, str(caught.value)) == (
        "cannot_write",
        f"{path}: cannot be written: No such file or directory",
    )
    # Renaming over a folder fails after all was written.
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="Is a directory") as caught, replacing(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert caught.value.path == str(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


def test_an_error_of_the_output_keeps_its_own_place(tmp_path: Path) -> None:
    error = OutputError("is full", path="elsewhere")
    with pytest.raises(OutputError) as caught, replacing(tmp_path / "x"):
        raise error
    assert caught.value is error
    assert unwritable("here", error) is error


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made_or_written_is_an_error_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for folder, reason in ((tmp_path / "file", "Not a directory"), (tmp_path / "file" / "a", "Not a directory")):
        with pytest.raises(OutputError) as caught:
            make_folder(folder)
        assert str(caught.value) == f"{folder}: the folder cannot be written: {reason}"
    # Root may write everywhere: the answer of the system is pretended.
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK | os.X_OK))
    with pytest.raises(OutputError, match="Permission denied") as caught:
        make_folder(tmp_path)
    assert (caught.value.code, caught.value.path) == ("cannot_write", str(tmp_path))


def test_a_folder_is_put_on_the_disk_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((handle, os.path.samestat(os.fstat(handle), here))))
    monkeypatch.chdir(tmp_path)
    here = os.stat(tmp_path)
    for folder in (str(tmp_path), ""):  # "" is the folder of a name without one
        sync_folder(folder)
    assert [same for _, same in synced] == [True, True]
    for handle, _ in synced:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be written: Not a directory"):
        sync_folder(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(2, "No such file or directory"), "input_missing"),
        (PermissionError(13, "Permission denied"), "cannot_read"),
        (OSError(5, "Input/output error"), "cannot_read"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_the_input(error: OSError, code: str) -> None:
    found = unreadable("in/x.csv", error)
    assert isinstance(found, InputError)
    assert (found.code, str(found)) == (code, f"in/x.csv: cannot be read: {error.strerror}")


def test_an_error_without_a_number_is_reported_by_its_text() -> None:
    assert str(unwritable("out/x", OSError("no luck"))) == "out/x: cannot be written: no luck"
