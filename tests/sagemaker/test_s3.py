"""S3Downloader and S3Uploader: every kind of URI gives the same objects, and no key leaves its folder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fastinfer.errors import InputError
from fastinfer.sagemaker.s3 import S3Downloader, S3Uploader, fetch_below, is_s3, parse_s3_url, s3_path_join
from fastinfer.storage.base import Object
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.fakes import Account


def test_objects_are_listed_read_and_fetched_by_every_kind_of_uri(aws: Cloud, tmp_path: Path) -> None:
    bucket = aws.make_bucket("adapter-tests")
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "a.txt").write_text("a")
    (here / "sub" / "b c#.txt").write_text("b")
    (here / ".hidden").write_text("no object")
    there = S3Uploader.upload(str(here), f"s3://{bucket}/x/in")
    assert S3Uploader.upload_string_as_file_body("d", f"s3://{bucket}/x/inner.txt") == f"s3://{bucket}/x/inner.txt"
    assert S3Downloader.list(there) == [f"s3://{bucket}/x/in/{name}" for name in ("a.txt", "sub/b c#.txt")] + [
        f"s3://{bucket}/x/inner.txt"
    ]
    for uri in (str(here), f"file://{here}", f"s3://{bucket}/x/in/"):
        assert len(S3Downloader.list(uri)) == 2
        target = tmp_path / str(abs(hash(uri)))
        assert S3Downloader.download(uri, str(target)) == [f"{target}/a.txt", f"{target}/sub/b c#.txt"]
        assert (target / "sub" / "b c#.txt").read_text() == "b"
        assert S3Downloader.read_file(f"{uri.rstrip('/')}/sub/b c#.txt") == "b"
        with pytest.raises(InputError) as caught:
            S3Downloader.read_file(f"{uri.rstrip('/')}/nothing")
        assert caught.value.code == "no_such_place"


def test_a_key_that_would_leave_the_folder_is_refused(aws: Cloud, tmp_path: Path) -> None:
    bucket = aws.make_bucket("adapter-tests")
    aws.client("s3").put_object(Bucket=bucket, Key="evil/../../outside", Body=b"x")
    with pytest.raises(InputError) as caught:
        S3Downloader.download(f"s3://{bucket}/evil/", str(tmp_path / "inside" / "deep"))
    assert caught.value.code == "unsafe_key"
    assert not (tmp_path / "outside").exists()


def test_text_and_bytes_are_written_and_read_as_they_are(tmp_path: Path) -> None:
    uri = str(tmp_path / "new" / "x")
    assert S3Uploader.upload_string_as_file_body("ä\r\n", uri) == uri
    assert S3Downloader.read_bytes(uri) == b"\xc3\xa4\r\n"
    assert S3Downloader.read_file(uri) == "ä\r\n"
    for content in (b"\xff\x00", io.BytesIO(b"\xff\x00")):
        assert S3Uploader.upload_bytes(content, uri) == uri
        assert S3Downloader.read_bytes(uri) == b"\xff\x00"
    with pytest.raises(InputError) as caught:
        S3Downloader.read_file(uri)
    assert (caught.value.code, str(caught.value)) == ("not_text", f"{uri}: is not UTF-8 text")


def test_an_upload_says_where_the_file_or_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / "in" / name).write_text(name)
    out = tmp_path / "out"
    assert S3Uploader.upload(str(tmp_path / "in" / "a.txt"), str(out / "file")) == f"{out}/file/a.txt"
    assert S3Uploader.upload(str(tmp_path / "in"), str(out / "folder")) == f"{out}/folder"
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert found == {"file/a.txt": "a.txt", "folder/a.txt": "a.txt", "folder/sub/b.txt": "sub/b.txt"}


def test_a_key_of_the_users_encrypts_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    account = Account()
    S3Uploader.upload(str(tmp_path / "a.txt"), "s3://b/x", "key", account)
    S3Uploader.upload_string_as_file_body("a", "s3://b/y", "key", account)
    S3Uploader.upload_bytes(b"a", "s3://b/z", "key", account)
    assert [put[:2] for put in account.puts] == [("s3://b/x/a.txt", "key"), ("s3://b/y", "key"), ("s3://b/z", "key")]


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../../x", "a/.."])
def test_no_key_leads_out_of_its_folder(key: str, tmp_path: Path) -> None:
    account = Account({"s3://b/x": b"x"})
    with pytest.raises(InputError) as caught:
        fetch_below(account, Object("s3://b/x", key, 1, 1), tmp_path)
    assert (caught.value.code, caught.value.path) == ("unsafe_key", "s3://b/x")
    assert list(tmp_path.iterdir()) == []


def test_an_object_is_fetched_to_the_file_of_its_key(tmp_path: Path) -> None:
    account = Account({"s3://b/x": b"x"})
    assert fetch_below(account, Object("s3://b/x", "a..b", 1, 1), tmp_path) == tmp_path / "a..b"
    assert (tmp_path / "a..b").read_bytes() == b"x"


def test_an_object_that_cannot_be_read_is_raised_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "in" / "b").symlink_to(tmp_path / "nowhere")
    for call in (
        lambda: S3Uploader.upload(str(tmp_path / "in"), str(tmp_path / "out")),
        lambda: S3Downloader.download(str(tmp_path / "in"), str(tmp_path / "out")),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "input_missing"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_uris_are_joined_and_taken_apart() -> None:
    assert s3_path_join("s3://b/", "/a/", "c") == "s3://b/a/c"
    assert parse_s3_url("s3://b/a/c") == ("b", "a/c")
    assert is_s3("s3://b")
    assert not is_s3("/b")


def test_data_are_encrypted_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    account = Account()
    for extra in (None, {"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key"}):
        account.upload_data(f"file://{tmp_path}/a.txt", extra_args=extra)
    assert account.puts == [("s3://bucket/data/a.txt", *how) for how in ((None, False), (None, True), ("key", True))]
