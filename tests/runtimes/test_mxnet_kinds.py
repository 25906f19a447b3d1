"""Graphs of every kind of input, parameter and output, beside MXNet's own Module; both graphs, several batch sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer.errors import ModelError
from fastinfer.models.inputs import Input
from fastinfer.models.module import Model, load_model
from fastinfer.runtimes.mxnet.graph import MXNetExecutor, outputs_of
from fastinfer.runtimes.views import predict_all, rows_of
from tests.networks import mx

SIZE = 4


@dataclass
class Case:
    """A network, the shape of a record, and parameters that are not made up; rows are whole numbers."""

    make: Callable[[], Any]
    row: tuple[int, ...] = (4,)
    params: Callable[[], dict[str, Any]] | None = None
    more: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"data": self.row, **self.more}


def var(name: str = "data", **attributes: Any) -> Any:
    return mx.sym.var(name, **attributes)


def dense(data: Any, count: int = 3, **attributes: Any) -> Any:
    return mx.sym.FullyConnected(data, num_hidden=count, **attributes)


def group(make: Callable[[Any], list[Any]]) -> Any:
    return mx.sym.Group(make(var()))


def half() -> Any:
    data = mx.sym.broadcast_mul(mx.sym.Cast(var(), dtype="float16"), var("scale", shape=(1, 4)))
    return mx.sym.Cast(data, dtype="float32")


def halves() -> dict[str, Any]:
    return {"arg:scale": mx.nd.array([[0.1, 0.2, 0.3, 0.4]], dtype="float16")}


def kept(kind: str) -> Any:
    return var(dtype=kind) * 3


CASES = {
    "float16 parameters": Case(half, params=halves),
    "float32 parameters, saved as float16": Case(
        lambda: mx.sym.broadcast_mul(var(), var("scale", shape=(1, 4))), params=halves
    ),
    "uint8 input": Case(lambda: dense(mx.sym.Cast(var(dtype="uint8"), dtype="float32"))),
    "int32 input": Case(
        lambda: dense(mx.sym.Flatten(mx.sym.Embedding(var(dtype="int32"), input_dim=10, output_dim=4)))
    ),
    **{f"{kind} kept": Case(partial(kept, kind), params=dict) for kind in ("uint8", "int32", "float16", "float64")},
    "bool output": Case(lambda: group(lambda data: [mx.sym.Cast(dense(data), dtype="bool"), data])),
    "int32 output": Case(lambda: mx.sym.topk(dense(var()), k=2, dtype="int32")),
    "float16 output": Case(lambda: mx.sym.Cast(dense(var()), dtype="float16")),
    "float64 output": Case(lambda: mx.sym.Cast(dense(var()), dtype="float64")),
    "several rows a record": Case(lambda: dense(mx.sym.Reshape(dense(var(), 6, flatten=False), shape=(-1, 6))), (5, 4)),
    "no parameters": Case(lambda: mx.sym.mean(var(), axis=1, keepdims=True), params=dict),
    "two outputs": Case(lambda: group(lambda data: [dense(data), mx.sym.argmax(dense(data, 5), axis=1)])),
    "the input as an output": Case(lambda: group(lambda data: [data, data * 2]), params=dict),
    "two inputs": Case(lambda: dense(mx.sym.concat(var(), dense(var("user"), 2))), more={"user": (3,)}),
    "a name that is not ASCII": Case(lambda: dense(var(), name="层")),
    "states of a recurrent layer": Case(
        lambda: mx.sym.RNN(
            mx.sym.swapaxes(var(), dim1=0, dim2=1), state_size=6, num_layers=1, mode="lstm", name="rnn"
        ).reshape((-1, 6)),
        (5, 4),
    ),
}


def save(case: Case, folder: Path) -> Model:
    symbol = case.make()
    sizes, *_ = symbol.infer_shape(**{name: (SIZE, *shape) for name, shape in case.shapes.items()})
    random = np.random.RandomState(5)
    if case.params is not None:
        params = case.params()
    else:
        params = {
            f"arg:{name}": mx.nd.array(random.uniform(-1, 1, size))
            for name, size in zip(symbol.list_arguments(), sizes)
            if name not in case.shapes and "state" not in name
        }
    folder.mkdir(parents=True, exist_ok=True)
    symbol.save(str(folder / "model-symbol.json"))
    mx.nd.save(str(folder / "model-0000.params"), params or {"arg:unused": mx.nd.ones(1)})
    (folder / "model-shapes.json").write_text(json.dumps([{"name": "data", "shape": [SIZE, *case.row]}]))
    model = load_model(folder, output="all")
    return replace(model, inputs=tuple(Input(*each) for each in case.shapes.items()))


def by_module(model: Model, rows: dict[str, Any], batch_size: int) -> list[Any]:
    """The outputs that MXNet's Module gives, a batch after the other."""
    symbol = mx.sym.load_json(model.symbol)
    shapes = [(name, (batch_size, *values.shape[1:])) for name, values in rows.items()]
    module = mx.mod.Module(symbol, data_names=list(rows), label_names=None, context=mx.cpu())
    module.bind(for_training=False, data_shapes=shapes)
    saved = mx.nd.load_frombuffer(model.params)
    module.set_params({name[4:]: each for name, each in saved.items()}, {}, allow_missing=True, allow_extra=True)
    batches = []
    for first in range(0, SIZE, batch_size):
        data = [mx.nd.array(values[first : first + batch_size]) for values in rows.values()]
        module.forward(mx.io.DataBatch(data), is_train=False)
        batches.append([each.asnumpy() for each in module.get_outputs()])
    return [np.concatenate(each) for each in zip(*batches)]


def by_executor(model: Model, rows: dict[str, Any], batch_size: int, row_wise: bool) -> list[Any]:
    executor = MXNetExecutor(model, ("cpu", 0), batch_size, row_wise=row_wise)
    batches = []
    for first in range(0, SIZE, batch_size):
        for number, values in enumerate(rows.values()):
            rows_of(executor, number)[:] = values[first : first + batch_size].reshape(batch_size, -1)
        batches.append(predict_all(executor))
    return [np.concatenate(each) for each in zip(*batches)]


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_module(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = save(case, tmp_path)
    random = np.random.RandomState(3)
    rows = {each: random.randint(0, 8, (SIZE, *shape)).astype(np.float32) for each, shape in case.shapes.items()}
    for batch_size, row_wise in ((1, False), (2, True), (SIZE, True), (SIZE, False)):
        expected = by_module(model, rows, 1 if row_wise else batch_size)
        found = by_executor(model, rows, batch_size, row_wise)
        assert [each.dtype for each in found] == [each.dtype for each in expected]
        assert [each.shape for each in found] == [each.shape for each in expected]
        assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]
    # What they are is known without binding it.
    assert outputs_of(model, SIZE) == MXNetExecutor(model, ("cpu", 0), SIZE).outputs


def test_an_input_of_a_type_that_module_cannot_bind_is_converted(tmp_path: Path) -> None:
    case = Case(
        lambda: mx.sym.broadcast_add(var(), var("offset", shape=(1, 4), dtype="int32")),
        params=lambda: {"arg:offset": mx.nd.array([[1, 2, 3, 4]], dtype="int32")},
    )
    executor = MXNetExecutor(save(case, tmp_path), ("cpu", 0), 2)
    rows_of(executor)[:] = [[1, 1, 1, 1], [5, 6, 7, 8]]
    (found,) = predict_all(executor)
    assert (found.tolist(), found.dtype) == ([[2, 3, 4, 5], [6, 8, 10, 12]], np.int32)
    assert executor.inputs[0].memory.tolist() == [1, 1, 1, 1, 5, 6, 7, 8]


def test_a_weight_that_is_not_saved_is_an_error(tmp_path: Path) -> None:
    case = Case(lambda: dense(var(), name="layer"), params=lambda: {"arg:layer_bias": mx.nd.zeros((3,))})
    with pytest.raises(ModelError, match="the parameters lack layer_weight") as caught:
        MXNetExecutor(save(case, tmp_path), ("cpu", 0), 1)
    assert caught.value.code == "params_missing"


def test_the_input_must_be_one_of_the_graph(tmp_path: Path) -> None:
    model = replace(save(CASES["uint8 input"], tmp_path), inputs=(Input("pixels", (4,)),))
    with pytest.raises(ModelError, match="the output does not depend on the input 'pixels'"):
        MXNetExecutor(model, ("cpu", 0), 1)
