"""A place is a path or a URL: each has its store, and small things are read from either."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, InputError
from fastinfer.storage.filesystem import FilesystemSource
from fastinfer.storage.filesystem_results import FilesystemStore
from fastinfer.storage.local import LocalStore
from fastinfer.storage.places import (
    fetched,
    folder_place,
    plain_place,
    read_small,
    source_of,
    store_of,
    uploaded,
)
from fastinfer.storage.remote import RemoteStore
from fastinfer.storage.s3_client import Bucket


def test_each_place_has_its_store(tmp_path: Path) -> None:
    assert isinstance(store_of(str(tmp_path)), LocalStore)
    assert isinstance(store_of("s3://bucket/x"), RemoteStore)
    assert plain_place(f"file://{tmp_path}/a%20b") == f"{tmp_path}/a b"
    assert plain_place("S3://bucket/X") == "s3://bucket/X"
    assert folder_place("s3://bucket/out//") == "s3://bucket/out"
    assert folder_place("out/") == "out/"
    assert isinstance(store_of("memory://x"), FilesystemStore)
    assert isinstance(source_of("http://host/x"), FilesystemSource)
    with pytest.raises(ConfigError, match="no results are written to http://, found") as caught:
        store_of("http://host/x")
    assert caught.value.code == "bad_place"


def test_small_things_are_read_from_anywhere(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("jobs/a.json", b"{}")
    (tmp_path / "b.json").write_bytes(b"[]")
    assert read_small(f"s3://{bucket.name}/jobs/a.json", 2) == b"{}"
    assert read_small(str(tmp_path / "b.json"), 2) == b"[]"
    assert read_small(f"file://{tmp_path}/b.json", 2) == b"[]"
    for place in (f"s3://{bucket.name}/jobs/none", str(tmp_path / "none")):
        with pytest.raises(InputError) as caught:
            read_small(place, 10)
        assert (caught.value.code, caught.value.path) == ("input_missing", place)
    for place in (f"s3://{bucket.name}/jobs/a.json", str(tmp_path / "b.json")):
        with pytest.raises(InputError, match="more than 1 bytes") as caught:
            read_small(place, 1)
        assert caught.value.code == "cannot_read"


def test_a_folder_that_is_no_model_is_not_fetched(bucket: Bucket) -> None:
    bucket.put("m/a-1", b"")
    bucket.put("m/a-2", b"")
    for place in ("m", "m/a"):
        named = f"s3://{bucket.name}/{place}"
        with pytest.raises(InputError, match="more than 1 objects"), fetched(named, most_objects=1):
            pass
        with fetched(named, most_objects=None) as path:
            assert len(list(path.parent.rglob("a-*"))) == 2


def test_an_object_or_a_folder_is_fetched_for_a_while(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("m/model.tar.gz", b"packed")
    bucket.put("m/folder/a", b"1")
    bucket.put("m/folder/c", b"3")
    bucket.put("m/folder/code/x.py", b"")
    bucket.put("m/net-0001.params", b"p")
    with fetched(f"s3://{bucket.name}/m/model.tar.gz") as path:
        assert path.read_bytes() == b"packed"
    assert not path.exists()
    for place in (f"s3://{bucket.name}/m/folder", f"s3://{bucket.name}/m/folder/"):
        with fetched(place) as path:
            found = {each.name: each.read_bytes() for each in path.iterdir() if each.is_file()}
            assert (path.name, found) == ("folder", {"a": b"1", "c": b"3"})
            assert (path / "code" / "x.py").exists()
    with fetched(f"s3://{bucket.name}/m/net") as path:
        assert (path.name, path.with_name("net-0001.params").read_bytes()) == ("net", b"p")
    with pytest.raises(InputError) as caught, fetched(f"s3://{bucket.name}/nothing"):
        pass
    assert caught.value.code == "input_missing"
    with fetched(str(tmp_path)) as path:
        assert path == tmp_path


def test_a_file_is_uploaded_when_it_is_whole(bucket: Bucket, tmp_path: Path) -> None:
    place = f"s3://{bucket.name}/made/x.html"

    def write_half() -> None:
        with uploaded(place) as path:
            path.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert not store_of(place).exists(place)
    with uploaded(place) as path:
        path.write_bytes(b"whole")
    assert bytes(bucket.get("made/x.html")) == b"whole"
    with uploaded(f"file://{tmp_path}/y") as path:
        assert path == tmp_path / "y"
