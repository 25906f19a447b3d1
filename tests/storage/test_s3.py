"""Objects in S3, against moto: listed, read, fetched and written, whole or not at all, with fastinfer's errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from fastinfer.errors import InputError, OutputError, ServiceError
from fastinfer.storage.s3 import S3Store


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = boto3.client("s3", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        client.create_bucket(Bucket="bucket")
        yield client


@pytest.fixture
def store(client: Any) -> S3Store:
    return S3Store(client)


def test_objects_are_listed_in_the_order_of_their_keys_without_folder_markers(client: Any, store: S3Store) -> None:
    for key in ("in/sub/b c#.csv", "in/a.csv", "in/", "in/sub/", "inner.csv", "other/x.csv"):
        client.put_object(Bucket="bucket", Key=key, Body=key.encode())
    found = list(store.list_objects("s3://bucket/in/"))
    assert [(item.uri, item.key, item.size) for item in found] == [
        ("s3://bucket/in/a.csv", "a.csv", 8),
        ("s3://bucket/in/sub/b c#.csv", "sub/b c#.csv", 15),
    ]
    # A prefix names every key that begins with it.
    assert [item.key for item in store.list_objects("s3://bucket/in")] == ["a.csv", "sub/b c#.csv", "inner.csv"]
    assert list(store.list_objects("s3://bucket/nothing")) == []


def test_all_pages_of_a_listing_are_read(client: Any, store: S3Store) -> None:
    with Stubber(client) as stub:
        for page, more in (("1", True), ("2", False)):
            content = {"Key": f"in/{page}", "Size": 1, "ETag": f'"{page}"'}
            asked = {"Bucket": "bucket", "Prefix": "in/", **({} if more else {"ContinuationToken": "next"})}
            answer = {"Contents": [content], "IsTruncated": more, **({"NextContinuationToken": "next"} if more else {})}
            stub.add_response("list_objects_v2", answer, asked)
        assert [(item.key, item.version) for item in store.list_objects("s3://bucket/in/")] == [
            ("1", b"1"),
            ("2", b"2"),
        ]


def test_a_version_changes_with_the_bytes(store: S3Store) -> None:
    versions = []
    for content in (b"1", b"2", b"1"):
        store.put(content, "s3://bucket/x")
        (item,) = store.list_objects("s3://bucket/x")
        versions.append(item.version)
    assert versions[0] == versions[2] != versions[1]
    assert all(isinstance(version, bytes) and version and b'"' not in version for version in versions)


def test_objects_are_written_read_and_fetched(store: S3Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    store.put(tmp_path / "source", "s3://bucket/x/1")
    store.put(b"from memory", "s3://bucket/x/2")
    assert (store.read("s3://bucket/x/1"), store.read("s3://bucket/x/2")) == (b"from a file", b"from memory")
    store.fetch("s3://bucket/x/1", tmp_path / "made" / "target")
    assert (tmp_path / "made" / "target").read_bytes() == b"from a file"


@pytest.mark.parametrize(("kms_key", "encrypt"), [(None, False), (None, True), ("alias/mine", False)])
def test_an_object_is_encrypted_as_asked(
    kms_key: str | None, encrypt: bool, client: Any, store: S3Store, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    for source in (b"x", tmp_path / "source"):
        store.put(source, "s3://bucket/x", kms_key=kms_key, encrypt=encrypt)
        head = client.head_object(Bucket="bucket", Key="x")
        assert (head.get("ServerSideEncryption") == "aws:kms") is bool(kms_key or encrypt)
        if kms_key:
            assert head["SSEKMSKeyId"].endswith(kms_key)


@pytest.mark.parametrize("uri", ["s3://bucket/nothing", "s3://no-such-bucket/x"])
def test_a_missing_object_is_an_error_of_the_input_and_leaves_no_file(uri: str, store: S3Store, tmp_path: Path) -> None:
    for call in (lambda: store.read(uri), lambda: store.fetch(uri, tmp_path / "target")):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "no_such_place"
        assert uri in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_of_the_output(store: S3Store, tmp_path: Path) -> None:
    store.put(b"x", "s3://bucket/x")
    (tmp_path / "target").mkdir()
    with pytest.raises(OutputError):
        store.fetch("s3://bucket/x", tmp_path / "target")


def test_what_aws_refuses_is_a_service_error_with_its_own_word(client: Any, store: S3Store) -> None:
    with pytest.raises(ServiceError, match="listing s3://no-such-bucket") as caught:
        list(store.list_objects("s3://no-such-bucket/x"))
    assert (caught.value.code, caught.value.service_code) == ("aws_missing", "NoSuchBucket")
    for word, code, transient in (("AccessDenied", "aws_denied", False), ("SlowDown", "aws_throttled", True)):
        with Stubber(client) as stub:
            stub.add_client_error("get_object", word)
            with pytest.raises(ServiceError) as caught:
                store.read("s3://bucket/x")
        assert (caught.value.code, caught.value.transient, caught.value.exit_code) == (code, transient, 6)
