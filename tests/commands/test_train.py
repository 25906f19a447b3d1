"""``fastinfer train``: its options, SageMaker's environment, exit codes and Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastinfer.commands.train import load_environment, main, parse_config
from fastinfer.errors import ConfigError
from fastinfer.mnist.checkpoint import newest_checkpoint
from fastinfer.mnist.train import TRAINING_SETTINGS, TrainConfig
from fastinfer.runtimes.mxnet.library import load_mxnet
from tests.conftest import MNIST
from tests.mnist.channels import ROWS, config_of, write_channels

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_channels(tmp_path_factory.mktemp("channels"), MNIST)


@pytest.fixture
def config(channels: tuple[str, str], tmp_path: Path) -> TrainConfig:
    return config_of(channels, tmp_path)


def test_sagemakers_environment_gives_the_defaults() -> None:
    assert load_environment({}) == {}
    environment = {
        "SM_CHANNEL_TRAIN": "/t",
        "SM_CHANNEL_TEST": "/v",
        "SM_MODEL_DIR": "/m",
        "SM_CURRENT_HOST": "algo-2",
        "SM_HOSTS": '["algo-1", "algo-2"]',
        "SM_NUM_GPUS": "2",
    }
    assert load_environment(environment) == {
        "train": "/t",
        "test": "/v",
        "model_dir": "/m",
        "current_host": "algo-2",
        "hosts": ("algo-1", "algo-2"),
        "device": "gpu:0,1",
    }
    for wrong in ({"SM_HOSTS": "algo-1"}, {"SM_HOSTS": "[1]"}, {"SM_NUM_GPUS": "many"}):
        with pytest.raises(ConfigError) as caught:
            load_environment(wrong)
        assert caught.value.code == "bad_environment"


def run_command_line(arguments: list[str], environment: dict[str, str] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastinfer", "train", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_takes_sagemakers_environment_and_prints_json(config: TrainConfig) -> None:
    environment = {
        "SM_CHANNEL_TRAIN": config.train,
        "SM_CHANNEL_TEST": config.test,
        "SM_MODEL_DIR": config.model_dir,
        "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]',
        "SM_NUM_GPUS": "0",
    }
    done = run_command_line(["--epochs", "2", "--learning-rate", "0.1", "--json", "--tar"], environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["epochs"], report["rows"], report["seed"]) == (2, ROWS, 2)
    assert len(report["validation_accuracy"]) == 2
    assert "Epoch[1] Validation-accuracy=" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("trained 2 epochs of 650 images in ")
    assert (Path(config.model_dir) / "model.tar.gz").exists()


def test_the_commands_exit_codes(config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--train", config.train, "--test", config.test, "--model-dir", config.model_dir, "--epochs", "1"]
    assert main([*arguments, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main([*arguments, "--train", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capfd.readouterr().err
    assert main([*arguments, "--device", "gpu:99"]) == 2
    assert main(["--train", config.train]) == 2
    assert "--test is required, as $SM_CHANNEL_TEST is not set" in capfd.readouterr().err
    assert main([*arguments, "--learning-rate", "1e30"]) == 3
    assert "Hint: a smaller --learning-rate" in capfd.readouterr().err
    assert main([*arguments, "--resume"]) == 2
    assert "--resume requires --checkpoint-dir" in capfd.readouterr().err
    assert main([*arguments, "--model-dir", "/dev/null/model"]) == 4


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("--batch-size", ("0", "-1", "many"), "expected a number of at least 1"),
        ("--epochs", ("0", "1.5"), "expected a number of at least 1"),
        ("--learning-rate", ("0", "nan", "inf", "fast"), "expected a positive number"),
        ("--seed", ("-1", "2147483648", "x"), "expected 0 to 2147483647"),
    ],
)
def test_numbers_are_checked(
    option: str, values: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        with pytest.raises(SystemExit) as stopped:
            main([f"{option}={value}"])
        assert stopped.value.code == 2
        assert f"argument {option}: {expected}, found {value!r}" in capsys.readouterr().err


def test_hints_name_this_commands_options(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--train", config.train, "--test", config.test, "--model-dir", config.model_dir, "--epochs", "1"]
    arguments += ["--quiet", "--checkpoint-dir", config.checkpoint_dir or ""]
    assert main(arguments) == 0
    for more, hint in (
        ([], "--resume continues from the newest"),
        (["--resume", "--batch-size", "50"], "from the start with another --checkpoint-dir"),
        (["--resume", "--device", "gpu:99"], "--device cpu"),
    ):
        assert main([*arguments, *more]) == 2
        assert hint in capsys.readouterr().err


def test_ctrl_c_ends_a_training_with_130_and_leaves_its_checkpoints(config: TrainConfig) -> None:
    command = [
        sys.executable,
        "-m",
        "fastinfer",
        "train",
        "--train",
        config.train,
        "--test",
        config.test,
        "--epochs",
    ]
    command += ["100000", "--model-dir", config.model_dir, "--checkpoint-dir", config.checkpoint_dir or ""]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Epoch[3] Validation-accuracy"):
                process.send_signal(signal.SIGINT)
                break
        assert process.stderr.read().splitlines()[-1] == "interrupted"
        assert process.wait(60) == 130
    found, _ = newest_checkpoint(load_mxnet(TRAINING_SETTINGS), Path(config.checkpoint_dir or ""))
    assert found is not None
    assert found.epoch >= 4


def test_the_commands_of_the_docs_are_commands() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("fastinfer train ")]
    assert len(commands) == 3
    for command in commands:
        arguments = shlex.split(command)[2:]
        assert parse_config(arguments, {}).model_dir == "demo/model"
    for path in ("examples/mnist/train", "examples/mnist/test"):
        assert path in commands[0]
        assert (ROOT / path).is_dir()
