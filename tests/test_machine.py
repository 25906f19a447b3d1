"""What the machine is, as the system describes it, and what is said where the system does not."""

from __future__ import annotations

import io
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fastinfer import machine
from tests.conftest import skip

X86 = """\
processor\t: 0
model name\t: Some CPU: the 2nd @ 2.00GHz
flags\t\t: fpu sse2 sse4_1 avx avx2 fma f16c avx512f amx_tile vmx

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve aes\nCPU part\t: 0xd0c\n"


def pretend(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the machine describe itself so; None: not at all."""

    def open_(path: str, *_: Any, **__: Any) -> io.StringIO:
        assert path == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(machine, "open", open_, raising=False)


def test_the_processor_is_the_first_that_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(X86, monkeypatch)
    assert machine.cpu_name() == "Some CPU: the 2nd @ 2.00GHz"
    assert machine.cpu_features() == ["amx_tile", "avx", "avx2", "avx512f", "fma", "sse4_1"]


def test_arms_features_are_found_under_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(ARM, monkeypatch)
    assert machine.cpu_features() == ["asimd", "sve"]


@pytest.mark.parametrize(("processor", "expected"), [("A Processor", "A Processor"), ("", "amd64")])
@pytest.mark.parametrize("text", [None, ARM])
def test_a_processor_without_a_name_has_what_python_knows(
    text: str | None, processor: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(text, monkeypatch)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: "amd64")
    assert machine.cpu_name() == expected
    if text is None:
        assert machine.cpu_features() == []


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from fastinfer import machine; import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    done = subprocess.run([sys.executable, "-c", code + "print(machine.cores())"], capture_output=True, check=True)
    assert done.stdout == b"1\n"
    monkeypatch.delattr(os, "sched_getaffinity")
    for counted, expected in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert machine.cores() == expected


def test_memory_is_pages_times_their_size_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert machine.memory_bytes() == 4_096_000
    for error in (ValueError, OSError):

        def unknown(_: str, error: type[Exception] = error) -> int:
            raise error

        monkeypatch.setattr(os, "sysconf", unknown)
        assert machine.memory_bytes() is None


def test_the_memory_held_now_and_the_most_that_was_held_are_apart() -> None:
    # In a process of its own: the peak of this one is that of all tests before.
    code = (
        "from fastinfer import machine\n"
        "before = machine.resident_bytes()\n"
        "held = bytearray(b'x') * (64 << 20)\n"
        "during = machine.resident_bytes()\n"
        "del held\n"
        "print(before, during, machine.resident_bytes(), machine.peak_memory_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, during, after, peak = map(int, done.stdout.split())
    assert during - before > 60 << 20
    assert after < during - (60 << 20)
    # The system counts what is held in batches of pages.
    assert peak > during - (4 << 20)


# A program that holds 256 MiB, and whose child did, before it starts this one: in its place, or as its child.
LAUNCHER = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", "bytearray(b'x') * (256 << 20)"], check=True)
held = bytearray(b"x") * (256 << 20)
command = [sys.executable, "-c", "from fastinfer import machine; print(machine.peak_memory_bytes())"]
if sys.argv[1] == "replaced":
    os.execv(command[0], command)
subprocess.run(command, check=True)
"""


@pytest.mark.parametrize("how", ["replaced", "child"])
def test_what_the_program_held_that_started_this_one_is_not_counted(how: str) -> None:
    if not Path("/proc/self/status").exists():
        skip("no /proc, by which the two can be told apart")
    done = subprocess.run([sys.executable, "-c", LAUNCHER, how], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < 128 << 20


def test_without_proc_the_peak_is_what_the_system_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(path: str, *_: Any, **__: Any) -> NoReturn:
        raise FileNotFoundError(path)

    monkeypatch.setattr(machine, "open", no_proc, raising=False)
    assert machine.peak_memory_bytes() >= 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 1 << 20


def test_the_peak_of_memory_is_that_of_the_largest_child_that_ended() -> None:
    code = (
        "import subprocess, sys\n"
        "from fastinfer import machine\n"
        "before = machine.peak_memory_bytes()\n"
        # What a process is said to have held includes what the one that started it held.
        "child = f'bytearray(b\"x\") * ({before} + (64 << 20))'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)\n"
        "print(before, machine.peak_memory_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after >= before + (64 << 20)


def test_caches_and_c_library_are_those_of_the_system() -> None:
    def getconf(name: str) -> str:
        return subprocess.run(["getconf", name], capture_output=True, text=True, check=True).stdout.strip()

    names = ("LEVEL1_DCACHE_SIZE", "LEVEL2_CACHE_SIZE", "LEVEL3_CACHE_SIZE")
    assert machine.cache_sizes() == [int(getconf(name) or 0) for name in names]
    assert machine.c_library() == getconf("GNU_LIBC_VERSION")


def test_caches_and_c_library_that_are_not_known_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> NoReturn:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", fail)
    monkeypatch.setattr(os, "confstr", fail)
    assert machine.cache_sizes() == [0, 0, 0]
    assert (machine.c_library(), machine.memory_bytes()) == (None, None)
