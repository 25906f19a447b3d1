"""Type checkers see the public names as they are meant: options as keywords, errors with their attributes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_public_names_have_their_types(checker: str) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed; `make lint` checks the same file")
    command = [sys.executable, "-m", checker, "tests/typing/public.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
