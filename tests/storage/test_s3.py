"""Objects in S3 as sessions use them, against moto's server: whole or not at all, with fastinfer's errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import InputError, OutputError, ServiceError
from fastinfer.storage.s3 import S3Store
from fastinfer.storage.s3_client import Bucket


@pytest.fixture
def place(exact_bucket: Bucket) -> str:
    """The URI of an empty bucket."""
    return f"s3://{exact_bucket.name}"


@pytest.fixture
def client(exact_bucket: Bucket) -> Any:
    return exact_bucket.client


@pytest.fixture
def store() -> S3Store:
    return S3Store()


def test_objects_are_listed_in_the_order_of_their_keys_without_folder_markers(
    client: Any, store: S3Store, place: str
) -> None:
    for key in ("in/sub/b c#.csv", "in/a.csv", "in/", "in/sub/", "inner.csv", "other/x.csv"):
        client.put_object(Bucket=place[5:], Key=key, Body=key.encode())
    found = list(store.list_objects(f"{place}/in/"))
    assert [(item.uri, item.key, item.size) for item in found] == [
        (f"{place}/in/a.csv", "a.csv", 8),
        (f"{place}/in/sub/b c#.csv", "sub/b c#.csv", 15),
    ]
    # A prefix names every key that begins with it.
    assert [item.key for item in store.list_objects(f"{place}/in")] == ["a.csv", "sub/b c#.csv", "inner.csv"]
    assert list(store.list_objects(f"{place}/nothing")) == []


def test_a_version_changes_with_the_bytes(store: S3Store, place: str) -> None:
    versions = []
    for content in (b"1", b"2", b"1"):
        store.put(content, f"{place}/x")
        (item,) = store.list_objects(f"{place}/x")
        versions.append(item.version)
    assert versions[0] == versions[2] != versions[1]
    assert all(isinstance(version, bytes) and version and b'"' not in version for version in versions)


def test_objects_are_written_read_and_fetched(store: S3Store, place: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    store.put(tmp_path / "source", f"{place}/x/1")
    store.put(b"from memory", f"{place}/x/2")
    assert (store.read(f"{place}/x/1"), store.read(f"{place}/x/2")) == (b"from a file", b"from memory")
    store.fetch(f"{place}/x/1", tmp_path / "made" / "target")
    assert (tmp_path / "made" / "target").read_bytes() == b"from a file"


@pytest.mark.parametrize(("kms_key", "encrypt"), [(None, False), (None, True), ("alias/mine", False)])
def test_an_object_is_encrypted_as_asked(
    kms_key: str | None, encrypt: bool, client: Any, store: S3Store, place: str, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    for source in (b"x", tmp_path / "source"):
        store.put(source, f"{place}/x", kms_key=kms_key, encrypt=encrypt)
        head = client.head_object(Bucket=place[5:], Key="x")
        assert (head.get("ServerSideEncryption") == "aws:kms") is bool(kms_key or encrypt)
        if kms_key:
            assert head["SSEKMSKeyId"].endswith(kms_key)


@pytest.mark.parametrize("uri", ["{place}/nothing", "s3://no-such-bucket/x"])
def test_a_missing_object_is_an_error_of_the_input_and_leaves_no_file(
    uri: str, store: S3Store, place: str, tmp_path: Path
) -> None:
    uri = uri.format(place=place)
    for call in (lambda: store.read(uri), lambda: store.fetch(uri, tmp_path / "target")):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "no_such_place"
        assert uri in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_of_the_output(store: S3Store, place: str, tmp_path: Path) -> None:
    store.put(b"x", f"{place}/x")
    (tmp_path / "target").mkdir()
    with pytest.raises(OutputError):
        store.fetch(f"{place}/x", tmp_path / "target")


@pytest.mark.usefixtures("place")
def test_what_aws_refuses_is_a_service_error_with_its_own_word(store: S3Store) -> None:
    with pytest.raises(ServiceError, match="listing s3://no-such-bucket") as caught:
        list(store.list_objects("s3://no-such-bucket/x"))
    assert (caught.value.code, caught.value.service_code, caught.value.exit_code) == ("aws_missing", "NoSuchBucket", 6)


def test_a_large_object_is_fetched_by_ranges(store: S3Store, place: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 13000  # more than three pieces
    store.put(content, f"{place}/large")
    store.fetch(f"{place}/large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == content
