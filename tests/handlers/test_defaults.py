"""The container's default hooks, one by one. test_hooks.py compares them with the container's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import Predictor
from fastinfer.errors import InputError, ModelError
from fastinfer.handlers.defaults import (
    block_input,
    block_output,
    block_predict,
    is_module,
    load_module,
    module_input,
    module_output,
    module_predict,
)
from fastinfer.models.module import load_model
from fastinfer.runtimes.mxnet.library import load_mxnet
from tests import networks
from tests.conftest import csv
from tests.networks import mx

CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"


def test_a_saved_model_is_a_module_of_one_row_that_answers_every_row(mlp: Path, digits: np.ndarray) -> None:
    module = load_module(load_model(mlp))
    assert is_module(module, mlp)
    assert module.data_shapes[0].shape == (1, 1, 28, 28)
    predictions = module_predict(module_input(csv(digits[:5]), CSV, module), module)
    assert module_output(predictions, JSON) == Predictor(mlp, exact=True).answer(csv(digits[:5]))


def test_a_block_takes_and_gives_what_needs_no_shape() -> None:
    mxnet = load_mxnet()
    block = mxnet.gluon.nn.Dense(1, in_units=2)
    block.initialize(mxnet.init.One())
    assert not is_module(block, Path("x.py"))
    predictions = block_predict(block_input(b"[[1, 2], [3, 4]]", JSON), block)
    assert block_output(predictions, f"{CSV},{JSON}") == (b"[[3.0], [7.0]]", JSON)
    assert module_output(predictions, CSV) == (b"3.0\n7.0\n", CSV)
    with pytest.raises(InputError) as refused:
        block_input(b"1,2\n", CSV)
    assert refused.value.code == "unsupported_content_type"
    with pytest.raises(InputError) as refused:
        block_output(predictions, CSV)
    assert refused.value.code == "unsupported_accept"


def test_predictions_that_are_not_float32_are_printed_as_they_are() -> None:
    labels = load_mxnet().nd.array([3, 1], dtype="int64")
    assert module_output(labels, JSON) == (b"[3, 1]", JSON)
    assert module_output(labels, CSV) == (b"3\n1\n", CSV)


def test_a_model_of_another_kind_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"^x\.py: expected a Module or a Gluon block from model_fn, found int"
    ) as caught:
        is_module(1, Path("x.py"))
    assert caught.value.code == "bad_program"


def test_a_model_that_cannot_be_loaded_is_the_models_fault(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file in it") as caught:
        load_module(load_model(tmp_path))
    assert caught.value.code == "model_incomplete"
    for file in mlp.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model-shapes.json").write_text(json.dumps([{"shape": [1]}]))
    with pytest.raises(ModelError, match=r'expected \[{"name": "data"'):
        load_module(load_model(tmp_path))
    (tmp_path / "model-shapes.json").write_bytes((mlp / "model-shapes.json").read_bytes().ljust((1 << 20) + 1))
    with pytest.raises(ModelError, match="more than 1,048,576 bytes"):
        load_module(load_model(tmp_path))
    (tmp_path / "model-shapes.json").write_text(json.dumps([{"name": "data", "shape": [1, 3]}]))
    with pytest.raises(ModelError, match="MXNet cannot load it"):
        load_module(load_model(tmp_path))


def test_a_module_whose_values_may_be_wrong_is_said_to_be_one(tmp_path: Path) -> None:
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=8, name="layer")
    gated = mx.sym.concat(mx.sym.softmax(layer), mx.sym.Activation(layer, act_type="relu"), dim=1)
    with pytest.warns(
        RuntimeWarning, match="one operator of 'layer' and what follows it, although something else reads 'layer'"
    ):
        load_module(load_model(networks.save(lambda: (gated, (4,)), tmp_path)))


def test_a_module_is_made_of_what_was_checked(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mxnet = load_mxnet()
    model = load_model(mlp)
    graphs: list[str] = []
    params: list[bytes] = []
    load_json, load_frombuffer = mxnet.sym.load_json, mxnet.nd.load_frombuffer

    def note_graph(text: str) -> Any:
        graphs.append(text)
        return load_json(text)

    def note_params(content: bytes) -> Any:
        params.append(content)
        return load_frombuffer(content)

    monkeypatch.setattr(mxnet.sym, "load_json", note_graph)
    monkeypatch.setattr(mxnet.nd, "load_frombuffer", note_params)
    load_module(load_model(mlp))
    assert graphs[0] == model.graph.text
    assert params == [model.params]


def test_a_module_without_parameters_answers(tmp_path: Path) -> None:
    folder = networks.save(lambda: (networks.mx.sym.relu(networks.mx.sym.var("data")), (2,)), tmp_path)
    module = load_module(load_model(folder))
    predictions = module_predict(module_input(b"1,-2\n-3,4\n", CSV, module), module)
    assert module_output(predictions, JSON) == (b"[[1.0, 0.0], [0.0, 4.0]]", JSON)
    assert Predictor(folder).answer(b"1,-2\n-3,4\n", CSV)[0] == b"[[1.0, 0.0], [0.0, 4.0]]"


def test_a_module_whose_reshape_would_go_past_its_input_is_refused(tmp_path: Path) -> None:
    symbol = networks.mx.sym
    folder = networks.save(lambda: (symbol.Flatten(symbol.var("data")), (4,)), tmp_path)
    symbol.Reshape(symbol.var("data"), shape=(1, 8)).save(str(folder / "model-symbol.json"))
    with pytest.raises(ModelError, match="cannot reshape"):
        load_module(load_model(folder))
