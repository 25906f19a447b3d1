"""The kernels without Python: every target against the reference, under the sanitizers, and NEON under emulation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import skip

ROOT = Path(__file__).parent.parent.parent


def make(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--silent", target, "RUNS=5000"], cwd=ROOT, capture_output=True, text=True)


def test_every_target_equals_the_reference_under_the_sanitizers() -> None:
    done = make("native")
    assert done.returncode == 0, done.stdout + done.stderr


def test_neon_equals_the_reference_under_emulation() -> None:
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(tool) is None:
            skip(f"{tool} is not installed (on Debian: apt-get install g++-aarch64-linux-gnu qemu-user)")
    done = make("native-neon")
    assert done.returncode == 0, done.stdout + done.stderr
