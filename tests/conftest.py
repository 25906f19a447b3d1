"""What several test modules share: models, real images as CSV, and a fresh environment."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import numpy as np
import pytest

from fastinfer.mnist.dataset import read_idx
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS
from tests import networks

ROOT = Path(__file__).parent.parent
MNIST = ROOT / "examples" / "mnist"

# Cells as SageMaker's sample data prints them, as the pixels themselves, and as Python prints floats.
SAMPLE_CELLS = np.array([b"%.6E" % (np.float32(pixel) * np.float32(1 / 255)) for pixel in range(256)], dtype=object)
INTEGER_CELLS = np.array([b"%d" % pixel for pixel in range(256)], dtype=object)
REPR_CELLS = np.array([repr(pixel / 255).encode() for pixel in range(256)], dtype=object)
CELLS = {"sample": SAMPLE_CELLS, "integers": INTEGER_CELLS, "repr": REPR_CELLS}

# Whichever test is the first to load MXNet here, or in a process that inherits this environment: these are its settings.
for _name, _value in INFERENCE_SETTINGS.items():
    os.environ.setdefault(_name, _value)

# No test depends on how busy the machine is.
hypothesis.settings.register_profile("fastinfer", deadline=None)
hypothesis.settings.load_profile("fastinfer")

# Where the tests were started in the background, Ctrl-C is ignored, and so would it be in the processes that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Ends the servers that tests have shared. At exit can be too late: pytest-xdist kills a worker that takes ten seconds."""
    used = sys.modules.get("tests.s3")
    if used is not None:
        used.servers.close()


@pytest.fixture(autouse=True)
def _fresh_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No model is named, and nothing is cached outside the tests' folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("FASTINFER_MODEL", "SM_MODEL_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """The test images of MNIST, uint8 (10000, 784)."""
    return read_idx(MNIST / "test" / "images.gz", rank=3).reshape(-1, 784)


@pytest.fixture(scope="session")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.save(networks.mlp, tmp_path_factory.mktemp("mlp"))


@pytest.fixture(scope="session")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.save(networks.convolution, tmp_path_factory.mktemp("convolution"))


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.save(networks.linear, tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it, as a release would be; of a clean copy, once a run."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # of all processes of this run
    output = run / "dist"
    with open(run / "dist.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not output.exists():
            source = copy_sources(tmp_path_factory.mktemp("source"))
            command = [sys.executable, "-m", "build", "--outdir", str(output.with_name("building")), str(source)]
            subprocess.run(command, check=True, capture_output=True)
            output.with_name("building").rename(output)
    return output


@pytest.fixture
def samples(tmp_path: Path, digits: np.ndarray) -> Iterator[Path]:
    """A folder of 30 one-image files as the sample data prints them, in two sub-folders."""
    folder = tmp_path / "in"
    for number, digit in enumerate(digits[:30]):
        path = folder / ("a" if number % 2 else "b/c") / f"data-{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(csv(digit[None]))
    return folder


def copy_sources(folder: Path) -> Path:
    """Copies what belongs to the sources, and nothing that was built, to a folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        names = [name for name in os.fsdecode(listed.stdout).split("\0") if name and (ROOT / name).is_file()]
    else:  # a copy without git, such as an unpacked sdist
        names = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts
        ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


# No test waits so long: it is over when what it waits for has happened, and a machine that is slow, or busy, may be so.
PATIENCE_S = 300


def wait_until(
    happened: Callable[[], object], process: subprocess.Popen[Any] | None = None, *, every_s: float = 0.001
) -> None:
    """Waits until something has happened; fails if it takes too long, or if the process that should cause it ends.

    Args:
        happened: returns whether it has.
        process: the process that should cause it; None: none is watched.
        every_s: seconds between two checks.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if process is not None and process.poll() is not None and not happened():
            raise AssertionError(f"the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen in {PATIENCE_S} s")
        time.sleep(every_s)


def skip(reason: str) -> NoReturn:
    """Skips a test for what this machine lacks; on CI, which is to have everything, it fails."""
    if os.environ.get("FASTINFER_SKIP_NOTHING"):
        pytest.fail(f"to be skipped nowhere here: {reason}")
    pytest.skip(reason)


def csv(rows: np.ndarray, form: str = "sample", newline: bytes = b"\n") -> bytes:
    """Rows of pixels as a CSV body, a line each."""
    return b"".join(b",".join(line) + newline for line in CELLS[form][rows])


def read_tree(folder: Path) -> dict[str, bytes]:
    """All outputs below a folder, by their names there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.out") if path.is_file()}
