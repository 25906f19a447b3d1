"""What the tests of training share: small channels of real images, and a training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.mnist.train import TRAINING_SETTINGS, TrainConfig
from fastinfer.runtimes.mxnet.library import load_mxnet
from tests.conftest import MNIST
from tests.mnist.channels import write_channels


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_channels(tmp_path_factory.mktemp("channels"), MNIST)


@pytest.fixture
def config(channels: tuple[str, str], tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=channels[0],
        test=channels[1],
        model_dir=str(tmp_path / "model"),
        epochs=3,
        seed=7,
        checkpoint_dir=str(tmp_path / "checkpoints"),
    )


@pytest.fixture(scope="session")
def mx() -> Any:
    return load_mxnet(TRAINING_SETTINGS)
