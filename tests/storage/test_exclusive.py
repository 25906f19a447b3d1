"""A file of the lock's holder has its old content or its new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastinfer.errors import OutputError
from fastinfer.storage import exclusive


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_by_pieces(durable: bool, tmp_path: Path) -> None:
    for content in ([b"one"], [b"two", b"", b"three"], []):
        exclusive.replace(str(tmp_path / "file"), content, durable=durable)
        assert (tmp_path / "file").read_bytes() == b"".join(content)
        assert os.listdir(tmp_path) == ["file"]


def test_what_fails_on_the_way_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def pieces(error: Exception) -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(KeyError):
        exclusive.replace(str(tmp_path / "file"), pieces(KeyError()))
    with pytest.raises(OutputError, match="file: cannot be written: no room"):
        exclusive.replace(str(tmp_path / "file"), pieces(OSError(28, "no room")))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / exclusive.temporary_name("file")).write_bytes(b"longer than what comes now")
    exclusive.replace(str(tmp_path / "file"), [b"new"])
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"not ours")
    os.symlink(tmp_path / "victim", tmp_path / exclusive.temporary_name("file"))
    exclusive.replace(str(tmp_path / "file"), [b"new"])
    assert (tmp_path / "victim").read_bytes() == b"not ours"
    assert not (tmp_path / "file").is_symlink()
    os.mkfifo(tmp_path / exclusive.temporary_name("file"))
    exclusive.replace(str(tmp_path / "file"), [b"newer"])
    assert (tmp_path / "file").read_bytes() == b"newer"


def test_an_error_of_the_output_keeps_its_own_cause(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OutputError("is full", path="elsewhere")

    with pytest.raises(OutputError) as caught:
        exclusive.replace(str(tmp_path / "file"), pieces())
    assert (caught.value.path, caught.value.__cause__) == ("elsewhere", None)
