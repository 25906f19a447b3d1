"""What other programs do to an input while it is read; and a clock that is set while a run goes on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from tests.faults.server import Library


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"61,2\n")


def cut_at_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    os.truncate(path, sum(map(len, lines[:-1])))


def cut_in_a_number(path: Path) -> None:
    """What is left is a whole file as well, with another number at its end."""
    os.truncate(path, path.stat().st_size - 2)


def other_rows(content: bytes) -> bytes:
    """Other numbers with as many bytes."""
    return content.translate(bytes.maketrans(b"123456789", b"912345678"))


def replace(path: Path) -> None:
    """By rename, with a file of the same size and time of modification."""
    replace_with(path, other_rows(path.read_bytes()))


def replace_with_a_longer_one(path: Path) -> None:
    replace_with(path, other_rows(path.read_bytes()) + b"5,6\n")


def replace_with(path: Path, content: bytes) -> None:
    stamp = path.stat().st_mtime_ns
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    os.utime(beside, ns=(stamp, stamp))
    beside.rename(path)


def overwrite(path: Path) -> None:
    """In its place, at once, with its time of modification set back."""
    stamp = path.stat().st_mtime_ns
    with open(path, "r+b", buffering=0) as file:
        file.write(other_rows(path.read_bytes()))
    os.utime(path, ns=(stamp, stamp))


def touch(path: Path) -> None:
    os.utime(path)


def remove(path: Path) -> None:
    path.unlink()


def put_a_pipe(path: Path) -> None:
    """One that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


CHANGES: list[Callable[[Path], None]] = [
    append,
    cut_at_a_line,
    cut_in_a_number,
    replace,
    replace_with_a_longer_one,
    overwrite,
    touch,
    remove,
    put_a_pipe,
]


@dataclass(frozen=True)
class ChangeAt:
    """Changes a file before a call.

    Attributes:
        at: the call's number.
        change: what is done.
        path: to which file.
    """

    at: int
    change: Callable[[Path], None]
    path: Path

    def __call__(self, number: int) -> None:
        if number == self.at:
            self.change(self.path)


@dataclass(frozen=True)
class ClockJumps:
    """Sets the time of day before some calls, forward and back, by seconds or by years.

    Attributes:
        seed: chooses when, and how far.
        killed_at: the number of the call before which the process is killed; 0: it is not.
    """

    seed: int
    killed_at: int

    def __call__(self, number: int) -> None:
        rng = random.Random(f"{self.seed}-{number}")
        if rng.random() < 0.2:
            with contextlib.suppress(OSError):
                Library().shift_clock(far(rng))
        if number == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


def far(rng: random.Random) -> int:
    """Seconds by which a clock may be wrong."""
    return rng.choice([-1, 1]) * int(10 ** rng.uniform(0, 8.5))
