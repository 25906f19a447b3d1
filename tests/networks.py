"""Small real models, saved as SageMaker's training saves them; and MXNet, loaded when it is first used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np

from fastinfer.runtimes.mxnet.library import load_mxnet
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS


class _LateModule:
    """MXNet, imported when a test first uses it: collecting the tests, and running those of the kernels, does without."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks for marks of its own on everything in a test module
            raise AttributeError(name)
        return getattr(load_mxnet(INFERENCE_SETTINGS), name)


mx: Any = _LateModule()


def mlp() -> tuple[Any, tuple[int, ...]]:
    """The notebook's network."""
    layer = mx.sym.flatten(mx.sym.var("data"))
    for units in (128, 64):
        layer = mx.sym.Activation(mx.sym.FullyConnected(layer, num_hidden=units), act_type="relu")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(layer, num_hidden=10), name="softmax"), (1, 28, 28)


def convolution() -> tuple[Any, tuple[int, ...]]:
    """Several channels, not square, with auxiliary states."""
    layer = mx.sym.Convolution(mx.sym.var("data"), num_filter=8, kernel=(3, 3))
    layer = mx.sym.Activation(mx.sym.BatchNorm(layer), act_type="relu")
    layer = mx.sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max")
    layer = mx.sym.Activation(mx.sym.Convolution(layer, num_filter=16, kernel=(3, 3)), act_type="relu")
    layer = mx.sym.Dropout(layer, p=0.5)
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(layer, num_hidden=5), name="softmax"), (3, 12, 10)


def linear() -> tuple[Any, tuple[int, ...]]:
    """Two features, one number out."""
    output = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1)
    return mx.sym.LinearRegressionOutput(output, name="regression"), (2,)


def scalar() -> tuple[Any, tuple[int, ...]]:
    """A bare number for each record: an output of shape (batch,)."""
    return mx.sym.sum(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), axis=1), (4,)


def segmentation() -> tuple[Any, tuple[int, ...]]:
    """A map for each record: an output of four dimensions."""
    return mx.sym.sigmoid(mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3))), (1, 5, 6)


def save(network: Callable[[], tuple[Any, tuple[int, ...]]], folder: Path, *, data_name: str = "data") -> Path:
    """Initialises a network with a fixed seed and saves it; returns the folder."""
    symbol, row_shape = network()
    shape = (4, *row_shape)
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=shape)[0]))
    random = np.random.RandomState(7)
    saved = {
        f"arg:{name}": mx.nd.array(random.uniform(-1, 1, shapes[name]) * (6 / max(1, np.prod(shapes[name][1:]))) ** 0.5)
        for name in symbol.list_arguments()
        if name != "data" and not name.endswith("label")
    }
    auxiliary = zip(symbol.list_auxiliary_states(), symbol.infer_shape(data=shape)[2])
    saved.update({f"aux:{name}": mx.nd.array(random.uniform(0.5, 1.5, size)) for name, size in auxiliary})
    folder.mkdir(parents=True, exist_ok=True)
    symbol.save(str(folder / "model-symbol.json"))
    mx.nd.save(str(folder / "model-0000.params"), saved)
    (folder / "model-shapes.json").write_text(json.dumps([{"name": data_name, "shape": shape}]))
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes a saved model's parameters."""
    saved = mx.nd.load(str(folder / "model-0000.params"))
    change(saved)
    mx.nd.save(str(folder / "model-0000.params"), saved)
