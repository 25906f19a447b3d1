"""A large result is uploaded while it grows; it has its name, with its label, when it is whole, and else leaves nothing."""

from __future__ import annotations

import time

import pytest

from fastinfer.errors import OutputError
from fastinfer.storage.lease import Guard
from fastinfer.storage.remote_upload import PART_BYTES, RemoteUpload, Terms
from fastinfer.storage.s3_client import Bucket
from tests import s3
from tests.storage.conftest import QUICK

LABEL, REJECTING = b"run-0001" + b"\0" * 8, b"run-0001" + b"\0" * 7 + b"\1"
PIECE = bytes(range(256)) * (1 << 12)  # 1 MiB


def begin(bucket: Bucket, label: bytes | None = LABEL, *, create: bool = True) -> RemoteUpload:
    return RemoteUpload(bucket, "out/x", label, Terms(Guard(), b"" if create else None, create))


def write(upload: RemoteUpload, pieces: int) -> bytes:
    for _ in range(pieces):
        upload.write(PIECE)
    return PIECE * pieces


@pytest.mark.parametrize("label", [LABEL, REJECTING], ids=["as foreseen", "with rejects"])
@pytest.mark.parametrize("pieces", [1, 2 * (PART_BYTES >> 20) + 1])
def test_a_result_is_whole_and_has_its_label(pieces: int, label: bytes, bucket: Bucket) -> None:
    upload = begin(bucket)
    content = write(upload, pieces)
    assert bucket.find("out/x") is None
    upload.commit(label)
    assert bytes(bucket.get("out/x", size=len(content))) == content
    assert bucket.label("out/x") == label
    assert list(bucket.list_uploads("")) == []


def test_what_is_given_up_leaves_nothing(bucket: Bucket) -> None:
    upload = begin(bucket)
    write(upload, (PART_BYTES >> 20) + 1)
    upload.abort()
    upload.abort()
    assert list(bucket.list_uploads("")) == []
    assert bucket.find("out/x") is None


def test_somebody_elses_object_is_not_replaced(weed_bucket: Bucket) -> None:
    weed_bucket.put("out/x", b"mine")
    upload = begin(weed_bucket)
    write(upload, 1)
    with pytest.raises(OutputError, match="not of this run"):
        upload.commit(LABEL)
    assert bytes(weed_bucket.get("out/x")) == b"mine"
    upload = begin(weed_bucket, create=False)
    content = write(upload, 1)
    upload.commit(LABEL)
    assert bytes(weed_bucket.get("out/x", size=len(content))) == content


@pytest.mark.parametrize("fault", ["lost", "503", "cut"])
def test_parts_and_their_end_are_carried_out_in_spite_of_faults(
    fault: str, far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    upload = begin(far_bucket)
    proxy.rule = s3.once(fault, part="uploadId=" if fault != "cut" else "partNumber=")
    content = write(upload, PART_BYTES >> 20)
    content += PIECE[:1000]
    upload.write(PIECE[:1000])
    upload.commit(LABEL)
    assert bytes(far_bucket.get("out/x", size=len(content))) == content
    assert far_bucket.label("out/x") == LABEL
    assert fault in [found for _, _, found in proxy.requests]


def test_who_gives_up_does_not_wait_for_a_server_that_never_answers(
    far_bucket: Bucket, proxy: s3.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastinfer.storage.remote_upload.END_S", 0.1)
    upload = begin(far_bucket)
    proxy.rule = lambda method, _path: "silence" if method != "POST" else None
    write(upload, PART_BYTES >> 20)
    started = time.monotonic()
    upload.abort()
    assert time.monotonic() - started < QUICK.large_request_s
