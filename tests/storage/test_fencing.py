"""A run that lost its lease changes nothing that the next run wrote, whenever its requests arrive."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from fastinfer.errors import OutputError
from fastinfer.storage.lease import Holder, Witness
from fastinfer.storage.remote import LEASE, RemoteStore, _witness
from fastinfer.storage.remote_upload import PART_BYTES
from fastinfer.storage.s3_client import Bucket
from tests import s3
from tests.storage.conftest import QUICK
from tests.storage.test_remote import LABEL, OTHER, uri

OLD, MINE, THEIRS = b"old", b"mine", b"theirs"
LARGE = b"x" * (PART_BYTES + 1)


def put_small(store: RemoteStore, name: str) -> None:
    store.write_many([name], [MINE], [LABEL]).wait()


def put_large(store: RemoteStore, name: str) -> None:
    upload = store.begin(name, label=LABEL)
    upload.write(LARGE)
    upload.commit(LABEL)


def replace(store: RemoteStore, name: str) -> None:
    store.replace(name, [MINE])


def listed(store: RemoteStore, root: str) -> list[str]:
    """What is in a folder, as a run that overwrites lists it when it begins."""
    return [f"{folder}/{name}" for folder, names in store.walk(root) for name in names]


class NextRun:
    """Another run takes the lease over, and writes an object, while a request of the first is on its way.

    Args:
        bucket: of both.
        endpoint: of the server itself.
        key: the object.
        store: of the first run.
        fault: what the request meets.
    """

    def __init__(self, bucket: Bucket, endpoint: str, key: str, store: RemoteStore, fault: str | None = None) -> None:
        self._client: Any = s3.client(endpoint)
        self._bucket = bucket
        self._key = key
        self._store = store
        self._fault = fault
        self.is_here = False

    def __call__(self, method: str, path: str) -> str | None:
        gives_name = "partNumber" not in path if method == "PUT" else method == "POST" and "uploadId" in path
        if self.is_here or f"/{self._key}" not in path or not gives_name:
            return None
        self.is_here = True
        label = {"fastinfer": OTHER.hex()}
        self._client.put_object(Bucket=self._bucket.name, Key=self._key, Body=THEIRS, Metadata=label)
        guard = self._store._shared.guard
        if isinstance(guard, Holder):
            guard._is_lost = True
        return self._fault


@pytest.mark.parametrize("fault", [None, "503", "lost"])
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "overwritten"])
@pytest.mark.parametrize("put", [put_small, put_large, replace])
def test_what_is_written_too_late_does_not_replace_what_the_next_run_wrote(
    put: Callable[[RemoteStore, str], None],
    is_there: bool,
    fault: str | None,
    far_bucket: Bucket,
    proxy: s3.Proxy,
    weed: str,
) -> None:
    store, name = RemoteStore(QUICK), uri(far_bucket, "out/x")
    if is_there:
        far_bucket.put("out/x", OLD, OTHER)
    with store.lock(uri(far_bucket, "out")):
        listed(store, uri(far_bucket, "out"))
        store.read_small(name, 100)
        proxy.rule = following = NextRun(far_bucket, weed, "out/x", store, fault)
        with pytest.raises(OutputError, match="another run may write there"):
            put(store, name)
        assert following.is_here
    assert bytes(far_bucket.get("out/x")) == THEIRS


def test_no_attempt_follows_when_the_lease_was_lost(far_bucket: Bucket, proxy: s3.Proxy, weed: str) -> None:
    store = RemoteStore(QUICK)
    with store.lock(uri(far_bucket, "out")):
        proxy.rule = NextRun(far_bucket, weed, "out/x", store, "503")
        with pytest.raises(OutputError, match="another run may write there"):
            store.write_many([uri(far_bucket, "out/x")], [MINE], [LABEL]).wait()
        with pytest.raises(OutputError, match="another run may write there"):
            store.remove(uri(far_bucket, "out/x"), may_stay=False)
        store.remove(uri(far_bucket, "out/x"))
    assert [method for method, path, _ in proxy.requests if path.endswith("/out/x")] == ["PUT"]
    assert bytes(far_bucket.get("out/x")) == THEIRS


def test_what_was_handed_over_is_not_written_when_the_lease_was_given_back(bucket: Bucket) -> None:
    store = RemoteStore(QUICK)
    with store.lock(uri(bucket, "out")):
        guard = store._guard()
    with pytest.raises(OutputError, match="another run may write there"):
        store._put(guard, uri(bucket, "out/x"), MINE, LABEL)
    assert list(bucket.entries("out/")) == []


def test_what_another_program_changes_meanwhile_is_overwritten_while_the_lease_is_held(bucket: Bucket) -> None:
    store, name = RemoteStore(QUICK), uri(bucket, "out/x")
    for put, has_gone in itertools.product((put_small, put_large, replace), (False, True)):
        bucket.put("out/x", OLD, OTHER)
        with store.lock(uri(bucket, "out")):
            listed(store, uri(bucket, "out"))
            store.read_small(name, 100)
            bucket.delete("out/x") if has_gone else bucket.put("out/x", THEIRS)
            put(store, name)
        assert bytes(bucket.get("out/x", size=len(LARGE))) == (LARGE if put is put_large else MINE)


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["here", "elsewhere"])
def test_a_result_that_is_overwritten_costs_one_request(
    is_elsewhere: bool, far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    names = [uri(far_bucket, f"out/{number}") for number in range(8)]
    for number in range(0, 8, 2):
        far_bucket.put(f"out/{number}", OLD, OTHER)
    store = RemoteStore(QUICK)
    with store.lock(uri(far_bucket, "out")):
        listed(store, uri(far_bucket, "out"))
        writer = pickle.loads(pickle.dumps(store)) if is_elsewhere else store
        proxy.requests.clear()
        writer.write_many(names, [MINE] * 8, [LABEL] * 8).wait()
        requests = [(method, path.rpartition("/")[2]) for method, path, _ in proxy.requests]
        # Another process looks at the lease, once for many requests.
        assert sorted(requests) == [("GET", LEASE)] * is_elsewhere + [("PUT", str(number)) for number in range(8)]
    assert {bytes(far_bucket.get(f"out/{number}")) for number in range(8)} == {MINE}


def test_the_files_of_a_run_are_replaced_by_one_request_each(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    name = uri(far_bucket, "out/_run.json")
    for overwrites in (True, False):
        store = RemoteStore(QUICK)
        with store.lock(uri(far_bucket, "out")):
            store.read_small(name, 100)
            store = store if overwrites else store.for_new_results(is_first=False)
            proxy.requests.clear()
            store.replace(name, [OLD])
            store.replace(name, [MINE])
            assert [method for method, path, _ in proxy.requests if LEASE not in path] == ["PUT", "PUT"]
    assert bytes(far_bucket.get("out/_run.json")) == MINE


def test_another_process_of_a_run_sees_that_its_lease_was_lost(bucket: Bucket) -> None:
    store = RemoteStore(QUICK)
    with store.lock(uri(bucket, "out")):
        elsewhere = pickle.loads(pickle.dumps(store))
        elsewhere.write_many([uri(bucket, "out/x")], [MINE], [LABEL]).wait()
        bucket.put(f"out/{LEASE}", b'{"holder": "another", "lease_s": 60}')
        _witness.cache_clear()  # as when the time is over for which it knows that the lease lasts
        elsewhere = pickle.loads(pickle.dumps(store))
        with pytest.raises(OutputError, match="another run may write there") as caught:
            elsewhere.write_many([uri(bucket, "out/y")], [MINE], [LABEL]).wait()
        assert caught.value.code == "lease_lost"
        assert isinstance(elsewhere._guard(), Witness)
    assert bucket.find("out/y") is None


def test_a_server_without_conditions_of_one_kind_gets_those_of_the_other(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    version = far_bucket.put("x", OLD)
    proxy.rule = s3.once("501", method="PUT", part="/x")
    assert far_bucket.put("x", MINE, replaced=b"0" * 32)  # in the place of any
    assert far_bucket.put("x", MINE, replaced=version)
    with pytest.raises(Exception, match="PreconditionFailed"):
        far_bucket.put("x", THEIRS, replaced=b"")
    assert bytes(far_bucket.get("x")) == MINE
