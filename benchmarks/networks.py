"""The networks of bench_models.py, as MXNet's own examples and model zoo build them; seeded parameters, nothing is downloaded.

Run as a program it saves them as SageMaker's training does: ``python -m benchmarks.networks FOLDER``.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np

from fastinfer.runtimes.mxnet.library import load_mxnet
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS

Network = Callable[[Any], tuple[Any, tuple[int, ...]]]


def mlp(sym: Any) -> tuple[Any, tuple[int, ...]]:
    """The notebook's network: 784 values."""
    layer = sym.flatten(sym.var("data"))
    for units in (128, 64):
        layer = sym.Activation(sym.FullyConnected(layer, num_hidden=units), act_type="relu")
    return sym.SoftmaxOutput(sym.FullyConnected(layer, num_hidden=10), name="softmax"), (1, 28, 28)


def lenet(sym: Any) -> tuple[Any, tuple[int, ...]]:
    """MXNet's example/image-classification/symbols/lenet.py."""
    layer = sym.var("data")
    for filters in (20, 50):
        layer = sym.Activation(sym.Convolution(layer, kernel=(5, 5), num_filter=filters), act_type="tanh")
        layer = sym.Pooling(layer, pool_type="max", kernel=(2, 2), stride=(2, 2))
    layer = sym.Activation(sym.FullyConnected(sym.Flatten(layer), num_hidden=500), act_type="tanh")
    return sym.SoftmaxOutput(sym.FullyConnected(layer, num_hidden=10), name="softmax"), (1, 28, 28)


def mobilenet(sym: Any, width: float, pixels: int) -> tuple[Any, tuple[int, ...]]:
    """Gluon's zoo: depthwise separable convolutions; ``width`` multiplies the channels."""

    def convolve(layer: Any, filters: int, kernel: int, stride: int, groups: int = 1) -> Any:
        layer = sym.Convolution(
            layer,
            num_filter=filters,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            pad=(kernel // 2, kernel // 2),
            num_group=groups,
            no_bias=True,
        )
        return sym.Activation(sym.BatchNorm(layer, fix_gamma=False, eps=1e-5), act_type="relu")

    def channels(count: int) -> int:
        return int(count * width)

    layer, inputs = convolve(sym.var("data"), channels(32), 3, 2), channels(32)
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for filters, stride in blocks:
        layer = convolve(layer, inputs, 3, stride, groups=inputs)
        layer, inputs = convolve(layer, channels(filters), 1, 1), channels(filters)
    layer = sym.Flatten(sym.Pooling(layer, global_pool=True, kernel=(7, 7), pool_type="avg"))
    return sym.softmax(sym.FullyConnected(layer, num_hidden=1000)), (3, pixels, pixels)


def resnet18(sym: Any) -> tuple[Any, tuple[int, ...]]:
    """Gluon's zoo, version 1, 224 x 224."""

    def convolve(layer: Any, filters: int, kernel: int, stride: int) -> Any:
        pad = (kernel // 2, kernel // 2)
        shape = {"kernel": (kernel, kernel), "stride": (stride, stride), "pad": pad}
        return sym.BatchNorm(
            sym.Convolution(layer, num_filter=filters, no_bias=True, **shape), fix_gamma=False, eps=1e-5
        )

    layer = sym.Activation(convolve(sym.var("data"), 64, 7, 2), act_type="relu")
    layer = sym.Pooling(layer, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max")
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = sym.Activation(convolve(layer, filters, 3, stride), act_type="relu")
            shortcut = convolve(layer, filters, 1, stride) if stride > 1 else layer
            layer = sym.Activation(convolve(inner, filters, 3, 1) + shortcut, act_type="relu")
    layer = sym.Flatten(sym.Pooling(layer, global_pool=True, kernel=(7, 7), pool_type="avg"))
    return sym.softmax(sym.FullyConnected(layer, num_hidden=1000)), (3, 224, 224)


def lstm(sym: Any) -> tuple[Any, tuple[int, ...]]:
    """A sequence of 50 steps of 16 values, one layer of 128 units, unrolled as mxnet.rnn does; 5 classes."""
    steps, values, units = 50, 16, 128
    weights = {name: sym.var(f"lstm_{name}") for name in ("i2h_weight", "i2h_bias", "h2h_weight", "h2h_bias")}
    inputs = sym.SliceChannel(sym.var("data"), num_outputs=steps, axis=1, squeeze_axis=True)
    state = memory = None
    for step in range(steps):
        gates = sym.FullyConnected(
            inputs[step], weights["i2h_weight"], weights["i2h_bias"], num_hidden=4 * units, name=f"i2h_{step}"
        )
        if state is not None:
            gates = gates + sym.FullyConnected(
                state, weights["h2h_weight"], weights["h2h_bias"], num_hidden=4 * units, name=f"h2h_{step}"
            )
        entry, forget, change, exit_ = sym.SliceChannel(gates, num_outputs=4)
        kept = sym.sigmoid(entry) * sym.tanh(change)
        memory = kept if memory is None else sym.sigmoid(forget) * memory + kept
        state = sym.sigmoid(exit_) * sym.tanh(memory)
    return sym.softmax(sym.FullyConnected(state, num_hidden=5)), (steps, values)


NETWORKS: dict[str, Network] = {
    "mlp": mlp,
    "lenet": lenet,
    "mobilenet0.25-96": lambda sym: mobilenet(sym, 0.25, 96),
    "mobilenet1.0-224": lambda sym: mobilenet(sym, 1.0, 224),
    "resnet18-224": resnet18,
    "lstm": lstm,
}


def save(name: str, folder: Path) -> Path:
    """Saves a network as a model in a folder, with parameters from a fixed seed that keep values of about one size."""
    mxnet = load_mxnet(INFERENCE_SETTINGS)
    with mxnet.name.NameManager():  # the same names of layers, whatever was built before
        symbol, row_shape = NETWORKS[name](mxnet.sym)
    shape = (1, *row_shape)
    arguments, _, auxiliary = symbol.infer_shape(data=shape)
    random = np.random.RandomState(7)
    saved = {}
    for each, size in zip(symbol.list_arguments(), arguments):
        if each == "data" or each.endswith("label"):
            continue
        if each.endswith("gamma"):
            values = random.uniform(0.8, 1.2, size)
        elif each.endswith(("bias", "beta")):
            values = random.uniform(-0.1, 0.1, size)
        else:
            values = random.normal(0, math.sqrt(1.5 / math.prod(size[1:])), size)
        saved[f"arg:{each}"] = mxnet.nd.array(values)
    for each, size in zip(symbol.list_auxiliary_states(), auxiliary):
        bounds = (0.8, 1.2) if each.endswith("var") else (-0.1, 0.1)
        saved[f"aux:{each}"] = mxnet.nd.array(random.uniform(*bounds, size))
    folder.mkdir(parents=True, exist_ok=True)
    symbol.save(str(folder / "model-symbol.json"))
    mxnet.nd.save(str(folder / "model-0000.params"), saved)
    (folder / "model-shapes.json").write_text(json.dumps([{"name": "data", "shape": shape}]))
    return folder


if __name__ == "__main__":
    for each in NETWORKS:
        print(save(each, Path(sys.argv[1]) / each))
