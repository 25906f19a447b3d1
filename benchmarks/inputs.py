"""The texts that are timed: 1,000 images of MNIST's test set in four spellings, and dense random integers."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np

IMAGES = 1000
VALUES = 784
NAMES = ("fixed", "integers", "repr", "dense")
IMAGES_GZ = Path(__file__).parent.parent / "examples" / "mnist" / "test" / "images.gz"


@cache
def text(name: str) -> bytes:
    """A CSV body of 1,000 lines of 784 values.

    fixed: `%.6E` of pixel / 255, as SageMaker's sample data prints it. integers: pixels. repr: Python's repr of the
    float32 pixel / 255. dense: random integers of 0 to 255.
    """
    pixels = np.frombuffer(gzip.decompress(IMAGES_GZ.read_bytes()), np.uint8, offset=16).reshape(-1, VALUES)[:IMAGES]
    if name == "dense":
        pixels = np.random.default_rng(1).integers(0, 256, (IMAGES, VALUES)).astype(np.uint8)
    rows = (pixels.astype(np.float32) * np.float32(1 / 255) if name in ("fixed", "repr") else pixels).tolist()
    spell = "{:.6E}".format if name == "fixed" else repr
    return "".join(",".join(map(spell, row)) + "\n" for row in rows).encode()


@cache
def expected(name: str) -> np.ndarray:
    """The float32 values of that text, by Python's float()."""
    rows = [[float(cell) for cell in line.split(b",")] for line in text(name).splitlines()]
    return np.array(rows).astype(np.float32)


@cache
def probabilities() -> np.ndarray:
    """Softmax of random numbers: 1,000 rows of 10 values between 0 and 1."""
    scores = np.random.default_rng(0).normal(0, 6, (IMAGES, 10))
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
