"""The library of faults sees every call by which Python and the kernels touch files, and does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.harness import preloading

# How many calls each expression makes on something below the folder `d`.
CALLS = {
    "os.open(d + '/new', os.O_WRONLY | os.O_CREAT)": 1,
    "os.open('.', os.O_WRONLY | os.O_TMPFILE, dir_fd=folder)": 1,
    "os.write(file, b'x')": 1,
    "os.writev(file, [b'x'])": 1,
    "os.pwrite(file, b'x', 0)": 1,
    "os.pwritev(file, [b'x'], 0)": 1,
    "os.sendfile(file, zero, 0, 0)": 1,
    "os.copy_file_range(file, file, 0, 0, 2)": 1,
    "os.read(file, 1)": 1,
    "os.readv(file, [bytearray(1)])": 1,
    "os.pread(file, 1, 0)": 1,
    "os.preadv(file, [bytearray(1)], 0)": 1,
    "os.ftruncate(file, 1)": 1,
    "os.posix_fallocate(file, 0, 1)": 1,
    "os.fsync(file)": 1,
    "os.fdatasync(file)": 1,
    "os.close(os.dup(file))": 1,
    "os.rename(d + '/a', d + '/b')": 1,
    "os.replace('b', 'a', src_dir_fd=folder, dst_dir_fd=folder)": 1,
    "os.link(d + '/a', d + '/b')": 1,
    "os.link('a', 'c', src_dir_fd=folder, dst_dir_fd=folder)": 1,
    "os.symlink('a', d + '/s')": 1,
    "os.unlink(d + '/b')": 1,
    "os.unlink('c', dir_fd=folder)": 1,
    "os.mkdir(d + '/f')": 1,
    "os.mkdir('g', dir_fd=folder)": 1,
    "os.rmdir(d + '/f')": 1,
    "os.rmdir('g', dir_fd=folder)": 1,
    "os.utime(d + '/a')": 1,
    "os.utime(file)": 1,
    "os.chmod(d + '/a', 0o600)": 1,
    "os.fchmod(file, 0o600)": 1,
    "fcntl.flock(folder, fcntl.LOCK_SH)": 1,
    "os.stat(d + '/a')": 1,
    "os.lstat(d + '/a')": 1,
    "os.stat('a', dir_fd=folder)": 1,
    "os.path.exists(d + '/a')": 1,
    "list(os.scandir(d))": 1,
    "os.listdir(d)": 1,
    "os.setxattr(d + '/a', 'user.x', b'x')": 1,
    "os.setxattr(file, 'user.x', b'x')": 1,
    "os.getxattr(d + '/a', 'user.x')": 1,
    "os.getxattr(file, 'user.x')": 1,
    # What is elsewhere does not count.
    "os.stat('/')": 0,
    "os.path.exists(d + 'elsewhere')": 0,
    "os.write(zero, b'')": 0,
}

SCRIPT = """
import ctypes, errno, fcntl, os, sys
d = sys.argv[1]
library = ctypes.CDLL(None)
a = os.fsencode(d) + b"/a"
file = os.open(a, os.O_RDWR | os.O_CREAT)
folder = os.open(d, os.O_RDONLY)
zero = os.open("/dev/null", os.O_RDWR)
for call in sys.argv[2:]:
    library.fault_arm(os.fsencode(d), ctypes.c_long(0), 3)
    try:
        eval(call)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENODATA):
            raise OSError(call) from error
    print(library.fault_count())
"""


def run(library: Path, script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=preloading(library), stdout=subprocess.PIPE, text=True, check=True).stdout


def test_it_sees_each_call(library: Path, tmp_path: Path) -> None:
    found = run(library, SCRIPT, str(tmp_path), *CALLS).split()
    assert dict(zip(CALLS, map(int, found))) == CALLS


def test_it_sees_the_calls_of_the_kernels(library: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2\n")
    script = """
import ctypes, os, sys
from fastinfer.storage.local import LocalStore
library = ctypes.CDLL(None)
library.fault_arm(os.fsencode(sys.argv[1]), ctypes.c_long(0), 3)
items = list(LocalStore().list_objects(sys.argv[1]))
listed = library.fault_count()
assert LocalStore().read_many(items, bytearray(8)) == [(4, 0)]
print(listed, library.fault_count() - listed)
"""
    listed, read = map(int, run(library, script, str(tmp_path)).split())
    assert listed >= 4  # of the folder: stat, opendir, open and close
    assert read >= 3  # open, read, close


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("EIO_ONCE", "written 4; EIO; written 4; abcdefgh"),
        ("ENOSPC_ONCE", "written 4; ENOSPC; written 4; abcdefgh"),
        ("ENOSPC_FROM", "written 4; ENOSPC; ENOSPC; abcd"),
        ("SHORT", "written 4; written 2; ENOSPC; abcdef"),
        ("HALF", "written 4; written 2; written 4; abcdefefgh"),
        ("CALL_BACK", "written 4; called 2; written 4; called 3; written 4; abcdefghefgh"),
    ],
)
def test_the_second_write_is_struck(action: str, expected: str, library: Path, tmp_path: Path) -> None:
    script = """
import errno, os, sys
from pathlib import Path
from tests.faults import server
folder, action = Path(sys.argv[1]), sys.argv[2]
file = os.open(folder / "a", os.O_WRONLY | os.O_CREAT)
library = server.Library()
library.arm(folder, 2, getattr(server, action), lambda number: print(end=f"called {number}; "))
for text in (b"abcd", b"efgh", b"efgh"):
    try:
        print(end=f"written {os.write(file, text)}; ")
    except OSError as error:
        print(end=f"{errno.errorcode[error.errno]}; ")
library.disarm()
print(end=(folder / "a").read_text())
"""
    assert run(library, script, str(tmp_path), action) == expected


@pytest.mark.parametrize(("action", "left"), [("KILL_BEFORE", "abcd"), ("KILL_AFTER", "abcdefgh")])
def test_it_kills_the_process_at_a_write(action: str, left: str, library: Path, tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from tests.faults import server
folder, action = Path(sys.argv[1]), sys.argv[2]
file = os.open(folder / "a", os.O_RDWR | os.O_CREAT)
server.Library().arm(folder, 2, getattr(server, action))
for text in (b"abcd", b"efgh", b"efgh"):
    os.write(file, text)
    os.read(file, 1)
"""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(library, script, str(tmp_path), action)
    assert caught.value.returncode == -9
    assert (tmp_path / "a").read_text() == left


def test_reads_that_are_halved_go_on_where_they_ended(library: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdefgh")
    script = """
import os, sys
from pathlib import Path
from tests.faults import server
folder = Path(sys.argv[1])
file = os.open(folder / "a", os.O_RDONLY)
library = server.Library()
for at in (1, 2, 3):
    os.lseek(file, 0, os.SEEK_SET)
    library.arm(folder, at, server.HALF)
    print(os.read(file, 100), os.read(file, 100), os.pread(file, 100, 0))
"""
    assert run(library, script, str(tmp_path)).splitlines() == [
        "b'abcd' b'efgh' b'abcdefgh'",
        "b'abcdefgh' b'' b'abcdefgh'",
        "b'abcdefgh' b'' b'abcd'",
    ]


def test_the_time_of_day_is_shifted_and_no_other_clock(library: Path) -> None:
    script = """
import time
from tests.faults import server
day, running = time.time(), time.monotonic()
server.Library().shift_clock(-100_000)
print(round((time.time() - day) / 1000), round((time.monotonic() - running) / 1000))
"""
    assert run(library, script).split() == ["-100", "0"]


def test_stamps_of_earlier_changes_lie_ahead_after_a_clock_was_set_back(library: Path, tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from tests.faults import server
folder = Path(sys.argv[1])
(folder / "old").write_bytes(b"")
real = os.stat(folder / "old").st_ctime_ns
while server.now_ns(folder) == real:
    pass
library = server.Library()
library.arm(folder, 0, server.NONE)
library.set_back(real, 1000)
(folder / "new").write_bytes(b"")
print((os.stat(folder / "old").st_ctime_ns - real) / 1e9, os.stat(folder / "new").st_ctime_ns < real + 500_000_000_000)
"""
    assert run(library, script, str(tmp_path)).split() == ["1000.0", "True"]
