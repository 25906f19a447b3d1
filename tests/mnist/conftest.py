"""What the tests of training share: small channels of real images, and a training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.mnist.train import TRAINING_SETTINGS, TrainConfig
from fastinfer.runtimes.mxnet.library import load_mxnet
from tests.conftest import MNIST
from tests.mnist.channels import config_of, write_channels


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_channels(tmp_path_factory.mktemp("channels"), MNIST)


@pytest.fixture
def config(channels: tuple[str, str], tmp_path: Path) -> TrainConfig:
    return config_of(channels, tmp_path, epochs=3, seed=7)


@pytest.fixture(scope="session")
def mx() -> Any:
    return load_mxnet(TRAINING_SETTINGS)
