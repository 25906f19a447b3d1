"""Small files are written whole or not at all: by descriptor, by /proc where a user may not do that, else by renaming."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fastinfer._native.files import FILES_PER_CALL, read_files, stat_files, write_files

WRITE = """
import os, sys
from fastinfer._native.files import write_files
if sys.argv[2] == "without privilege" and os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
folder = os.fsencode(sys.argv[1])
names = [b"a.out", b"sub/b.out", b"sub/c.out", b"d.out"]
paths = [folder + b"/" + name for name in names]
texts = [b"text of " + name for name in names]
print(write_files(paths, texts, [-1, 10**18 + 5, 7, 2 * 10**9], b".fastinfer-1-1", sys.argv[2] == "durable"))
"""


@pytest.mark.parametrize("way", ["as is", "without privilege", "durable"])
def test_small_files_get_names_and_times_by_every_way_of_writing(way: str) -> None:
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sub").mkdir()
        for place in (folder, folder / "sub"):
            place.chmod(0o777)
        (folder / "sub" / "b.out").write_bytes(b"of an earlier run, and longer than what comes now")
        (folder / "sub" / "b.out").chmod(0o666)
        done = subprocess.run([sys.executable, "-c", WRITE, name, way], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[0, 0, 0, 0]\n", "")
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        assert {key: path.read_bytes() for key, path in found.items()} == {
            key: f"text of {key}".encode() for key in ("a.out", "sub/b.out", "sub/c.out", "d.out")
        }
        assert [found[key].stat().st_mtime_ns for key in ("a.out", "sub/b.out", "sub/c.out", "d.out")] == [
            -1,
            10**18 + 5,
            7,
            2 * 10**9,
        ]


def test_files_that_cannot_be_written_are_reported_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "folder.out").mkdir()
    names = ["a.out", "missing/b.out", "folder.out", "x" * 250 + ".out", "y" * 256, "c.out"]
    paths = [os.fsencode(tmp_path / name) for name in names]
    codes = write_files(paths, [b"text"] * len(names), [1] * len(names), b".fastinfer-1-1", False)
    assert codes == [0, errno.ENOENT, errno.EISDIR, 0, errno.ENAMETOOLONG, 0]
    assert sorted(os.listdir(tmp_path)) == sorted(["a.out", "folder.out", "x" * 250 + ".out", "c.out"])


def test_what_lists_of_different_lengths_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same length"):
        write_files([os.fsencode(tmp_path / "a")], [], [1], b".t", False)
    with pytest.raises(ValueError, match="at most"):
        read_files([b"x"] * (FILES_PER_CALL + 1), bytearray(8))


def test_files_are_read_one_behind_another_as_far_as_they_fit(tmp_path: Path) -> None:
    for name, content in (("a", b"12"), ("b", b""), ("d", b"345")):
        (tmp_path / name).write_bytes(content)
    paths = [os.fsencode(tmp_path / name) for name in "abcd"]
    buffer = bytearray(8)
    assert read_files(paths, buffer) == [(2, 0), (2, 0), (2, errno.ENOENT), (5, 0)]
    assert buffer[:5] == b"12345"
    assert read_files(paths, bytearray(4)) == [(2, 0), (2, 0), (2, errno.ENOENT)]


def test_entries_are_files_folders_or_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    os.utime(tmp_path / "file", ns=(5, 7))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = stat_files(os.fsencode(f"{tmp_path}/"), [b"file", b"folder", b"pipe", b"gone"])
    assert found[0] == (1, 3, 7, 0)
    assert [kind for kind, *_ in found] == [1, 2, 0, 0]
    assert found[3] == (0, 0, 0, errno.ENOENT)
