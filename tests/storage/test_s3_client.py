"""One bucket of S3: bytes, names, labels, uploads; against SeaweedFS and moto."""

from __future__ import annotations

import errno
import os
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, FastinferError, ServiceError
from fastinfer.storage import s3_client
from fastinfer.storage.crew import Crew, the_crew
from fastinfer.storage.s3_client import Bucket, open_bucket
from fastinfer.storage.s3_errors import ConditionNotMet
from fastinfer.storage.uri import is_path
from tests import s3
from tests.storage.conftest import QUICK

# Every kind of key that S3 allows, and something in the way does not.
PATHS = [
    "a b",
    "a%41",
    "%",
    "+",
    "a+b c",
    "ü/ö",
    "_SUCCESS",
    "a#b?c",
    "~*'()!",
    "a\\b",
    '{}^|`<>"',
    "&;:@=$,",
    "😀",
    "..x",
    "x..",
]
NO_PATHS = ["p//x", "/p", "p/", "p/../x", "./p", "p/.", "p/\t", "p\x01", "p/\x7f"]


@pytest.mark.parametrize("key", [*PATHS, *NO_PATHS])
def test_an_object_of_any_key_is_written_listed_read_and_removed(key: str, exact_bucket: Bucket) -> None:
    assert is_path(key) is (key in PATHS)
    bucket = exact_bucket
    bucket.put(key, b"some bytes", b"\x00label")
    (listed,) = bucket.entries("")
    assert (listed.key, listed.size) == (key, 10)
    assert bytes(bucket.get(key, listed.version)) == b"some bytes"
    assert bytes(bucket.get(key, listed.version, 5, 7)) == b"by"
    assert bucket.label(key) == b"\x00label"
    assert bucket.find(key) == listed
    with pytest.raises(OSError, match="changed") as caught:
        bucket.get(key, b"0123")
    assert caught.value.errno == errno.ESTALE
    bucket.delete(key)
    bucket.delete(key)
    assert list(bucket.entries("")) == []
    with pytest.raises(FileNotFoundError):
        bucket.get(key)


def test_keys_are_listed_as_they_begin_in_the_order_of_their_bytes(exact_bucket: Bucket) -> None:
    keys = [
        "in/a",
        "in/a/b",
        "in/a-b",
        "in/",
        "inner",
        "in/ü",
        "in/z",
        "in//x",
        "IN/x",
        "in/a\x01",
        "in/😀",
        "in/\uffff",
    ]
    for key in keys:
        exact_bucket.put(key, b"")
    for prefix in ("", "in", "in/", "in/a", "in/\xfc", "nothing"):
        expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
        assert [entry.key for entry in exact_bucket.entries(prefix)] == expected
        assert [entry.key for entry in exact_bucket.entries(prefix, page_keys=2)] == expected
    found = [(entry.key, entry.size) for entry in exact_bucket.entries("in/", folder=True, page_keys=3)]
    assert [key for key, size in found if size < 0] == ["in//", "in/a/"]
    assert [key for key, size in found if size == 0] == sorted(
        ["in/", "in/a", "in/a-b", "in/ü", "in/z", "in/a\x01", "in/😀", "in/\uffff"], key=str.encode
    )


def test_small_and_large_objects_are_whole(bucket: Bucket) -> None:
    random.seed(1)
    for size in (0, 1, QUICK.small_bytes, QUICK.small_bytes + 1, 3 << 20):
        content = random.randbytes(size)
        bucket.put(f"x/{size}", content)
        entry = bucket.find(f"x/{size}")
        assert entry is not None
        assert bytes(bucket.get(entry.key, entry.version, size=size)) == content
        assert bytes(bucket.get_small(entry.key, size)) == content
        if size:
            with pytest.raises(OSError, match="more than") as caught:
                bucket.get_small(entry.key, size - 1)
            assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError):
        bucket.get_small("x/none", 1)


def test_an_object_is_created_only_where_there_is_none(bucket: Bucket) -> None:
    bucket.put("x", b"1", replaced=b"")
    with pytest.raises(ConditionNotMet):
        bucket.put("x", b"2", replaced=b"")
    assert bytes(bucket.get("x")) == b"1"
    bucket.put("x", b"3")
    assert bytes(bucket.get("x")) == b"3"


def test_a_label_of_somebody_else_is_none(bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="x", Body=b"", Metadata={"fastinfer": "no digits"})
    bucket.put("y", b"")
    assert [bucket.label(key) for key in ("x", "y", "z")] == [None, None, None]


def test_an_upload_in_parts_has_a_name_when_it_is_complete(bucket: Bucket) -> None:
    first, last = b"1" * (5 << 20), b"2"
    upload = bucket.begin_upload("d/x", b"label")
    parts = [bucket.put_part("d/x", upload, 2, last), bucket.put_part("d/x", upload, 1, first)]
    assert bucket.find("d/x") is None
    assert list(bucket.list_uploads("d/")) == [("d/x", upload)]
    bucket.complete_upload("d/x", upload, parts)
    assert bytes(bucket.get("d/x", size=6 << 20)) == first + last
    assert bucket.label("d/x") == b"label"
    bucket.relabel("d/x", b"other", bucket.find("d/x").version)  # type: ignore[union-attr]
    assert bucket.label("d/x") == b"other"
    assert bytes(bucket.get("d/x", size=6 << 20)) == first + last
    upload = bucket.begin_upload("d/y", None)
    bucket.put_part("d/y", upload, 1, first)
    bucket.abort_upload("d/y", upload)
    bucket.abort_upload("d/y", upload)
    assert list(bucket.list_uploads("d/")) == []


def test_a_lease_is_written_by_who_has_seen_the_last(bucket: Bucket) -> None:
    assert bucket.read_lease("lease") is None
    first = bucket.write_lease("lease", b"1", None)
    assert first is not None
    assert bucket.write_lease("lease", b"2", None) is None
    assert bucket.write_lease("lease", b"1", None) == first  # our own, whose reply was lost
    second = bucket.write_lease("lease", b"2", first)
    assert second not in (None, first)
    assert bucket.write_lease("lease", b"3", first) is None
    lease = bucket.read_lease("lease")
    assert lease is not None
    assert (lease.version, lease.text) == (second, b"2")
    assert -2 <= lease.age_s < 60


def test_a_bucket_that_does_not_exist_is_a_fault_of_the_service_in_one_line(
    moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment(moto).items():
        monkeypatch.setenv(name, value)
    nothing = Bucket("no-such-bucket", None, QUICK)
    for call in (lambda: list(nothing.entries("x")), lambda: nothing.get("x"), lambda: nothing.put("x", b"")):
        with pytest.raises(ServiceError) as caught:
            call()
        assert (caught.value.code, caught.value.service_code) == ("aws_missing", "NoSuchBucket")
        assert "s3://no-such-bucket/x" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_named_at_once_and_not_shown(
    wrong: str, weed_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    weed_bucket.put("x", b"x")
    monkeypatch.setenv(wrong, "wrongwrongwrong")
    bucket = Bucket(weed_bucket.name, None, QUICK)
    for call in (lambda: list(bucket.entries("")), lambda: bucket.get("x"), lambda: bucket.put("x", b"")):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.code == "aws_denied"
        assert caught.value.hint
        assert "wrongwrong" not in str(caught.value)


def test_what_a_policy_does_not_allow_is_named(weed_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    weed_bucket.put("x", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.READER)
    reader = Bucket(weed_bucket.name, None, QUICK)
    assert [entry.key for entry in reader.entries("")] == ["x"]
    assert bytes(reader.get("x")) == b"x"
    with pytest.raises(PermissionError):
        reader.put("y", b"")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.NOBODY)
    nobody = Bucket(weed_bucket.name, None, QUICK)
    with pytest.raises(PermissionError):
        nobody.get("x")
    for call, needs in (
        (lambda: reader.write_lease("lease", b"1", None), "s3:PutObject"),
        (lambda: nobody.read_lease("x"), "s3:GetObject"),
        (lambda: list(nobody.entries("")), "s3:ListBucket"),
        (lambda: nobody.find("x"), "s3:ListBucket"),
    ):
        with pytest.raises(ServiceError, match=f"ing s3://{weed_bucket.name}/.*AccessDenied") as caught:
            call()
        assert caught.value.code == "aws_denied"
        assert needs in (caught.value.hint or "")


def test_an_archived_object_is_named(exact_bucket: Bucket) -> None:
    for key in ("cold", "a//cold"):
        exact_bucket.client.put_object(Bucket=exact_bucket.name, Key=key, Body=b"x", StorageClass="GLACIER")
        with pytest.raises(PermissionError, match="its storage class is an archive's; restore it first"):
            exact_bucket.get(key)


@pytest.mark.parametrize(("name", "code"), [("", "bad_place"), ("no bucket's name", "aws_refused")])
def test_what_is_no_bucket_s_name_is_refused_in_one_line(
    name: str, code: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in s3.environment(moto).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(FastinferError) as caught:
        list(open_bucket(name).entries(""))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_no_credentials_are_named(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in s3.environment(moto):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    bucket = Bucket("bucket", None, QUICK)
    for call in (lambda: list(bucket.entries("")), lambda: bucket.get("x"), lambda: bucket.put("x", b"")):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.code == "no_credentials"


FAULTS = {
    "503": ("503", "503"),
    "500": ("500",),
    "cut": ("cut", "cut"),
    "lost": ("lost",),
    # One attempt is left for a connection that the fault before closed.
    "two kinds": ("503", "lost"),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_each_request_is_carried_out_in_spite_of_faults(
    faults: tuple[str, ...], far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    bucket = far_bucket
    content = random.randbytes(5000)
    proxy.rule = s3.once(*faults)
    bucket.put("x", content, b"label")
    assert [(entry.key, entry.size) for entry in bucket.entries("x")] == [("x", 5000)]
    assert bytes(bucket.get("x")) == content
    assert bytes(bucket.get("x", start=1, stop=100)) == content[1:100]
    assert bucket.label("x") == b"label"
    version = bucket.write_lease("lease", b"1", None)
    assert version is not None
    upload = bucket.begin_upload("large", None)
    part = bucket.put_part("large", upload, 1, content)
    bucket.complete_upload("large", upload, [part]) if "lost" not in faults else None
    bucket.delete("x")
    assert bucket.find("x") is None
    assert {fault for _, _, fault in proxy.requests} >= set(faults)


def test_an_answer_that_never_comes_is_not_waited_for(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    proxy.rule = s3.once("silence")
    far_bucket.put("x", b"content")
    assert bytes(far_bucket.get("x")) == b"content"
    assert [entry.key for entry in far_bucket.entries("x")] == ["x"]


def test_requests_at_a_time_find_out_that_a_server_has_no_conditional_writes(
    far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def rule(method: str, _: str) -> str | None:
        if method != "PUT" or len(proxy.requests) >= 2:
            return None
        meeting.wait()  # each was sent before the other is answered
        return "501"

    proxy.rule = rule
    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(lambda key: far_bucket.put(key, b"x", replaced=b""), "ab"))) == 1
    assert [entry.key for entry in far_bucket.entries("")] == ["a", "b"]


def test_a_fault_that_stays_is_named_with_the_attempts(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    far_bucket.put("x", b"content")
    for fault, code in (("503", "aws_throttled"), ("500", "aws_unreachable"), ("cut", "aws_unreachable")):
        proxy.rule = lambda _method, _path, fault=fault: fault  # type: ignore[misc]
        for call in (lambda: far_bucket.get("x"), lambda: list(far_bucket.entries("x"))):
            proxy.requests.clear()
            with pytest.raises(ServiceError, match=r"s3://.*x: .*\(attempt 4 of 4\)") as caught:
                call()
            assert caught.value.code == code
            assert len(proxy.requests) == 4


def test_a_server_that_wants_fewer_requests_gets_fewer(
    far_bucket: Bucket, proxy: s3.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Crew] = []
    monkeypatch.setattr(Crew, "give_way", lambda crew: refused.append(crew))
    proxy.rule = s3.once("500", "cut")
    far_bucket.put("x", b"content")
    assert not refused
    proxy.rule = s3.once("503", "503")
    assert bytes(far_bucket.get("x")) == b"content"
    assert refused == [the_crew()] * len(refused) != []


def test_a_process_that_was_forked_after_s3_was_used_says_so(bucket: Bucket) -> None:
    s3_client.open_bucket(bucket.name)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            bucket.get("x")
        except BaseException as error:
            os.write(writer, pickle.dumps(getattr(error, "code", repr(error))))
        os._exit(0)
    os.waitpid(child, 0)
    assert pickle.loads(os.read(reader, 1000)) == "used_before_fork"
    os.close(reader)
    os.close(writer)
    assert ConfigError("x", code="used_before_fork").exit_code == 2
