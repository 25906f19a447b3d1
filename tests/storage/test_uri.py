"""URIs are read as they are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.storage.uri import absolute, from_here, is_s3, is_url, join, local_path, relative_key, split_s3


def test_an_s3_uri_has_a_bucket_and_a_key() -> None:
    assert split_s3("s3://bucket/a/b") == ("bucket", "a/b")
    assert split_s3("S3://bucket//a") == ("bucket", "a")
    assert split_s3("s3://bucket") == ("bucket", "")
    assert is_s3("s3://bucket")
    assert not is_s3("/s3/bucket")


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "/a/b", "http://a/b"])
def test_what_is_no_s3_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected s3://bucket/key, found") as caught:
        split_s3(uri)
    assert caught.value.code == "bad_place"


def test_local_paths_may_be_file_uris(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("file:///a/b%20c#d?e") == Path("/a/b c#d?e")
    assert local_path("file://localhost/a") == Path("/a")
    assert bytes(local_path("file:///caf%E9")) == b"/caf\xe9"
    assert local_path("~/x") == Path("/home/me/x")
    assert local_path("a%20b") == Path("a%20b")


@pytest.mark.parametrize(
    "uri", ["file://host/a", "file://[/a", "file:///a%00", "file:///\ud800", "http://a/b", "s3://a/b"]
)
def test_what_is_not_on_this_machine_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        local_path(uri)
    assert caught.value.code == "bad_place"


def test_parts_are_joined_by_one_slash() -> None:
    assert join("s3://", "bucket", None, "/a/", "b") == "s3://bucket/a/b"
    assert join("s3://bucket/", "", "a") == "s3://bucket/a"
    assert join("/a") == "/a"
    assert join() == ""


def test_keys_are_relative_to_their_prefix() -> None:
    assert relative_key("a/in", "a/in/x/1.csv") == "x/1.csv"
    assert relative_key("a/in/", "a/in/x/1.csv") == "x/1.csv"
    assert relative_key("", "a/1.csv") == "a/1.csv"
    # A prefix may end within a name.
    assert relative_key("in", "input/x.csv") == "input/x.csv"
    assert relative_key("a/in/1", "a/in/10.csv") == "10.csv"
    assert relative_key("a/1.csv", "a/1.csv") == "1.csv"


URLS = ["s3://b/k", "gs://b/k", "http://h/x", "a://b", "simplecache::smb://h/s/x", "a::file:///x"]


@pytest.mark.parametrize("place", [*URLS, "a/b", "/a:b/c", "://x", "1a://x", "x:y", "a::b", "a::b/c://d", "file:///x"])
def test_a_url_is_told_from_a_path(place: str) -> None:
    assert is_url(place) is (place in URLS)
    assert (absolute(place) == place) is (place in [*URLS, "/a:b/c"])


def test_a_place_from_here_stays_what_it_is_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for here in ("plain", "a[b]"):
        (tmp_path / here).mkdir()
        monkeypatch.chdir(tmp_path / here)
        for place in [*URLS, "file:///x", "/a/../b/"]:
            assert from_here(place) == place
        assert from_here("in/../x/") == f"{tmp_path}/{here}/in/../x/"
        assert from_here("in/*.csv") == ("in/*.csv" if here == "a[b]" else f"{tmp_path}/plain/in/*.csv")
