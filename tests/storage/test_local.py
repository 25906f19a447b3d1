"""The files of this machine: read as they were listed, results written with labels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastinfer.engine.source import find_objects
from fastinfer.errors import ConfigError, OutputError
from fastinfer.storage.local import LocalStore


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


def test_small_results_are_written_in_groups_and_folders_are_made(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/{number % 3}/{number}.out" for number in range(600)]
    texts = [b"%d" % number for number in range(600)]
    assert LocalStore().write_many(uris, texts, [b"label " + text for text in texts]) == [0] * 600
    assert [Path(uri).read_bytes() for uri in uris] == texts
    assert [LocalStore().label(uri) for uri in uris] == [b"label " + text for text in texts]


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
    (tmp_path / "lines").write_bytes(b"a\nb\nlonger\nc\nd")
    assert list(store.names(str(tmp_path))) == ["lines"]
    assert list(store.read_lines(str(tmp_path / "lines"), 4)) == [b"a\n", b"b\n", b"c\n"]
    assert list(store.read_lines(str(tmp_path / "nowhere"), 4)) == []
    assert dict(store.walk(str(tmp_path))) == {str(tmp_path): ["lines"], str(tmp_path / "folder"): []}
    store.remove(str(tmp_path / "lines"))
    store.remove(str(tmp_path / "lines"))
    assert list(store.names(str(tmp_path))) == []


def test_a_label_is_of_a_result_as_it_was_written(tmp_path: Path) -> None:
    store, uri = LocalStore(), str(tmp_path / "x.out")
    os.symlink("loop", tmp_path / "loop")
    for missing in (
        str(tmp_path / "loop"),
        uri,
        f"{uri}/\0",
        f"{uri}\ud800",
        f"{uri}/y.out",
        str(tmp_path / ("x" * 300)),
        str(tmp_path),
    ):
        assert store.label(missing) is None
    (tmp_path / "x.out").write_bytes(b"of somebody else")
    assert store.label(uri) is None
    assert store.write_many([uri], [b"[1, 2]"], [b"label"]) == [0]
    assert store.label(uri) == b"label"
    os.truncate(uri, 3)  # as a crash may leave it
    assert store.label(uri) is None


def test_a_small_file_is_read_within_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert LocalStore().read_small(str(tmp_path / "file"), 5) == b"12345"
    assert LocalStore().read_small(str(tmp_path / "nothing"), 5) is None
    with pytest.raises(OutputError, match="more than 4 bytes"):
        LocalStore().read_small(str(tmp_path / "file"), 4)


def test_only_regular_files_are_read_as_results() -> None:
    with pytest.raises(OutputError, match="it is not a regular file"):
        list(LocalStore().read_pieces("/dev/null"))
