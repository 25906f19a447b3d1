"""SageMaker's own software, in environments that `make test` builds (tests/sagemaker/*.txt)."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.mnist.dataset import read_idx
from fastinfer.sagemaker import MXNet, Session
from tests.conftest import MNIST, ROOT, csv, skip
from tests.sagemaker.cloud import Cloud, running_cloud

ENTRY_POINT = ROOT / "examples" / "mnist" / "mnist.py"
# Of an image that the adapter knows.
VERSION = {"framework_version": "1.9.0", "py_version": "py38"}


def _environment(name: str) -> Path:
    python = ROOT / ".venv" / name / "bin" / "python"
    if not python.exists():
        skip(f"there is no .venv/{name}: make test builds it, with a Python 3.9 to 3.11")
    return python


@pytest.fixture(scope="session")
def container_python() -> Path:
    """The interpreter of an environment with the toolkits of SageMaker's MXNet containers."""
    return _environment("container")


def same_python(python: Path) -> bool:
    """Whether an interpreter is of this one's version."""
    ask = [python, "-c", "import sys; print(sys.version_info[:2])"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout == f"{sys.version_info[:2]}\n"


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


def write_channel(folder: Path, name: str, count: int) -> Path:
    """Writes the first images and labels of MNIST's ``train`` or ``test`` into a folder, as a channel has them."""
    for kind, rank in (("images", 3), ("labels", 1)):
        values = read_idx(MNIST / name / f"{kind}.gz", rank=rank)[:count]
        header = struct.pack(f">HBB{rank}I", 0, 8, rank, *values.shape)
        with gzip.open(folder / f"{kind}.gz", "wb", compresslevel=1) as file:
            file.write(header + values.tobytes())
    return folder


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a training job's channels: the first 6,000 training images of MNIST and 1,000 test images."""
    counts = {"train": 6000, "test": 1000}
    return {name: write_channel(tmp_path_factory.mktemp(name), name, count) for name, count in counts.items()}


@pytest.fixture(scope="session")
def cloud(container_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """AWS over loopback; its jobs run."""
    with running_cloud(container_python, tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The same, with this process's boto3 led there; no request may break the service's model."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    cloud.reset()
    yield cloud
    assert cloud.violations() == []


@pytest.fixture
def local_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where local jobs and their bucket are."""
    monkeypatch.setenv("FASTINFER_LOCAL_ROOT", str(tmp_path / "local"))
    return tmp_path / "local"


@pytest.fixture
def source(digits: np.ndarray, tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number in range(6):
        (folder / ("sub" if number % 2 else ".") / f"{number}.csv").write_bytes(
            csv(digits[number : number + 1 + number])
        )
    return folder


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text("print('hello')\n")
    return str(path)


@pytest.fixture
def train(aws: Cloud, tmp_path: Path) -> Callable[..., MXNet]:
    """An estimator of a script's text."""

    def make(script: str, **options: Any) -> MXNet:
        path = tmp_path / "script.py"
        path.write_text(script)
        defaults = {"role": aws.role, "instance_type": "ml.m4.xlarge", **VERSION}
        return MXNet(str(path), sagemaker_session=Session(poll_seconds=0.2), **{**defaults, **options})

    return make
