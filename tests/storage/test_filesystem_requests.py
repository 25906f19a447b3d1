"""Requests by fsspec: every key is named as it is, versions are what changes with the bytes, errors are one line."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.storage.crew import answered
from fastinfer.storage.filesystem import FilesystemSource
from fastinfer.storage.filesystem_requests import CONNECTIONS, ask, check_unchanged, connected, find, read, version_of
from fastinfer.storage.filesystem_writing import is_whole
from tests.storage import disk


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.pipe("/requests/a", b"12345")
    yield files
    files.rm("/requests", recursive=True)


@pytest.mark.parametrize("name", ["a::b.csv", "::", "a?b#c %41.csv", "memory::x", "[a]*.csv"])
def test_any_name_is_an_object_s_own(name: str, memory: Any) -> None:
    memory.pipe_file(f"/requests/odd/{name}", b"1")
    (item,) = FilesystemSource().list_objects("memory://requests/odd")
    assert (item.key, item.uri) == (name, f"memory://requests/odd/{name}")
    assert read(item, 0, 1) == b"1"
    check_unchanged(item)


def test_an_object_is_named_after_its_source(tmp_path: Path) -> None:
    # The names that packages list have neither host nor account: with them alone nobody would find the object again.
    disk.register()
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / "b" / "x.csv").write_bytes(b"1\n")
    for source in (f"disk://host{tmp_path}/in", f"disk://host{tmp_path}/in//"):
        (item,) = FilesystemSource().list_objects(source)
        assert (item.key, item.uri) == ("b/x.csv", f"disk://host{tmp_path}/in/b/x.csv")
        assert read(item, 0, item.size) == b"1\n"
    assert list(FilesystemSource().walk(f"disk://host{tmp_path}/in")) == [
        (f"disk://host{tmp_path}/in/b", ["x.csv"]),
    ]


def test_the_root_of_a_file_system_is_a_folder(memory: Any) -> None:
    del memory
    assert "requests/a" in {item.key for item in FilesystemSource().list_objects("memory://")}


@pytest.mark.parametrize(
    ("entry", "version"),
    [
        ({"mtime": 1.5, "ETag": "abc"}, b"ETag:abc"),
        ({"mtime": 1.5, "ETag": 'W/"same"'}, b"mtime:1.5"),  # other bytes may have it
        ({"md5Hash": "", "generation": 7}, b"generation:7"),
        ({"size": 3}, b""),
    ],
)
def test_a_version_is_what_changes_with_the_bytes(entry: dict[str, Any], version: bytes) -> None:
    assert version_of(entry) == version


def test_an_object_that_says_less_than_its_listing_is_compared_by_size(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del memory
    (item,) = FilesystemSource().list_objects("memory://requests/a")
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", lambda *_, **__: {"name": "a", "size": 5, "type": "file"})
        check_unchanged(item)


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("zip://a.csv", "bad_place"),
        ("zip://a.csv::smb://host/share/a.zip", "bad_place"),
        ("simplecache::smb://host/share/a.csv", "bad_place"),
        ("nosuch://x", "bad_place"),
        ("dropbox://x", "fsspec_missing"),
    ],
)
def test_what_is_no_place_is_one_line(uri: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught, connected(uri):
        pass
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def from_cause(cause: Exception) -> FileNotFoundError:
    error = FileNotFoundError("x")
    error.__cause__ = cause
    return error


def test_a_password_is_neither_kept_nor_shown() -> None:
    for uri in ("ftp://me:secret@host/in", "http://me:se@cret@host/in"):
        with pytest.raises(ConfigError, match="a URL with a password") as caught, connected(uri):
            pass
        assert "cret" not in str(caught.value)
        assert f"$FSSPEC_{uri.partition(':')[0].upper()}_PASSWORD" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match="a URL with a password"):
        is_whole("ftp://me:secret@host/out")


@pytest.mark.parametrize(
    ("raised", "number"),
    [
        (FileNotFoundError("x"), errno.ENOENT),
        (FileExistsError("x"), errno.EEXIST),
        (PermissionError("x"), errno.EACCES),
        (from_cause(StopIteration()), errno.ENOENT),  # of ftplib
        (from_cause(OSError("550 no such file")), errno.ENOENT),
        (from_cause(OSError("530 not logged in")), None),
        (from_cause(ConnectionResetError()), None),  # over HTTP
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (OSError("the connection\nbroke"), None),
        (ConnectionResetError(errno.ECONNRESET, "reset"), None),
        (KeyError("x"), None),
    ],
)
def test_facts_about_an_object_have_a_number_and_all_else_is_a_failure(raised: Exception, number: int | None) -> None:
    def fail(*_: object) -> None:
        raise raised

    with pytest.raises(ServiceError if number is None else OSError) as caught:
        ask("memory://requests/a", fail)
    assert "\n" not in str(caught.value)
    if number is not None:
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == number


def test_what_is_there_is_asked_and_not_remembered(memory: Any) -> None:
    assert find("memory://requests/b") is None
    memory.pipe_file("/requests/b", b"1")
    entry = find("memory://requests/b")
    assert entry is not None
    assert entry["size"] == 1


def test_a_connection_is_lent_to_one_thread_at_a_time_and_few_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    disk.register()
    made: list[int] = []
    used: list[int] = []
    begin = disk.Disk.__init__

    def count(files: disk.Disk, **options: Any) -> None:
        made.append(1)
        begin(files, **options)

    def use(files: disk.Disk, _: str) -> None:
        assert id(files) not in used
        used.append(id(files))
        time.sleep(0.002)
        used.remove(id(files))

    monkeypatch.setattr(disk.Disk, "__init__", count)
    assert list(answered(lambda _: ask("disk://counted/x", use), range(40))) == [None] * 40
    assert 0 < len(made) <= CONNECTIONS

    def fail(*_: object) -> None:
        raise ConnectionResetError

    def miss(*_: object) -> None:
        raise FileNotFoundError

    before = len(made)
    for request, error in ((miss, OSError), (fail, ServiceError), (miss, OSError)):
        with pytest.raises(error):
            ask("disk://broken/x", request)
    assert len(made) == before + 2  # one that may be broken is not lent again


def test_an_error_is_a_fact_by_its_number_where_its_class_does_not_say_so(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del memory

    class Coded(OSError):
        """As smbprotocol's errors: OSError makes no FileNotFoundError of a class of its own."""

    def fail(number: int) -> Any:
        def info(*_: object, **__: object) -> None:
            raise Coded(number, os.strerror(number), "there")

        return info

    monkeypatch.setattr(MemoryFileSystem, "info", fail(errno.ENOENT))
    assert find("memory://requests/a") is None
    monkeypatch.setattr(MemoryFileSystem, "info", fail(errno.EACCES))
    with pytest.raises(PermissionError, match="Permission denied"):
        find("memory://requests/a")
    monkeypatch.setattr(MemoryFileSystem, "info", fail(errno.EIO))
    with pytest.raises(ServiceError, match="Input/output error"):
        find("memory://requests/a")
