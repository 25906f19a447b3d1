"""Files as objects: what a source names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.engine.source import find_objects
from fastinfer.errors import InputError
from fastinfer.storage.listing import examine_file, list_files
from fastinfer.storage.local import LocalStore


def keys(source: object) -> list[str]:
    return [item.key for item in find_objects(str(source))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "sub/deep/c.csv", "sub/UPPER.CSV", "notes.txt", "x.csv.gz", "part-00001"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1,2\n")
    return tmp_path


def test_a_folder_gives_its_files_in_the_order_of_their_names(tree: Path) -> None:
    assert keys(tree) == ["a.csv", "b.csv", "notes.txt", "part-00001", "sub/UPPER.CSV", "sub/deep/c.csv", "x.csv.gz"]
    assert keys(f"{tree}/") == keys(tree)


def test_a_named_file_is_used_whatever_its_name(tree: Path) -> None:
    assert keys(tree / "notes.txt") == ["notes.txt"]


def test_a_globs_keys_begin_where_its_signs_do(tree: Path) -> None:
    assert keys(f"{tree}/*.csv") == ["a.csv", "b.csv"]
    assert keys(f"{tree}/s*/deep/*.csv") == ["sub/deep/c.csv"]
    assert keys(f"{tree}/**/*.csv") == ["a.csv", "b.csv", "sub/deep/c.csv"]
    assert keys(f"{tree}/[ab].csv") == ["a.csv", "b.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "[1].csv").write_bytes(b"1\n")
    assert keys(tmp_path / "[1].csv") == ["[1].csv"]


def test_every_way_of_naming_a_file_gives_the_same_object(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [next(iter(find_objects(f"{tree}/{source}"))) for source in ("", "a.csv", "*.csv")]
    assert len(set(found)) == 1
    assert (found[0].key, found[0].size) == ("a.csv", 4)
    monkeypatch.chdir(tree)
    assert next(find_objects("a.csv")) == examine_file("a.csv", "a.csv") == found[0]._replace(uri="a.csv")


def test_each_change_of_a_file_gives_another_version(tree: Path) -> None:
    path = tree / "a.csv"
    versions = []

    def note() -> None:
        item = examine_file(str(path), "a.csv")
        versions.append(item.version)
        with LocalStore().open(item):  # as a run, which reads when the next change must show
            pass

    note()
    with open(path, "r+b") as file:
        file.write(b"2")
    note()
    os.utime(path, ns=(0, 0))  # a clock that was set back, or a copy with its old time
    note()
    path.write_bytes(b"3,2\n")
    os.utime(path, ns=(0, 0))
    note()
    (tree / "new").write_bytes(b"3,2\n")
    os.utime(tree / "new", ns=(0, 0))
    os.replace(tree / "new", path)
    note()
    assert len(set(versions)) == 5


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.csv", "b*.txt"])
def test_a_missing_source_is_reported(source: str, tree: Path) -> None:
    with pytest.raises(InputError) as caught:
        keys(tree / source)
    assert caught.value.code == "input_missing"
    assert str(tree / source) in str(caught.value)


def test_a_link_that_leads_back_is_an_error(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (loop,) = (item for item in find_objects(str(tree)) if item.problem)
    assert (loop.key, loop.problem.code) == ("sub/loop", "link_loop")
    assert len(keys(tree)) == 8


def test_a_link_to_a_file_or_a_folder_beside_is_followed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "d.csv").write_bytes(b"1\n")
    (tree / "linked").symlink_to(other)
    (tree / "e.csv").symlink_to(other / "d.csv")
    assert [key for key in keys(tree) if key.lower().endswith(".csv")] == [
        *["a.csv", "b.csv", "e.csv", "linked/d.csv", "sub/UPPER.CSV", "sub/deep/c.csv"]
    ]


def test_a_dangling_link_and_a_pipe_are_reported_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1\n")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    good, gone, pipe = find_objects(str(tmp_path))
    assert good.problem is None
    assert str(gone.problem) == f"{tmp_path}/gone.csv: cannot be read: No such file or directory"
    assert str(pipe.problem) == f"{tmp_path}/pipe.csv: is not a regular file"
    for path in (tmp_path / "gone.csv", tmp_path / "pipe.csv"):
        with pytest.raises(InputError):
            keys(path)


def test_a_pattern_that_goes_up_behind_its_sign_is_refused(tree: Path) -> None:
    with pytest.raises(InputError, match="may not contain"):
        keys(f"{tree}/sub/*/../../*.csv")
    assert keys(f"{tree}/sub/../*.csv") == ["a.csv", "b.csv"]


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 50
    folder = str(tmp_path)
    try:
        for _ in range(depth):
            folder += "/d"
            os.mkdir(folder)
        with open(f"{folder}/x.csv", "wb") as file:
            file.write(b"1\n")
        (item,) = list_files(str(tmp_path))
        assert item.key == "d/" * depth + "x.csv"
        store = LocalStore()
        target = f"{tmp_path}/{'e/' * depth}x.out"
        assert store.write_many([target], [b"[]"], [b"label"]) == [0]
        assert [path for path, names in store.walk(str(tmp_path)) if "x.out" in names] == [os.path.dirname(target)]
    finally:  # pytest's own removal is recursive
        subprocess.run(["rm", "-rf", *map(str, tmp_path.iterdir())], check=True)


def test_a_folder_whose_path_is_too_long_is_an_object_with_a_problem(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        Path("x.csv").write_bytes(b"1\n")
    finally:
        os.chdir(here)
    try:
        (item,) = list_files(str(tmp_path))
        assert item.problem is not None
        assert "File name too long" in str(item.problem)
    finally:
        subprocess.run(["rm", "-rf", *map(str, tmp_path.iterdir())], check=True)
