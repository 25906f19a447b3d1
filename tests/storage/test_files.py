"""Local files with the methods of a store."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from fastinfer.errors import InputError, OutputError
from fastinfer.storage.files import FileStore

store = FileStore()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("b.csv", "a/z.txt", "a b#/x", ".hidden", ".folder/x", "a.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_folder_has_the_files_below_it_in_the_order_of_their_keys_without_hidden_ones(tree: Path) -> None:
    found = list(store.list_objects(str(tree)))
    assert [item.key for item in found] == ["a b#/x", "a.csv", "a/z.txt", "b.csv"]
    assert [item.uri for item in found] == [f"{tree}/{item.key}" for item in found]
    assert [item.size for item in found] == [len(item.key) for item in found]


def test_links_are_followed_and_one_that_leads_nowhere_is_not_passed_over(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x")
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "file").symlink_to(tmp_path / "outside" / "x")
    (tree / "nowhere").symlink_to(tmp_path / "nothing")
    found = {item.key: item for item in store.list_objects(str(tree))}
    assert found["folder/x"].size == 1
    assert found["file"].size == 1
    problem = found["nowhere"].problem
    assert problem is not None
    assert problem.code == "input_missing"


def test_a_file_is_one_object_whatever_its_name(tree: Path) -> None:
    (item,) = store.list_objects(str(tree / ".hidden"))
    assert (item.uri, item.key) == (str(tree / ".hidden"), ".hidden")


def test_a_version_changes_with_a_time(tree: Path) -> None:
    (before,) = store.list_objects(str(tree / "a.csv"))
    os.utime(tree / "a.csv", ns=(1, 1))
    (after,) = store.list_objects(str(tree / "a.csv"))
    assert before.version != after.version


def test_files_are_written_read_and_fetched(tmp_path: Path) -> None:
    store.put(b"content", str(tmp_path / "new" / "x"))
    store.put(tmp_path / "new" / "x", str(tmp_path / "y"), kms_key="ignored", encrypt=True)
    store.fetch(str(tmp_path / "y"), tmp_path / "other" / "z")
    assert store.read(str(tmp_path / "other" / "z")) == b"content"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["x", "y", "z"]


def test_a_missing_or_unreadable_file_is_an_error_of_the_input(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nothing", "no_such_place"), (tmp_path, "cannot_read")):
        for call in (lambda path=path: store.read(str(path)), lambda path=path: store.fetch(str(path), tmp_path / "t")):
            with pytest.raises(InputError) as caught:
                call()
            assert (caught.value.code, caught.value.path) == (code, str(path))
    with pytest.raises(InputError, match="no such file or folder"):
        list(store.list_objects(str(tmp_path / "nothing")))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_grow_is_an_error_of_the_output_and_leaves_no_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="x: cannot be written: File too large"):
            store.put(bytes(5000), str(tmp_path / "x"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for call in (
        lambda: store.read(str(tmp_path / "pipe")),
        lambda: store.fetch(str(tmp_path / "pipe"), tmp_path / "copy"),
    ):
        with pytest.raises(InputError, match="it is not a regular file"):
            call()
    with pytest.raises(OutputError, match="it is not a regular file"):
        store.put(tmp_path / "pipe", str(tmp_path / "copy"))
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
