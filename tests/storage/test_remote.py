"""S3 as a run's store: objects are listed and read as they were, results are whole, nothing of somebody else is touched."""

from __future__ import annotations

import errno
import pickle
import threading
import time
from typing import Any

import pytest

from fastinfer.errors import InputError, OutputError
from fastinfer.storage import crew
from fastinfer.storage.base import Object
from fastinfer.storage.crew import Crew
from fastinfer.storage.lease import Holder
from fastinfer.storage.remote import LEASE, RemoteStore
from fastinfer.storage.remote_reader import SMALL_BYTES
from fastinfer.storage.s3_client import Bucket
from fastinfer.storage.width import Width
from tests import s3
from tests.storage.conftest import QUICK, enter

STORE = RemoteStore(QUICK)
LABEL, OTHER = b"run-0001" + b"\0" * 8 + b"v", b"run-0002" + b"\0" * 8 + b"v"


def uri(bucket: Bucket, key: str) -> str:
    return f"s3://{bucket.name}/{key}"


def listed(bucket: Bucket, source: str) -> list[str]:
    return [item.key for item in STORE.list_objects(uri(bucket, source))]


def test_a_prefix_means_all_keys_that_begin_so(exact_bucket: Bucket) -> None:
    for key in ("in/", "in/a.csv", "in/b/", "in/b/c.csv", "in/b/_SUCCESS", "inner.csv", "in//x", "x"):
        exact_bucket.put(key, key.encode())
    assert listed(exact_bucket, "in/") == ["/x", "a.csv", "b/_SUCCESS", "b/c.csv"]
    assert listed(exact_bucket, "in") == ["/x", "a.csv", "b/_SUCCESS", "b/c.csv", "inner.csv"]
    assert listed(exact_bucket, "in/a") == ["a.csv"]
    assert listed(exact_bucket, "in/a.csv") == ["a.csv"]
    assert listed(exact_bucket, "x") == ["x"]
    assert len(listed(exact_bucket, "")) == 6
    entered: list[str] = []
    store = STORE.list_objects(
        uri(exact_bucket, "in"), lambda key: key != "a.csv", lambda key: bool(entered.append(key))
    )
    assert [item.key for item in store] == ["inner.csv"]
    assert entered == ["", "b"]
    with pytest.raises(InputError, match="no object has a key") as caught:
        listed(exact_bucket, "nothing/")
    assert caught.value.code == "input_missing"


def test_a_glob_is_one_where_no_key_begins_so(exact_bucket: Bucket) -> None:
    for key in ("in/a1.csv", "in/a2.csv", "in/b/a3.csv", "in/a*", "in/c?d/x"):
        exact_bucket.put(key, b"")
    assert listed(exact_bucket, "in/a?.csv") == ["a1.csv", "a2.csv"]
    assert listed(exact_bucket, "in/**/a*.csv") == ["a1.csv", "a2.csv", "b/a3.csv"]
    assert listed(exact_bucket, "in/a*") == ["a*"]  # it is there itself
    with pytest.raises(InputError, match="no object matches"):
        listed(exact_bucket, "in/z*.csv")


def test_objects_are_read_in_groups_as_they_were_listed(bucket: Bucket) -> None:
    for number in range(40):
        bucket.put(f"in/{number:02}", b"%d" % number * number)
    items = list(STORE.list_objects(uri(bucket, "in/")))
    bucket.put("in/03", b"changed")
    bucket.delete("in/05")
    buffer = bytearray(300)
    with STORE.read_ahead(items) as reader:
        bounds = reader.read_many(items[:20], buffer)
        assert [error for _, error in bounds[:6]] == [0, 0, 0, errno.ESTALE, 0, errno.ENOENT]
        assert buffer[: bounds[4][0]] == b"1224444"
        first = len(bounds)
        assert first < 20  # no more fit
        assert reader.read_many(items[first:], bytearray(5)) == []  # it is too large for a buffer, and read alone
        bounds = reader.read_many(items[first + 1 :], buffer)
        assert buffer[: bounds[0][0]] == b"%d" % (first + 1) * (first + 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "MainThread" and not thread.is_alive()]


def test_a_large_object_is_read_by_ranges(bucket: Bucket) -> None:
    content = bytes(range(256)) * 10_000
    bucket.put("x", content)
    (item,) = STORE.list_objects(uri(bucket, "x"))
    with STORE.open(item) as reader:
        reader.expect((offset, 100_000) for offset in range(0, len(content), 100_000))
        found = bytearray()
        view = memoryview(bytearray(70_001))
        while count := reader.read_into(view, len(found)):
            found += view[:count]
        assert found == content
        assert reader.read_into(view, 17) == 70_001  # back
        assert view == content[17 : 17 + 70_001]
        reader.check_unchanged()
    bucket.put("x", content[:-1] + b"y")
    with STORE.open(item) as reader, pytest.raises(InputError, match="changed after it was listed") as caught:
        reader.read_into(view, 0)
    assert caught.value.code == "input_changed"


def test_small_objects_that_are_read_alone_are_no_more_at_a_time_than_the_server_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steered = Crew()
    monkeypatch.setattr(steered, "_width", Width(2))
    monkeypatch.setattr(crew, "_crews", {False: steered, True: Crew(is_steered=False)})
    under_way, most, lock = 0, 0, threading.Lock()

    class Counting:
        def get(self, _key: str, _version: bytes, start: int, stop: int, _size: int) -> bytes:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.01)
            with lock:
                under_way -= 1
            return bytes(stop - start)

    bucket: Any = Counting()
    monkeypatch.setattr(RemoteStore, "_split", lambda _, uri: (bucket, uri))
    for size, is_steered in ((SMALL_BYTES, True), (SMALL_BYTES + 1, False)):
        most = 0
        readers = [RemoteStore().open(Object(f"s3://bucket/{number}", "x", size, b"v")) for number in range(8)]
        for reader in readers:
            reader.expect([(0, size)])
        for reader in readers:
            with reader:
                assert reader.read_into(memoryview(bytearray(size)), 0) == size
        assert (most <= 2) == is_steered


def test_results_are_written_with_labels_and_other_ones_are_not_replaced(bucket: Bucket) -> None:
    names = [uri(bucket, f"out/{number}") for number in range(30)]
    new = STORE.for_new_results(is_first=True)
    assert new.write_many(names, [b"text"] * 30, [LABEL] * 30).wait() == [0] * 30
    STORE.expect_labels(names)
    assert [STORE.label(name) for name in names] == [LABEL] * 30
    # Of the same run: an older version of the object, or the same after a lost reply.
    assert new.write_many(names[:2], [b"new"] * 2, [LABEL + b"2", LABEL]).wait() == [0, 0]
    assert [bytes(bucket.get(f"out/{number}")) for number in (0, 1)] == [b"new", b"text"]
    bucket.put("out/8", b"somebody's")
    for name, label in ((names[3], OTHER), (names[8], LABEL)):
        with pytest.raises(OutputError, match="not of this run") as caught:
            new.write_many([name], [b"x"], [label]).wait()
        assert (caught.value.code, caught.value.path) == ("foreign_files", name)
    assert STORE.write_many(names[8:9], [b"x"], [LABEL]).wait() == [0]
    assert STORE.write_many([uri(bucket, "ü" * 513)], [b"x"], [LABEL]).wait() == [errno.ENAMETOOLONG]


def test_a_reply_that_is_lost_after_the_write_is_no_conflict(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    proxy.rule = s3.once("lost", method="PUT")
    name = uri(far_bucket, "out/x")
    assert STORE.for_new_results(is_first=True).write_many([name], [b"text"], [LABEL]).wait() == [0]
    assert [fault for method, _, fault in proxy.requests if method == "PUT"] == ["lost", None]
    assert bytes(far_bucket.get("out/x")) == b"text"


def test_a_journal_is_read_back_whole(bucket: Bucket) -> None:
    journal = uri(bucket, "out/.fastinfer-0000000000000000-rejects-1")
    STORE.append(journal, [b"first", b"second" * 1000])
    STORE.append(journal, [b"third"])
    names = STORE.hidden_names(uri(bucket, "out"))
    entries = [entry for name in names for entry in STORE.read_entries(uri(bucket, f"out/{name}"), 5000)]
    assert sorted(entries) == [b"first", b"third"]
    STORE.remove(uri(bucket, f"out/{names[0]}"), may_stay=False)
    assert len(STORE.hidden_names(uri(bucket, "out"))) == 1


def test_files_of_the_run_are_replaced_and_read(bucket: Bucket) -> None:
    name = uri(bucket, "out/_rejects.jsonl")
    assert list(STORE.read_lines(name, 100)) == []
    assert STORE.read_small(name, 100) is None
    assert not STORE.exists(name)
    lines = [b"%d" % number * 50 + b"\n" for number in range(1000)]
    STORE.replace(name, lines)
    assert list(STORE.read_lines(name, 1000)) == lines
    assert b"".join(STORE.read_pieces(name)) == b"".join(lines)
    assert STORE.read_small(name, 1 << 20) == b"".join(lines)
    with pytest.raises(OutputError, match="more than 10 bytes"):
        STORE.read_small(name, 10)
    assert STORE.exists(name)

    def failing() -> object:
        yield b"half"
        raise KeyError("x")

    with pytest.raises(KeyError):
        STORE.replace(name, failing())  # type: ignore[arg-type]
    assert STORE.read_small(name, 1 << 20) == b"".join(lines)


def test_a_tree_is_walked(exact_bucket: Bucket) -> None:
    for key in ("out/a", "out/b/c", "out/b/d", "out/e", "outer", "out//f"):
        exact_bucket.put(key, b"")
    root = uri(exact_bucket, "out")
    found = [(folder, names) for folder, names in STORE.walk(root)]
    assert found == [(f"{root}/", ["f"]), (root, ["a"]), (f"{root}/b", ["c", "d"]), (root, ["e"])]
    assert list(STORE.names(root)) == ["a", "e"]


def test_uploads_that_a_killed_run_left_are_removed(weed_bucket: Bucket) -> None:
    for key in ("out/a.out", "out/b.bin", "other/a.out"):
        weed_bucket.begin_upload(key, None)
    STORE.remove_uploads(uri(weed_bucket, "out"), lambda name: name.endswith(".out"))
    assert [key for key, _ in weed_bucket.list_uploads("")] == ["other/a.out", "out/b.bin"]


def test_nothing_is_written_when_the_lease_is_lost(bucket: Bucket) -> None:
    store = RemoteStore(QUICK)
    with store.lock(uri(bucket, "out")):
        assert bucket.find(f"out/{LEASE}") is not None
        holder = store._shared.guard
        assert isinstance(holder, Holder)
        holder._is_lost = True
        with pytest.raises(OutputError, match="another run may write there"):
            store.write_many([uri(bucket, "out/x")], [b""], [LABEL]).wait()
        with pytest.raises(OutputError, match="another run may write there"):
            store.begin(uri(bucket, "out/x")).commit(LABEL)
        holder._is_lost = False
    assert list(bucket.entries("out/")) == []


def test_a_store_is_sent_to_other_processes() -> None:
    copy = pickle.loads(pickle.dumps(STORE.for_new_results(is_first=True)))
    assert (copy.patience, copy.creates) == (QUICK, True)


def test_manifests_entries_are_examined(bucket: Bucket) -> None:
    bucket.put("a", b"12")
    uris = [uri(bucket, key) for key in ("a", "none")]
    found, missing = STORE.examine(uris, ["a", "none"])
    assert (found.size, found.problem) == (2, None)
    assert isinstance(missing, Object)
    assert missing.problem is not None
    assert missing.problem.code == "input_missing"


def test_a_store_asks_the_server_that_is_named_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:1"]
    asked = []
    for endpoint in endpoints:
        enter(monkeypatch, endpoint)
        asked.append(RemoteStore()._split("s3://same/x")[0].client.meta.endpoint_url)
    assert asked == endpoints
