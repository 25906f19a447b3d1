"""SageMaker's training container as software: its command `train`, over folders as SageMaker lays them out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.sagemaker.environment import container_environment

TRAINING_MODULE = "sagemaker_mxnet_container.training:main"
TIMEOUT_S = 600


def lay_out(
    base: Path,
    code: Path | None,
    channels: Mapping[str, Path],
    hyperparameters: Mapping[str, Any],
    *,
    hosts: Sequence[str] = ("localhost",),
    host: str = "localhost",
) -> Path:
    """Makes the folders of one host of a training job below ``base``.

    Args:
        base: what is /opt/ml in the container; made here.
        code: a script, or a folder of code; None where the hyperparameters name an archive.
        channels: the folder of each channel's data.
        hyperparameters: as the service hands them over: each value as JSON.
        hosts, host: the names of all hosts and of this one; the toolkit waits until they can be looked up.
    """
    configuration = base / "input" / "config"
    for folder in (configuration, base / "input" / "data", base / "model", base / "output", base / "code"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, folder in channels.items():
        (base / "input" / "data" / name).symlink_to(folder.resolve())
    if code is not None:
        shutil.copytree(code, base / "code", dirs_exist_ok=True) if code.is_dir() else shutil.copy(code, base / "code")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in hyperparameters.items()}
    resources = {"current_host": host, "hosts": list(hosts), "network_interface_name": "lo"}
    inputs = {name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"} for name in channels}
    for name, value in (("hyperparameters", texts), ("resourceconfig", resources), ("inputdataconfig", inputs)):
        (configuration / f"{name}.json").write_text(json.dumps(value))
    return base


def train_command(
    python: Path, base: Path, environment: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """What starts the toolkit over folders that were laid out, and its environment."""
    variables = {
        **container_environment(python),
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_TRAINING_MODULE": TRAINING_MODULE,
        **(environment or {}),
    }
    return [str(python.parent / "train")], variables


def train(python: Path, base: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the toolkit to its end; what it printed is in ``stdout``. Nothing of it runs on, whatever happens."""
    command, variables = train_command(python, base, environment)
    with subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=base,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            # The group: the script, and the servers that several hosts share, do not end with the toolkit.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output)


@contextlib.contextmanager
def parameter_server_port() -> Iterator[None]:
    """Holds the port, 8000, at which the toolkit's parameter servers meet: two such jobs on one machine hang both."""
    with open(Path(tempfile.gettempdir()) / f"fastinfer-{os.getuid()}-port-8000.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
