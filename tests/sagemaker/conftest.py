"""SageMaker's own software, in environments that `make test` builds (tests/sagemaker/*.txt)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import skip

ROOT = Path(__file__).parent.parent.parent


def _environment(name: str) -> Path:
    python = ROOT / ".venv" / name / "bin" / "python"
    if not python.exists():
        skip(f"there is no .venv/{name}: make test builds it, with a Python 3.9 to 3.11")
    return python


@pytest.fixture(scope="session")
def container_python() -> Path:
    """The interpreter of an environment with the toolkits of SageMaker's MXNet containers."""
    return _environment("container")


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """The interpreter of an environment with the SageMaker SDK."""
    return _environment("sdk")


@pytest.fixture(scope="session")
def java() -> str:
    """The path of a Java runtime, on which the model server runs."""
    found = shutil.which("java")
    if found is None:
        skip("there is no java; on Debian: apt-get install default-jre-headless")
    return found
