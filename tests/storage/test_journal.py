"""A journal's entries are read whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.errors import OutputError
from fastinfer.storage import journal


def test_entries_are_read_in_their_order(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    assert list(journal.read(path, 1 << 20)) == []
    journal.append(path, [b"one", b""])
    journal.append(path, [b"x" * 100_000], durable=True)
    assert list(journal.read(path, 1 << 20)) == [b"one", b"", b"x" * 100_000]


@given(
    st.lists(st.binary(max_size=20).filter(lambda entry: b"\n" not in entry)),
    st.integers(0, 400),
    st.binary(max_size=9),
)
def test_of_a_torn_journal_the_whole_entries_are_read(entries: list[bytes], cut: int, after: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "journal")
        journal.append(path, entries)
        content = Path(path).read_bytes()[:cut]
        Path(path).write_bytes(content)
        whole = content.count(b"\n")
        journal.append(path, [after.replace(b"\n", b"")])
        # One that only lacks its line end is whole.
        whole += len(content) == len(b"".join(map(journal.frame, entries[: whole + 1]))) - 1
        assert list(journal.read(path, 1 << 20)) == [*entries[:whole], after.replace(b"\n", b"")]


def test_an_entry_for_which_there_is_no_room_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal.append(path, [b"one"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            journal.append(path, [b"two", b"x" * 200])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(journal.read(path, 1 << 20)) == [b"one"]
    assert (tmp_path / "journal").stat().st_size == len(journal.frame(b"one"))
    journal.append(path, [b"three"])
    assert list(journal.read(path, 1 << 20)) == [b"one", b"three"]


def test_what_is_longer_than_any_entry_and_what_is_no_file_is_not_held(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal.append(path, [b"one", b"x" * 5000, b"two"])
    with open(path, "ab") as file:
        file.truncate(1 << 30)
    assert list(journal.read(path, 4999)) == [b"one", b"two"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="cannot be read: it is not a regular file"):
        list(journal.read(str(tmp_path / "pipe"), 10))
