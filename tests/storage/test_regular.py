"""Only regular files are opened, and read whole within a limit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fastinfer.storage.regular import open_regular, read_regular


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(content)
    assert read_regular(tmp_path / "file", len(content)) == content
    with open_regular(str(tmp_path / "file")) as file:
        assert file.read(10) == content[:10]


def test_a_file_above_the_limit_is_refused_without_being_held(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 10 bytes") as caught:
        read_regular(tmp_path / "file", 10)
    assert caught.value.errno == errno.EFBIG


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_regular("/dev/zero", 10)


def test_a_folder_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"not a regular file|directory"):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
