"""S3Downloader and S3Uploader: every kind of URI gives the same objects, and no key leaves its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import InputError
from fastinfer.sagemaker.s3 import S3Downloader, S3Uploader
from tests.sagemaker.cloud import Cloud


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
