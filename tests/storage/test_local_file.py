"""One file of this machine: read as it was listed, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastinfer.engine.source import find_objects
from fastinfer.errors import InputError
from fastinfer.storage.atomic import TEMPORARY_PREFIX
from fastinfer.storage.local import LocalStore


def test_a_file_that_grew_or_was_touched_is_not_what_was_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    changes: list[Callable[[], object]] = [
        lambda: path.write_bytes(b"1,2\n3,4\n"),
        lambda: os.utime(path, (1, 1)),
    ]
    for change in changes:
        path.write_bytes(b"1,2\n")
        item = next(find_objects(str(path)))
        with LocalStore().open(item) as reader:
            reader.check_unchanged()
            change()
            with pytest.raises(InputError) as caught:
                reader.check_unchanged()
        assert caught.value.code == "input_changed"


@pytest.mark.parametrize("durable", [False, True])
def test_an_upload_has_its_name_only_when_it_is_committed(durable: bool, tmp_path: Path) -> None:
    store = LocalStore(durable)
    upload = store.begin(str(tmp_path / "a" / "x.out"), "word")
    upload.write(b"one, ")
    upload.write(b"two")
    assert os.listdir(tmp_path / "a") == [f"{TEMPORARY_PREFIX}{'0' * 16}-word"]
    upload.commit(b"label")
    assert os.listdir(tmp_path / "a") == ["x.out"]
    assert store.label(str(tmp_path / "a" / "x.out")) == b"label"
    assert b"".join(store.read_pieces(str(tmp_path / "a" / "x.out"))) == b"one, two"
    upload = store.begin(str(tmp_path / "a" / "y.out"))
    upload.write(b"half")
    upload.abort()
    assert os.listdir(tmp_path / "a") == ["x.out"]
