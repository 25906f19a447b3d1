"""Small channels of real images, for the tests of training."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

from fastinfer.mnist.dataset import read_channel
from fastinfer.mnist.train import TrainConfig

ROWS = 650  # no multiple of the batch size: the last batch is filled up


def write_channel(folder: Path, source: Path, rows: int, first: int = 0) -> Path:
    """A channel with some rows of a real one."""
    images, labels = read_channel(source)
    folder.mkdir(parents=True)
    for name, magic, values in (("images.gz", 0x803, images), ("labels.gz", 0x801, labels)):
        part = values[first : first + rows]
        header = struct.pack(f">I{part.ndim}I", magic, *part.shape)
        (folder / name).write_bytes(gzip.compress(header + part.tobytes()))
    return folder


def write_channels(top: Path, mnist: Path) -> tuple[str, str]:
    """A channel to train on, its files in a folder below, and one to validate on."""
    write_channel(top / "train" / "deep", mnist / "train", ROWS)
    return str(top / "train"), str(write_channel(top / "test", mnist / "test", 250))


def files_of(folder: str | None) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder or "").iterdir()}


def config_of(channels: tuple[str, str], folder: Path, **rest: Any) -> TrainConfig:
    """A training on two channels, whose model and checkpoints are below a folder."""
    model, checkpoints = str(folder / "model"), str(folder / "checkpoints")
    return TrainConfig(train=channels[0], test=channels[1], model_dir=model, checkpoint_dir=checkpoints, **rest)
