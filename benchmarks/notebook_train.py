"""The notebook's training the plain way: what `fastinfer.mnist.train` is compared with, and must equal to the bit.

Run as `python -m benchmarks.notebook_train TRAIN TEST MODEL_DIR EPOCHS SEED`. It loads the channels into NumPy, hands
them to mxnet's shuffling NDArrayIter, and calls Module.fit with the optimizer, metric and Speedometer that the notebook
names. Nothing is set in the environment and nothing is checkpointed. It prints the seconds of each epoch, from the end
of one to the end of the next, as JSON.
"""

from __future__ import annotations

import gzip
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

from fastinfer.runtimes.mxnet.library import load_mxnet

mx = load_mxnet()


def load_channel(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, 28, 28) as float32 from 0 to 1, and labels (n,)."""
    with gzip.open(next(Path(folder).rglob("labels.gz"))) as file:
        labels = np.frombuffer(file.read(), np.int8, offset=8)
    with gzip.open(next(Path(folder).rglob("images.gz"))) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    return pixels.reshape(len(labels), 1, 28, 28).astype(np.float32) / 255, labels


def main(train: str, test: str, model_dir: str, epochs: str, seed: str) -> None:
    mx.random.seed(int(seed))
    np.random.seed(int(seed))
    images, labels = load_channel(train)
    test_images, test_labels = load_channel(test)

    net = mx.sym.flatten(mx.sym.var("data"))
    net = mx.sym.Activation(mx.sym.FullyConnected(net, num_hidden=128), act_type="relu")
    net = mx.sym.Activation(mx.sym.FullyConnected(net, num_hidden=64), act_type="relu")
    net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(net, num_hidden=10), name="softmax")

    batches = mx.io.NDArrayIter(images, labels, 100, shuffle=True)
    validation = mx.io.NDArrayIter(test_images, test_labels, 100)
    logging.getLogger().setLevel(logging.DEBUG)
    module = mx.mod.Module(net, context=mx.cpu())
    ends: list[float] = []
    module.fit(
        batches,
        eval_data=validation,
        kvstore="local",
        optimizer="sgd",
        optimizer_params={"learning_rate": 0.1},
        eval_metric="acc",
        batch_end_callback=mx.callback.Speedometer(100, 100),
        epoch_end_callback=lambda *_: ends.append(time.perf_counter()),
        num_epoch=int(epochs),
    )
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    module.save_params(str(Path(model_dir) / "model-0000.params"))
    print(json.dumps({"epoch_seconds": np.diff(ends).tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
