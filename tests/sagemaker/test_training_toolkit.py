"""SageMaker's training toolkit runs the example's script, on folders as the service lays them out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastinfer.handlers.predictor import Predictor
from fastinfer.models.module import load_model
from tests.conftest import copy_sources, csv
from tests.sagemaker.conftest import ENTRY_POINT, same_python
from tests.sagemaker.serving import model_server
from tests.sagemaker.training import lay_out, parameter_server_port, train

# So many steps that the network has left the plateau on which its small first parameters start.
HYPERPARAMETERS = {"sagemaker_program": "mnist.py", "epochs": 2, "learning-rate": 0.1, "batch-size": 10, "seed": 2}


def hyperparameters(base: Path, **more: object) -> dict[str, object]:
    # Where the toolkit looks for the code: a folder here, an archive in S3 in the service. Each value is JSON.
    values = {**HYPERPARAMETERS, "sagemaker_submit_directory": str(base / "code"), **more}
    return {name: f'"{value}"' if isinstance(value, str) else value for name, value in values.items()}


def accuracy(output: str, epoch: int) -> float:
    """What a training printed of an epoch's validation."""
    match = re.search(rf"Epoch\[{epoch}\] Validation-accuracy=([\d.]+)", output)
    assert match is not None, output
    return float(match[1])


def test_the_script_trains_in_the_toolkit(
    container_python: Path, channels: dict[str, Path], digits: np.ndarray, tmp_path: Path
) -> None:
    base = lay_out(tmp_path / "ml", ENTRY_POINT, channels, hyperparameters(tmp_path / "ml"))
    done = train(container_python, base)
    assert done.returncode == 0, done.stdout
    assert (base / "output" / "success").exists()
    assert not (base / "output" / "failure").exists()
    assert "--batch-size 10 --epochs 2 --learning-rate 0.1" in done.stdout
    assert accuracy(done.stdout, epoch=1) > 0.7
    assert sorted(path.name for path in (base / "model").iterdir()) == [
        "model-0000.params",
        "model-shapes.json",
        "model-symbol.json",
    ]
    # The same seed gives the same model here.
    command = [sys.executable, str(ENTRY_POINT), "--batch-size", "10", "--epochs", "2"]
    command += ["--model-dir", str(tmp_path / "here")]
    for name, folder in channels.items():
        command += [f"--{name}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    body = csv(digits[:3])
    assert Predictor(base / "model", exact=True).answer(body) == Predictor(tmp_path / "here", exact=True).answer(body)


def test_checkpoints_are_kept_and_a_restarted_job_continues(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    more = {"checkpoint-dir": str(checkpoints), "batch-size": 100}
    first = lay_out(tmp_path / "first", ENTRY_POINT, channels, hyperparameters(tmp_path / "first", **more, epochs=1))
    assert train(container_python, first).returncode == 0
    assert (checkpoints / "mnist-0001.states").exists()
    second = lay_out(tmp_path / "second", ENTRY_POINT, channels, hyperparameters(tmp_path / "second", **more))
    done = train(container_python, second)
    assert "going on behind epoch 1" in done.stdout
    assert "Epoch[0]" not in done.stdout
    assert "Epoch[1] Validation-accuracy=" in done.stdout


def train_on_two_hosts(
    python: Path, channels: dict[str, Path], folder: Path, checkpoints: dict[str, Path], epochs: int
) -> dict[str, str]:
    """Runs the toolkit of each host at the same time; what each printed."""
    hosts = list(checkpoints)
    outputs: dict[str, str] = {}

    def run(host: str) -> None:
        base = folder / host
        more = {"epochs": epochs, "learning-rate": 0.8, "batch-size": 20, "checkpoint-dir": str(checkpoints[host])}
        more["sagemaker_parameter_server_enabled"] = True
        lay_out(base, ENTRY_POINT, channels, hyperparameters(base, **more), hosts=hosts, host=host)
        outputs[host] = train(python, base).stdout

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    with parameter_server_port():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for host in hosts:
        assert (folder / host / "output" / "success").exists(), outputs[host]
    return outputs


def test_two_hosts_share_a_parameter_server_and_the_first_saves(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    checkpoints = {host: tmp_path / f"checkpoints-{host}" for host in ("localhost", "127.0.0.1")}
    for folder in checkpoints.values():
        folder.mkdir()
    kept, not_kept = checkpoints.values()
    outputs = train_on_two_hosts(container_python, channels, tmp_path / "first", checkpoints, epochs=1)
    for output in outputs.values():
        # 3,000 of the 6,000 rows each.
        assert accuracy(output, epoch=0) > 0.3
    assert load_model(tmp_path / "first" / "localhost" / "model").row_values == 784
    assert list((tmp_path / "first" / "127.0.0.1" / "model").iterdir()) == []
    assert sorted(path.name for path in kept.iterdir()) == ["mnist-0001.params", "mnist-symbol.json"]
    assert list(not_kept.iterdir()) == []
    # A restarted job finds on each host what is in S3, and continues.
    shutil.copytree(kept, not_kept, dirs_exist_ok=True)
    again = train_on_two_hosts(container_python, channels, tmp_path / "second", checkpoints, epochs=2)
    for host, output in again.items():
        assert "going on behind epoch 1" in output
        assert "Epoch[0]" not in output
        assert accuracy(output, epoch=1) > accuracy(outputs[host], epoch=0)


def test_a_failing_script_leaves_the_failure_file(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    base = lay_out(
        tmp_path / "ml", ENTRY_POINT, {"train": channels["train"]}, hyperparameters(tmp_path / "ml", test="/nowhere")
    )
    done = train(container_python, base)
    assert done.returncode != 0
    assert "expected images.gz and labels.gz below /nowhere" in done.stdout
    assert "ExitCode 1" in (base / "output" / "failure").read_text()
    assert not (base / "output" / "success").exists()


@pytest.fixture
def own_environment(container_python: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment that the toolkits may install into, with all that the container's has."""
    own = tmp_path / "environment"
    subprocess.run([container_python, "-m", "venv", own], check=True)
    (site,) = own.glob("lib/python*/site-packages")
    (theirs,) = container_python.parent.parent.glob("lib/python*/site-packages")
    (site / "container.pth").write_text(f"{theirs}\n")
    for name in ("train", "serve", "multi-model-server", "model-archiver"):
        text = (container_python.parent / name).read_text().partition("\n")[2]
        (own / "bin" / name).write_text(f"#!{own / 'bin' / 'python'}\n{text}")
        (own / "bin" / name).chmod(0o755)
    return own / "bin" / "python"


def build_wheel(python: Path, folder: Path) -> Path:
    """A wheel of this package for an interpreter, made from a copy of the sources."""
    source = copy_sources(folder / "source")
    command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheel", source]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "wheel"


def test_a_wheel_in_the_code_archive_is_installed_and_used(
    own_environment: Path,
    java: str,  # noqa: ARG001
    channels: dict[str, Path],
    digits: np.ndarray,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    # That of the tests of packages, where it is for the container's Python.
    shared = same_python(own_environment)
    folder = request.getfixturevalue("built") if shared else build_wheel(own_environment, tmp_path)
    (wheel,) = folder.glob("fastinfer-*.whl")
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(ENTRY_POINT, code)
    shutil.copy(wheel, code)
    (code / "requirements.txt").write_text(f"./{wheel.name}\n")
    values = hyperparameters(tmp_path / "ml", **{"batch-size": 100})
    base = lay_out(tmp_path / "ml", code, channels, values)
    done = train(own_environment, base)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Successfully installed .*\bfastinfer-", done.stdout)
    body = csv(digits[:2])
    (tmp_path / "server").mkdir()
    with model_server(
        own_environment, base / "model", tmp_path / "server", ready=body, code=ENTRY_POINT, workers=1
    ) as server:
        assert server.invoke(body).body == Predictor(base / "model", exact=True).answer(body)[0]
        # The words are fastinfer's.
        assert b"1:1: expected a number, found 'x'" in server.invoke(b"x," + body).body
