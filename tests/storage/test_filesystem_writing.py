"""Writing by fsspec: an object is whole or has no name; what is not known to be written so is refused, and why."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastinfer.errors import ConfigError, OutputError, ServiceError
from fastinfer.storage import filesystem_writing
from fastinfer.storage.filesystem_writing import FilesystemUpload, create, is_whole, put, remove
from tests.storage import disk

HIDDEN = f".fastinfer-{'a' * 16}-1"


@pytest.fixture(params=["memory", "disk"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, of either kind of store."""
    disk.register()
    yield "memory://writing" if request.param == "memory" else f"disk://host{tmp_path}/writing"
    disk.clear_memory()


def no_preparation(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://host/out", "web servers take no results"),
        ("https://host/out", "web servers take no results"),
        ("zip://out", "it is an archive, and no place by itself"),
        ("webdav://host/out", "its package copies and removes, where others rename"),
        ("webhdfs://host/out", "its renaming replaces nothing"),
        ("filecache://out", "it is a view of another place"),
        ("filecache::smb://host/share/out", "it is a view of another place"),
        ("zip://x::smb://host/share/out.zip", "it is an archive, and no place by itself"),
        ("generic://out", "it is a view of another place"),
        ("smb::memory://out", "a URL that fsspec knows"),
        ("github://out", "it is a repository"),
        ("data://out", "it is not known that its package writes an object whole or not at all"),
        ("nosuch://out", "a URL that fsspec knows"),
    ],
)
def test_what_cannot_be_written_whole_is_refused_and_why(uri: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        is_whole(uri)
    assert caught.value.code == "bad_place"
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        is_whole("dropbox://out")
    assert caught.value.code == "fsspec_missing"


def test_an_object_is_put_in_the_place_of_another(root: str) -> None:
    for content in (b"first", b"", b"third"):
        put(f"{root}/a/b.out", content, len(content), HIDDEN)
        assert disk.content_below(root) == {"a/b.out": content}
    remove(f"{root}/a/b.out")
    remove(f"{root}/a/b.out")
    assert disk.content_below(root) == {}


def test_a_large_result_is_put_whole_from_memory_or_a_file(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_writing, "SPOOL_BYTES", 10)
    prepared: list[tuple[int, bytes]] = []
    for pieces in ([b"0123456789"], [b"01234567890", b"x"], [b"01234", b"56789", b"0", b"x" * 30], []):
        upload = FilesystemUpload(f"{root}/large.out", HIDDEN, lambda size, label: prepared.append((size, label)))
        for piece in pieces:
            upload.write(piece)
        upload.commit(b"label")
        content = b"".join(pieces)
        assert disk.content_below(root) == {"large.out": content}
        assert prepared.pop() == (len(content), b"label")


def test_an_upload_that_is_given_up_leaves_nothing(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_writing, "SPOOL_BYTES", 1)
    upload = FilesystemUpload(f"{root}/large.out", HIDDEN, no_preparation)
    upload.write(b"1234")
    upload.abort()
    assert disk.content_below(root) == {}


def test_a_full_disk_of_this_machine_is_said_to_be_that(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_writing, "SPOOL_BYTES", 1)

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    upload = FilesystemUpload(f"{root}/large.out", HIDDEN, no_preparation)
    with pytest.raises(OutputError, match=r"cannot be kept in .* until it is whole: No space"):
        upload.write(b"1234")


@pytest.mark.parametrize("size", [3, 30])
def test_half_an_object_has_no_name(root: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_writing, "SPOOL_BYTES", 10)
    put(f"{root}/x.out", b"old", 3, HIDDEN)
    kind = disk.KINDS[root.partition("://")[0]]
    upload = FilesystemUpload(f"{root}/x.out", HIDDEN, no_preparation)
    upload.write(b"n" * size)
    with disk.dying(kind, 0), pytest.raises(ServiceError):
        upload.commit(b"label")
    assert disk.content_below(root)["x.out"] == b"old"
    assert all(name == HIDDEN for name in disk.content_below(root) if name != "x.out")


def test_what_was_renamed_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.register()
    # WebHDFS answers "false", and its package passes over it.
    monkeypatch.setattr(disk.Disk, "mv", lambda *_, **__: None)
    with pytest.raises(ServiceError, match="it was renamed, and is not there with its 5 bytes"):
        put(f"disk://host{tmp_path}/x.out", b"12345", 5, HIDDEN)


def test_a_folder_that_another_thread_makes_in_the_same_moment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.register()

    def late(_: disk.Disk, path: str, **__: object) -> None:
        os.mkdir(path)
        raise OSError("550 File exists")

    monkeypatch.setattr(disk.Disk, "makedirs", late)
    put(f"disk://host{tmp_path}/new/x.out", b"12345", 5, HIDDEN)
    assert (tmp_path / "new" / "x.out").read_bytes() == b"12345"

    def fail(*_: object, **__: object) -> None:
        raise OSError("550 no right")

    monkeypatch.setattr(disk.Disk, "makedirs", fail)
    with pytest.raises(ServiceError, match="550 no right"):
        put(f"disk://host{tmp_path}/other/x.out", b"12345", 5, HIDDEN)


def test_a_folder_of_that_name_is_named(tmp_path: Path) -> None:
    disk.register()
    (tmp_path / "x.out").mkdir()
    with pytest.raises(IsADirectoryError):
        put(f"disk://host{tmp_path}/x.out", b"12345", 5, HIDDEN)
    assert os.listdir(tmp_path / "x.out") == []


def test_a_package_may_put_an_object_where_there_is_none(root: str) -> None:
    create(f"{root}/_run.json", b"mine", HIDDEN)
    create(f"{root}/_run.json", b"mine", HIDDEN)  # of an attempt whose reply was lost
    assert disk.content_below(root) == {"_run.json": b"mine"}
    if root.startswith("memory"):
        with pytest.raises(FileExistsError):
            create(f"{root}/_run.json", b"another's", HIDDEN)
        assert disk.content_below(root) == {"_run.json": b"mine"}


def test_a_package_without_conditions_puts_it_all_the_same(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe_file(files: Any, path: str, value: bytes) -> None:
        files.open(path, "wb", data=value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    create(f"{root}/_run.json", b"mine", HIDDEN)
    create(f"{root}/_run.json", b"another's", HIDDEN)
    assert disk.content_below(root) == {"_run.json": b"another's"}
