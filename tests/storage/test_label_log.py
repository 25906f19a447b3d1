"""Labels where the file system keeps no attributes."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from fastinfer.storage import local, local_file
from fastinfer.storage.label_log import LabelLog
from fastinfer.storage.local import LocalStore


def open_log(folder: Path) -> LabelLog:
    return LabelLog(LocalStore(), str(folder), "_labels.log", ".fastinfer-labels-")


def test_entries_of_all_writers_are_merged_by_the_next_run(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    (tmp_path / "a.out").write_bytes(b"of an earlier run")
    assert log.remove(str(tmp_path / "a.out")) == log.remove(str(tmp_path / "a.out")) == 0
    assert not (tmp_path / "a.out").exists()  # nothing stands there that the entry is not of
    log.add("1", [(str(tmp_path / "a.out"), 5, b"first")])
    pickle.loads(pickle.dumps(log)).add("2", [(str(tmp_path / "s" / "b.out"), 6, b"second")])
    for _ in range(2):
        log = open_log(tmp_path)
        log.merge()
        assert log.find(str(tmp_path / "a.out"), 5) == b"first"
        assert log.find(str(tmp_path / "s" / "b.out"), 6) == b"second"
        assert log.find(str(tmp_path / "a.out"), 4) is None
        assert log.find(str(tmp_path / "c.out"), 5) is None
        assert os.listdir(tmp_path) == ["_labels.log"]
    log.add("1", [(str(tmp_path / "a.out"), 7, b"third")])
    log = open_log(tmp_path)
    log.merge(read_only=True)
    assert log.find(str(tmp_path / "a.out"), 7) == b"third"
    assert sorted(os.listdir(tmp_path)) == [".fastinfer-labels-1", "_labels.log"]


def test_the_store_writes_to_the_log_where_there_are_no_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = local.write_files

    def without_attributes(paths: list[bytes], texts: list[bytes], labels: list[bytes], *rest: object) -> list[int]:
        if any(labels):
            return [errno.ENOTSUP] * len(paths)
        return written(paths, texts, labels, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "write_files", without_attributes)
    monkeypatch.setattr(local_file, "label_file", lambda *_: errno.ENOTSUP)
    log = open_log(tmp_path)
    store = LocalStore(log=log)
    uris = [str(tmp_path / name) for name in ("a.out", "s/b.out", "large.out")]
    assert store.write_many(uris[:2], [b"1", b"22"], [b"label a", b"label b"]) == [0, 0]
    upload = store.begin(uris[2])
    upload.write(b"333")
    upload.commit(b"label large")
    log.merge()
    assert [store.label(uri) for uri in uris] == [b"label a", b"label b", b"label large"]
    # A folder in the place of one is the error of that one.
    (tmp_path / "c.out").mkdir()
    assert store.write_many([str(tmp_path / "c.out"), uris[0]], [b"1", b"2"], [b"c", b"a"]) == [errno.EISDIR, 0]
    os.truncate(uris[2], 1)
    assert store.label(uris[2]) is None
