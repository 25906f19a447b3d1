"""Collecting the tests is cheap: MXNet's import, a second of it, is left to the tests that use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = """
import sys, pytest
code = pytest.main(sys.argv[1:])
print("mxnet is loaded:", "mxnet" in sys.modules)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--collect-only", "tests"],
        ["--collect-only", "tests/native"],
        ["tests/native/test_lines.py"],
    ],
    ids=["collecting all", "collecting the kernels' tests", "running a kernel's test"],
)
def test_mxnet_is_loaded_by_the_tests_that_use_it(arguments: list[str]) -> None:
    command = [sys.executable, "-c", RUN, "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "mxnet is loaded: False" in done.stdout
