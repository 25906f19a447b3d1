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


def one_value() -> tuple[Any, tuple[int, ...]]:
    """Twice the only value of a record."""
    return mx.sym.var("data") * 2, (1,)


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


def parameters(symbol: Any, shapes: dict[str, tuple[int, ...]], dtype: str = "float32") -> dict[str, Any]:
    """Seeded values for every argument and auxiliary state but the inputs and labels, as Module saves them."""
    random = np.random.RandomState(7)
    sizes, _, auxiliary = symbol.infer_shape(**{name: (1, *shape) for name, shape in shapes.items()})
    saved = {
        f"arg:{name}": mx.nd.array(random.uniform(-1, 1, size), dtype=dtype)
        for name, size in zip(symbol.list_arguments(), sizes)
        if name not in shapes and not name.endswith("label")
    }
    states = zip(symbol.list_auxiliary_states(), auxiliary)
    return {**saved, **{f"aux:{name}": mx.nd.ones(size) for name, size in states}}


def write(
    folder: Path, symbol: Any, shapes: dict[str, tuple[int, ...]], saved: dict[str, Any] | None = None, batch: int = 4
) -> Path:
    """Saves a network as SageMaker's training does, with seeded parameters unless others are given."""
    folder.mkdir(parents=True, exist_ok=True)
    symbol.save(str(folder / "model-symbol.json"))
    mx.nd.save(str(folder / "model-0000.params"), parameters(symbol, shapes) if saved is None else saved)
    listed = [{"name": name, "shape": [batch, *shape]} for name, shape in shapes.items()]
    (folder / "model-shapes.json").write_text(json.dumps(listed))
    return folder


def _dense(data: Any, units: int = 3, name: str = "fc") -> Any:
    return mx.sym.softmax(mx.sym.FullyConnected(data, num_hidden=units, name=name), name="softmax")


def _half(folder: Path) -> Path:
    scaled = mx.sym.broadcast_mul(mx.sym.Cast(mx.sym.var("data"), dtype="float16"), mx.sym.var("scale", shape=(1, 4)))
    saved = {"arg:scale": mx.nd.array([[1.5, 2, -3, 0.25]], dtype="float16")}
    return write(folder, mx.sym.Cast(scaled, dtype="float32"), {"data": (4,)}, saved)


def _int8(folder: Path) -> Path:
    from mxnet.contrib import quantization  # loaded before by whoever saves a network

    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=8, name="a")
    symbol = mx.sym.FullyConnected(mx.sym.Activation(layer, act_type="relu"), num_hidden=3, name="b")
    weights = {name[4:]: array for name, array in parameters(symbol, {"data": (4,)}).items()}
    rows = mx.io.NDArrayIter(mx.nd.array(np.random.RandomState(3).uniform(0, 9, (32, 4))), batch_size=4)
    quantized, arguments, auxiliary = quantization.quantize_model(
        *(symbol, weights, {}),
        ctx=mx.cpu(),
        calib_mode="naive",
        calib_data=rows,
        num_calib_examples=32,
        quantized_dtype="int8",
        label_names=None,
    )
    saved = {f"arg:{name}": array for name, array in arguments.items()}
    return write(folder, quantized, {"data": (4,)}, {**saved, **{f"aux:{n}": a for n, a in auxiliary.items()}})


def _uint8(folder: Path) -> Path:
    pixels = mx.sym.Cast(mx.sym.var("data", dtype="uint8"), dtype="float32")
    return write(folder, _dense(pixels / 255), {"data": (4,)})


def _int32(folder: Path) -> Path:
    words = mx.sym.Embedding(mx.sym.var("data", dtype="int32"), input_dim=10, output_dim=4, name="words")
    return write(folder, _dense(mx.sym.Flatten(words)), {"data": (4,)})


def _steps(folder: Path) -> Path:
    """Several rows for each record, as sequence labelling has them."""
    layer = mx.sym.Reshape(mx.sym.var("data"), shape=(-1, 2))
    return write(folder, _dense(layer), {"data": (4,)})


def _lstm(folder: Path) -> Path:
    """Recurrent, with initial states that are not saved."""
    cell = mx.rnn.FusedRNNCell(5, mode="lstm", prefix="lstm_")
    states = [mx.sym.var(f"lstm_begin_state_{number}", shape=(1, 1, 5)) for number in range(2)]
    steps = mx.sym.transpose(mx.sym.var("data"), axes=(1, 0, 2))
    outputs, _ = cell.unroll(2, steps, begin_state=states, layout="TNC", merge_outputs=True)
    symbol = _dense(mx.sym.SequenceLast(outputs))
    saved = parameters(symbol, {"data": (2, 2)})
    return write(folder, symbol, {"data": (2, 2)}, {n: a for n, a in saved.items() if "begin_state" not in n})


def _topk(folder: Path) -> Path:
    scores = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=5, name="fc")
    return write(folder, mx.sym.topk(scores, k=2, dtype="int32"), {"data": (4,)})


def _cast(dtype: str) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        return write(folder, mx.sym.Cast(_dense(mx.sym.var("data")), dtype=dtype), {"data": (4,)})

    return save


def _class_number(folder: Path) -> Path:
    scores = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=5, name="fc")
    return write(folder, mx.sym.Cast(mx.sym.argmax(scores, axis=1), dtype="int32"), {"data": (4,)})


def _mean(folder: Path) -> Path:
    """Without parameters."""
    return write(folder, mx.sym.mean(mx.sym.var("data"), axis=1, keepdims=True), {"data": (4,)}, {})


def _own_loss(folder: Path) -> Path:
    """A label that no known loss reads, and that is not saved."""
    error = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1, name="fc") - mx.sym.var(
        "target_label", shape=(1, 1)
    )
    symbol = mx.sym.MakeLoss(mx.sym.square(error))
    saved = parameters(symbol, {"data": (4,)})
    return write(folder, symbol, {"data": (4,)}, saved)


def _names(folder: Path) -> Path:
    return write(folder, _dense(mx.sym.var("data"), name="层 é"), {"data": (4,)})


def _batch_of_one(folder: Path) -> Path:
    """A graph that holds the batch size 1, as those that come from ONNX."""
    return write(folder, _dense(mx.sym.reshape(mx.sym.var("data"), shape=(1, -1))), {"data": (4,)})


def _held_reshape(folder: Path) -> Path:
    return write(folder, _dense(mx.sym.reshape(mx.sym.var("data"), shape=(8, 4))), {"data": (4,)}, _saved_dense())


def _held_states(folder: Path) -> Path:
    """Recurrent, with initial states for a batch of 8."""
    states = [mx.sym.zeros((8, 5)), mx.sym.zeros((8, 5))]
    steps, _ = mx.rnn.LSTMCell(5, prefix="lstm_").unroll(
        2, mx.sym.var("data"), begin_state=states, layout="NTC", merge_outputs=True
    )
    symbol = _dense(steps)
    sizes, _, _ = symbol.infer_shape(data=(8, 2, 2))
    random = np.random.RandomState(7)
    named = zip(symbol.list_arguments(), sizes)
    saved = {f"arg:{name}": mx.nd.array(random.uniform(-1, 1, size)) for name, size in named if name != "data"}
    return write(folder, symbol, {"data": (2, 2)}, saved)


def _held_rows(folder: Path) -> Path:
    """Two rows for each of 8 records."""
    layer = _dense(mx.sym.reshape(mx.sym.var("data"), shape=(16, 2)))
    return write(folder, layer, {"data": (4,)}, _saved_dense(2))


def held_mixing(folder: Path) -> Path:
    """For a batch of 8 whose records influence each other."""
    layer = _dense(mx.sym.reshape(mx.sym.var("data"), shape=(8, 4)))
    symbol = mx.sym.broadcast_sub(layer, mx.sym.mean(layer, axis=0, keepdims=True))
    return write(folder, symbol, {"data": (4,)}, _saved_dense())


def _saved_dense(width: int = 4) -> dict[str, Any]:
    return parameters(_dense(mx.sym.var("data")), {"data": (width,)})


def _maps(folder: Path) -> Path:
    """Values of four dimensions."""
    layer = mx.sym.reshape(mx.sym.var("data"), shape=(-1, 1, 2, 2))
    return write(folder, mx.sym.Convolution(layer, num_filter=2, kernel=(1, 1), name="maps"), {"data": (4,)})


def without_kinds(folder: Path) -> Path:
    """Parameters that are saved without arg: and aux:, which the container does not load."""
    write(folder, mx.sym.BatchNorm(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)), {"data": (4,)})
    saved = mx.nd.load(str(folder / "model-0000.params"))
    mx.nd.save(str(folder / "model-0000.params"), {name[4:]: array for name, array in saved.items()})
    return folder


def _norm(folder: Path) -> Path:
    return write(folder, mx.sym.BatchNorm(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)), {"data": (4,)})


# Networks of every kind that the container serves; each reads records of four values.
SERVED: dict[str, Callable[[Path], Path]] = {
    "half": _half,
    "int8": _int8,
    "uint8": _uint8,
    "int32": _int32,
    "steps": _steps,
    "lstm": _lstm,
    "topk": _topk,
    "float16": _cast("float16"),
    "float64": _cast("float64"),
    "class_number": _class_number,
    "mean": _mean,
    "own_loss": _own_loss,
    "names": _names,
    "batch_of_one": _batch_of_one,
    "maps": _maps,
    "norm": _norm,
}

# Networks that take batches of 8 alone, which the container does not serve rightly; each reads records of four values.
HELD: dict[str, Callable[[Path], Path]] = {"reshape": _held_reshape, "states": _held_states, "rows": _held_rows}
