"""A file is whole under its name or not there, whatever stops the writer; what the system refuses says which place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.errors import InputError, OutputError
from fastinfer.storage.atomic import make_folder, replacing, sync_folder, unreadable, unwritable


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


def test_the_temporary_file_of_a_killed_writer_is_replaced(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as temporary:
        name = temporary.name
        temporary.write_text("whole")
    (tmp_path / name).write_text("left by a killed writer")
    with replacing(tmp_path / "x") as temporary:
        assert temporary.name == name
        temporary.write_text("again")
    assert ((tmp_path / "x").read_text(), names(tmp_path)) == ("again", ["x"])


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
    for folder, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "a", "Not a directory")):
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
