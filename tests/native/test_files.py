"""Small files are written whole or not at all: by descriptor, by /proc where a user may not do that, else by renaming."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastinfer._native.files import (
    FILES_PER_CALL,
    check_file,
    label_file,
    read_files,
    stat_files,
    wait_for_next_tick,
    write_files,
)

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
labels = [b"one", b"two", b"x" * 48, b""]
print(write_files(paths, texts, labels, b".fastinfer-1-1", sys.argv[2] == "durable"))
"""


@pytest.mark.parametrize("way", ["as is", "without privilege", "durable"])
def test_small_files_get_names_and_labels_by_every_way_of_writing(way: str) -> None:
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
        for key, label in (("a.out", b"one"), ("sub/b.out", b"two"), ("sub/c.out", b"x" * 48)):
            size = found[key].stat().st_size
            assert os.getxattr(found[key], "user.fastinfer") == size.to_bytes(8, "little") + label
        assert os.listxattr(found["d.out"]) == []


def test_files_that_cannot_be_written_are_reported_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "folder.out").mkdir()
    names = ["a.out", "missing/b.out", "folder.out", "x" * 250 + ".out", "y" * 256, "c.out"]
    paths = [os.fsencode(tmp_path / name) for name in names]
    codes = write_files(paths, [b"text"] * len(names), [b"l"] * len(names), b".fastinfer-1-1", False)
    assert codes == [0, errno.ENOENT, errno.EISDIR, 0, errno.ENAMETOOLONG, 0]
    assert sorted(os.listdir(tmp_path)) == sorted(["a.out", "folder.out", "x" * 250 + ".out", "c.out"])


def test_what_lists_of_different_lengths_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same length"):
        write_files([os.fsencode(tmp_path / "a")], [], [b"l"], b".t", False)
    with pytest.raises(ValueError, match="at most"):
        read_files([b"x"] * (FILES_PER_CALL + 1), [b""] * (FILES_PER_CALL + 1), bytearray(8))
    with pytest.raises(ValueError, match="same length"):
        read_files([b"x"], [], bytearray(8))
    with pytest.raises(ValueError, match="version of a file has 32 bytes, not 1"):
        read_files([b"x"], [b"v"], bytearray(8))


def versions(folder: Path, *names: str) -> list[bytes]:
    return [entry[2] for entry in stat_files(os.fsencode(f"{folder}/"), [name.encode() for name in names])]


def test_files_are_read_one_behind_another_as_far_as_they_fit(tmp_path: Path) -> None:
    for name, content in (("a", b"12"), ("b", b""), ("c", b"9"), ("d", b"345")):
        (tmp_path / name).write_bytes(content)
    paths = [os.fsencode(tmp_path / name) for name in "abcd"]
    listed = versions(tmp_path, *"abcd")
    (tmp_path / "c").unlink()
    buffer = bytearray(5)
    assert read_files(paths, listed, buffer) == [(2, 0), (2, 0), (2, errno.ENOENT), (5, 0)]
    assert buffer == b"12345"
    assert read_files(paths, listed, bytearray(4)) == [(2, 0), (2, 0), (2, errno.ENOENT)]


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"7")


def change_in_place(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"998")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_one_of_the_same_size_and_time(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"998")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        append,
        lambda path: os.truncate(path, 2),
        lambda path: os.truncate(path, 0),
        change_in_place,
        replace_by_one_of_the_same_size_and_time,
        replace_by_a_pipe,
        lambda path: os.utime(path),
    ],
)
def test_a_file_that_changed_after_it_was_listed_is_not_read(change: Callable[[Path], object], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"128")
    listed = versions(tmp_path, "a", "b")
    change(tmp_path / "a")
    paths = [os.fsencode(tmp_path / name) for name in "ab"]
    buffer = bytearray(8)
    assert read_files(paths, listed, buffer) == [(0, errno.ESTALE), (3, 0)]
    assert buffer[:3] == b"128"
    if (tmp_path / "a").is_file():
        with open(tmp_path / "a") as a, open(tmp_path / "b") as b:
            assert (check_file(a.fileno(), listed[0]), check_file(b.fileno(), listed[1])) == (errno.ESTALE, 0)


def test_entries_are_files_folders_or_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    os.utime(tmp_path / "file", ns=(5, 7))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = stat_files(os.fsencode(f"{tmp_path}/"), [b"file", b"folder", b"pipe", b"gone"])
    status = (tmp_path / "file").stat()
    assert found[0] == (1, 3, struct.pack("=4q", status.st_ino, 3, 7, status.st_ctime_ns), 0)
    assert [kind for kind, *_ in found] == [1, 2, 0, 0]
    assert found[3] == (0, 0, b"", errno.ENOENT)


def test_a_file_is_labelled_by_its_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        assert label_file(file.fileno(), 5, b"label") == 0
        assert label_file(file.fileno(), 5, b"x" * 257) == errno.E2BIG
    assert os.getxattr(tmp_path / "file", "user.fastinfer") == (5).to_bytes(8, "little") + b"label"
    assert label_file(1 << 20, 5, b"label") == errno.EBADF


def test_a_file_that_has_just_changed_is_read_when_its_next_change_must_show(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (version,) = versions(tmp_path, "file")
    wait_for_next_tick(version)
    now = time.time_ns()
    assert now - (tmp_path / "file").stat().st_ctime_ns >= 10_000_000
    # On a file system without fractions of a second.
    second = now // 10**9 * 10**9
    wait_for_next_tick(struct.pack("=4q", 1, 1, second, second))
    assert time.time_ns() - second >= 2 * 10**9
