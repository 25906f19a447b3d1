"""SageMaker's own software, in environments that `make test` builds (tests/sagemaker/*.txt)."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import pytest

from fastinfer.idx import read_idx
from tests.conftest import MNIST, skip

ROOT = Path(__file__).parent.parent.parent
ENTRY_POINT = ROOT / "examples" / "mnist" / "mnist.py"


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


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a training job's channels: the first 6,000 training images of MNIST and 1,000 test images."""
    folders = {}
    for name, count in (("train", 6000), ("test", 1000)):
        folders[name] = tmp_path_factory.mktemp(name)
        for kind, rank in (("images", 3), ("labels", 1)):
            values = read_idx(MNIST / name / f"{kind}.gz", rank=rank)[:count]
            header = struct.pack(f">HBB{rank}I", 0, 8, rank, *values.shape)
            with gzip.open(folders[name] / f"{kind}.gz", "wb", compresslevel=1) as file:
                file.write(header + values.tobytes())
    return folders
