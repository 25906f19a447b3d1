"""SageMaker's training toolkit runs the example's script, on folders as the service lays them out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from fastinfer.model import load_model
from fastinfer.predictor import Predictor
from tests.conftest import csv, skip
from tests.sagemaker.conftest import ENTRY_POINT, ROOT
from tests.sagemaker.training import lay_out, train, train_command

HYPERPARAMETERS = {"sagemaker_program": "mnist.py", "epochs": 2, "learning-rate": 0.1, "seed": 2}


def hyperparameters(base: Path, **more: object) -> dict[str, object]:
    # Where the toolkit looks for the code: a folder here, an archive in S3 in the service. Each value is JSON.
    values = {**HYPERPARAMETERS, "sagemaker_submit_directory": str(base / "code"), **more}
    return {name: f'"{value}"' if isinstance(value, str) else value for name, value in values.items()}


def test_the_script_trains_in_the_toolkit(
    container_python: Path, channels: dict[str, Path], digits: np.ndarray, tmp_path: Path
) -> None:
    base = lay_out(tmp_path / "ml", ENTRY_POINT, channels, hyperparameters(tmp_path / "ml"))
    done = train(container_python, base)
    assert done.returncode == 0, done.stdout
    assert (base / "output" / "success").exists()
    assert not (base / "output" / "failure").exists()
    assert "--epochs 2 --learning-rate 0.1" in done.stdout
    assert "Epoch[1] Validation-accuracy=" in done.stdout
    assert sorted(path.name for path in (base / "model").iterdir()) == [
        "model-0000.params",
        "model-shapes.json",
        "model-symbol.json",
    ]
    # The same seed gives the same model here.
    command = [sys.executable, str(ENTRY_POINT), "--epochs", "2", "--model-dir", str(tmp_path / "here")]
    for name, folder in channels.items():
        command += [f"--{name}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    body = csv(digits[:3])
    assert Predictor(base / "model").answer(body) == Predictor(tmp_path / "here").answer(body)


def test_checkpoints_are_kept_and_a_restarted_job_goes_on(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    more = {"checkpoint-dir": str(checkpoints)}
    first = lay_out(tmp_path / "first", ENTRY_POINT, channels, hyperparameters(tmp_path / "first", **more, epochs=1))
    assert train(container_python, first).returncode == 0
    assert (checkpoints / "mnist-0001.states").exists()
    second = lay_out(tmp_path / "second", ENTRY_POINT, channels, hyperparameters(tmp_path / "second", **more))
    done = train(container_python, second)
    assert "going on behind epoch 1" in done.stdout
    assert "Epoch[0]" not in done.stdout
    assert "Epoch[1] Validation-accuracy=" in done.stdout


def test_two_hosts_share_a_parameter_server_and_the_first_saves(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    hosts = ["localhost", "127.0.0.1"]
    outputs: dict[str, str] = {}

    def run(host: str) -> None:
        base = tmp_path / host
        values = hyperparameters(base, sagemaker_parameter_server_enabled=True)
        lay_out(base, ENTRY_POINT, channels, values, hosts=hosts, host=host)
        outputs[host] = train(container_python, base).stdout

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for host in hosts:
        assert (tmp_path / host / "output" / "success").exists(), outputs[host]
        assert "Epoch[1] Validation-accuracy=" in outputs[host]
    assert load_model(tmp_path / hosts[0] / "model").row_values == 784
    assert list((tmp_path / hosts[1] / "model").iterdir()) == []


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


def test_a_wheel_in_the_code_archive_is_installed_and_used(
    container_python: Path, channels: dict[str, Path], tmp_path: Path
) -> None:
    # An environment that the toolkit may install into, with all that the container's has.
    own = tmp_path / "environment"
    subprocess.run([container_python, "-m", "venv", own], check=True)
    (site,) = own.glob("lib/python*/site-packages")
    (theirs,) = container_python.parent.parent.glob("lib/python*/site-packages")
    (site / "container.pth").write_text(f"{theirs}\n")
    for name in ("train", "serve"):
        text = (container_python.parent / name).read_text().partition("\n")[2]
        (own / "bin" / name).write_text(f"#!{own / 'bin' / 'python'}\n{text}")
        (own / "bin" / name).chmod(0o755)
    python = own / "bin" / "python"

    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(ENTRY_POINT, code)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(code), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = code.glob("fastinfer-*.whl")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    running = subprocess.run(
        [python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])"], capture_output=True, text=True
    )
    if running.stdout.strip() != tag:
        skip(f"a wheel of {tag} is not for the container's {running.stdout.strip()}")
    (code / "requirements.txt").write_text(f"./{wheel.name}\n")

    base = lay_out(tmp_path / "ml", code, channels, hyperparameters(tmp_path / "ml"))
    done = train(python, base)
    assert done.returncode == 0, done.stdout
    assert "Successfully installed" in done.stdout
    _, variables = train_command(python, base)
    kind = subprocess.run(
        [python, "-c", "import mnist, sys; print(type(mnist.model_fn(sys.argv[1])).__module__)", base / "model"],
        env={**variables, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert kind.stdout == "fastinfer.predictor\n"
