"""Files as objects: what a source names, how they are read, and how results are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastinfer.engine.source import find_objects
from fastinfer.errors import ConfigError, InputError, OutputError
from fastinfer.storage.local import TEMPORARY_PREFIX, LocalStore


def keys(source: object) -> list[str]:
    return [item.key for item in find_objects(str(source))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "sub/deep/c.csv", "sub/UPPER.CSV", "notes.txt", "a.csv.out", "x.csv.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1,2\n")
    return tmp_path


def test_a_folder_gives_its_csv_files_in_the_order_of_their_names(tree: Path) -> None:
    assert keys(tree) == ["a.csv", "b.csv", "sub/UPPER.CSV", "sub/deep/c.csv"]
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


def test_size_and_time_are_the_files(tree: Path) -> None:
    os.utime(tree / "a.csv", ns=(5, 1_234_567_891_234_567_891))
    item = next(find_objects(str(tree / "a.csv")))
    assert (item.size, item.version) == (4, 1_234_567_891_234_567_891)


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
    assert len(keys(tree)) == 5


def test_a_link_to_a_file_or_a_folder_beside_is_followed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "d.csv").write_bytes(b"1\n")
    (tree / "linked").symlink_to(other)
    (tree / "e.csv").symlink_to(other / "d.csv")
    assert keys(tree) == ["a.csv", "b.csv", "e.csv", "linked/d.csv", "sub/UPPER.CSV", "sub/deep/c.csv"]


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


def test_names_that_are_not_utf8_are_names(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    with open(raw, "wb") as file:
        file.write(b"1\n")
    (item,) = find_objects(str(tmp_path))
    assert os.fsencode(item.key) == b"caf\xe9.csv"
    buffer = bytearray(64)
    assert LocalStore().read_many([item], buffer) == [(2, 0)]
    with LocalStore().open(item) as reader, memoryview(buffer) as view:
        assert reader.read_into(view, 0) == 2


def test_a_file_that_grew_or_was_touched_is_not_what_was_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    changes: list[Callable[[], object]] = [
        lambda: path.write_bytes(b"1,2\n3,4\n"),
        lambda: os.utime(path, (1, 1)),
    ]
    for change in changes:
        path.write_bytes(b"1,2\n")
        item = next(find_objects(str(path)))
        with LocalStore().open(item) as reader:
            reader.check_unchanged()
            change()
            with pytest.raises(InputError) as caught:
                reader.check_unchanged()
        assert caught.value.code == "input_changed"


@pytest.mark.parametrize("durable", [False, True])
def test_an_upload_has_its_name_only_when_it_is_committed(durable: bool, tmp_path: Path) -> None:
    store = LocalStore(durable)
    upload = store.begin(str(tmp_path / "a" / "x.out"), "word")
    upload.write(b"one, ")
    upload.write(b"two")
    assert os.listdir(tmp_path / "a") == [f"{TEMPORARY_PREFIX}word"]
    upload.commit(1_234_567_891_987_654_321)
    assert os.listdir(tmp_path / "a") == ["x.out"]
    assert store.version(str(tmp_path / "a" / "x.out")) == 1_234_567_891_987_654_321
    assert b"".join(store.read_pieces(str(tmp_path / "a" / "x.out"))) == b"one, two"
    upload = store.begin(str(tmp_path / "a" / "y.out"))
    upload.write(b"half")
    upload.abort()
    assert os.listdir(tmp_path / "a") == ["x.out"]


def test_small_results_are_written_in_groups_and_folders_are_made(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/{number % 3}/{number}.out" for number in range(600)]
    texts = [b"%d" % number for number in range(600)]
    assert LocalStore().write_many(uris, texts, list(range(600))) == [0] * 600
    assert [Path(uri).read_bytes() for uri in uris] == texts
    assert [os.stat(uri).st_mtime_ns for uri in uris] == list(range(600))


def test_a_folder_is_locked_against_a_second_holder(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    with LocalStore().lock(folder):
        with pytest.raises(ConfigError) as caught, LocalStore().lock(folder):
            pass
        assert caught.value.code == "output_in_use"
    with LocalStore().lock(folder):
        pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError), LocalStore().lock(str(tmp_path / "file")):
        pass


def test_names_are_those_of_files(tmp_path: Path) -> None:
    store = LocalStore()
    assert list(store.names(str(tmp_path / "nowhere"))) == []
    (tmp_path / "folder").mkdir()
    store.append(str(tmp_path / "lines"), b"a\n")
    store.append(str(tmp_path / "lines"), b"b\n")
    assert (tmp_path / "lines").read_bytes() == b"a\nb\n"
    assert list(store.names(str(tmp_path))) == ["lines"]
    assert list(store.read_lines(str(tmp_path / "lines"))) == [b"a\n", b"b\n"]
    assert list(store.read_lines(str(tmp_path / "nowhere"))) == []
    assert dict(store.walk(str(tmp_path))) == {str(tmp_path): ["lines"], str(tmp_path / "folder"): []}
    store.remove(str(tmp_path / "lines"))
    store.remove(str(tmp_path / "lines"))
    assert list(store.names(str(tmp_path))) == []
    assert store.version(str(tmp_path / "lines")) is None
