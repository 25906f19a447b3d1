"""Who writes to a folder notices that it is not that of its run any more, at the last moment before results get their names."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fastinfer.errors import OutputError
from fastinfer.storage.claim import MARK, Claim
from fastinfer.storage.local import LocalStore
from fastinfer.storage.local_file import LocalUpload

START, OTHER = "0" * 32, "1" * 32


def begin(root: Path, start: str) -> Claim:
    """Begins a run in a folder, as far as its writers see it."""
    root.mkdir(exist_ok=True)
    record = root / "_run.json"
    record.with_name("new").write_text("{" + MARK.format(start) + "}")
    record.with_name("new").replace(record)
    return Claim(LocalStore(), str(record), start)


def store_of(root: Path, *, is_outlived: bool) -> LocalStore:
    store = LocalStore().claimed(begin(root, START), is_outlived=is_outlived)
    copy: LocalStore = pickle.loads(pickle.dumps(store))  # as another process has it
    return copy


def names(root: Path) -> list[str]:
    return sorted(f"{Path(folder).name}/{name}" for folder, _, found in os.walk(root) for name in found)


LOSSES: list[tuple[Callable[[Path], object], str]] = [
    (lambda root: begin(root, OTHER), "another run has begun there"),
    (lambda root: root.rename(root.with_name("moved")), "it was moved or removed"),
    (shutil.rmtree, "it was moved or removed"),
]


@pytest.mark.parametrize("is_outlived", [False, True])
@pytest.mark.parametrize(("lose", "message"), LOSSES)
def test_nothing_is_written_to_a_folder_that_is_not_the_runs_any_more(
    lose: Callable[[Path], object], message: str, is_outlived: bool, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    store = store_of(root, is_outlived=is_outlived)
    small, large, journal = f"{root}/a/small.out", f"{root}/a/large.out", f"{root}/.fastinfer-journal"
    assert store.write_many([small, f"{root}/b/x.out"], [b"1", b"2"], [b"label", b"label"]).wait() == [0, 0]
    upload = store.begin(large)
    upload.write(b"text")
    lose(root)
    before = names(root)
    for write in (
        lambda: upload.commit(b"label"),
        lambda: store.write_many([small], [b"new"], [b"label"]).wait(),
        lambda: store.write_many([f"{root}/c/new.out"], [b"new"], [b"label"]).wait(),
        lambda: store.begin(f"{root}/c/new.out").commit(b"label"),
        lambda: store.append(journal, [b"entry"]),
        lambda: store.replace(f"{root}/_rejects.jsonl", [b""]),
    ):
        with pytest.raises(OutputError, match=message) as caught:
            write()
        assert (caught.value.code, caught.value.path) == ("folder_lost", str(root))
    assert [name for name in before if "/.fastinfer-0" not in name] == names(root)


def test_a_group_is_looked_at_when_all_of_it_is_written_and_nothing_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "out"
    store = store_of(root, is_outlived=True)
    uris = [f"{root}/{number}.out" for number in range(3)]
    seen: list[list[str]] = []
    check = Claim.check

    def look(claim: Claim) -> None:
        seen.append(names(root))
        if len(seen) == 2:
            begin(root, OTHER)
        check(claim)

    monkeypatch.setattr(Claim, "check", look)
    with pytest.raises(OutputError):
        store.write_many(uris, [b"0", b"1", b"2"], [b"label"] * 3)
    before, (*unfinished, record) = seen
    assert before == [record]
    assert record == "out/_run.json"
    assert len(unfinished) == 3
    assert all(name.startswith("out/.fastinfer-0") for name in unfinished)
    assert names(root) == ["out/_run.json"]


def test_a_result_whose_unfinished_file_the_next_run_has_removed_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "out"
    store = store_of(root, is_outlived=True)
    give_name = LocalUpload.give_name

    def late(upload: LocalUpload) -> None:
        begin(root, OTHER)  # behind the look
        for path in root.glob(".fastinfer-*"):
            path.unlink()
        give_name(upload)

    monkeypatch.setattr(LocalUpload, "give_name", late)
    with pytest.raises(OutputError, match="another run has begun there"):
        store.write_many([f"{root}/0.out", f"{root}/1.out"], [b"0", b"1"], [b"label"] * 2)
    assert names(root) == ["out/_run.json"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_group_of_named_files_is_as_one_without(durable: bool, tmp_path: Path) -> None:
    store = LocalStore(durable).claimed(begin(tmp_path, START), is_outlived=True)
    (tmp_path / "folder.out").mkdir()
    uris = [f"{tmp_path}/{name}.out" for name in ("a", "b/c", "folder", "x" * 300)]
    assert store.write_many(uris, [b"1"] * 4, [b"label"] * 4).wait() == LocalStore().write_many(
        uris, [b"1"] * 4, [b"label"] * 4
    )
    assert [store.label(uri) for uri in uris] == [b"label", b"label", None, None]
    assert names(tmp_path) == sorted([f"{tmp_path.name}/_run.json", f"{tmp_path.name}/a.out", "b/c.out"])


def test_labels_that_are_no_attributes_are_logged_when_the_folder_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastinfer.storage.local_file.label_file", lambda *_: 95)  # ENOTSUP
    monkeypatch.setattr(os, "getxattr", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    root = tmp_path / "out"
    claim = begin(root, START)
    store = LocalStore().for_run(str(root), ".fastinfer-", "_labels.log", ".fastinfer-labels-")
    store = store.claimed(claim, is_outlived=True)
    uri = f"{root}/a.out"
    assert store.write_many([uri], [b"text"], [b"label"]).wait() == [0]
    store.settle_labels()
    assert store.label(uri) == b"label"
    begin(root, OTHER)
    with pytest.raises(OutputError):
        store.write_many([uri], [b"other"], [b"label"])
    assert Path(uri).read_bytes() == b"text"
