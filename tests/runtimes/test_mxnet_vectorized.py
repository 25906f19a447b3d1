"""Activations are computed by oneDNN in the default mode, and as the container computes them with exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.models.module import Model, load_model
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.symbol import Symbol
from fastinfer.runtimes.mxnet.vectorized import vectorize
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run


def gates(data: Any) -> Any:
    return mx.sym.sigmoid(data, name="gate") * mx.sym.tanh(data, name="change")


def test_the_graph_alone_decides_and_keeps_its_names() -> None:
    text = gates(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)).tojson()
    named = ["gate_output", "change_output"]
    found = vectorize(text, lambda: named)
    kinds = {node["name"]: node.get("attrs") for node in json.loads(found)["nodes"] if node["op"] == "Activation"}
    assert kinds == {"gate": {"act_type": "sigmoid"}, "change": {"act_type": "tanh"}}
    before, after = Symbol.load(text), Symbol.load(found)
    assert (after.arguments(), after.outputs()) == (before.arguments(), before.outputs())
    assert vectorize(found, lambda: named) == found
    assert vectorize(text, list) is text
    plain = mx.sym.exp(mx.sym.var("data")).tojson()
    assert vectorize(plain, lambda: pytest.fail("the types do not matter")) is plain


def predictions(model: Model, rows: Any, *, row_wise: bool) -> Any:
    return run(MXNetExecutor(model, ("cpu", 0), 1, row_wise=row_wise), rows)


def test_values_differ_in_last_bits_alone_whatever_they_are(tmp_path: Path) -> None:
    data = mx.sym.var("data")
    symbol = mx.sym.Concat(mx.sym.sigmoid(data), mx.sym.tanh(data), dim=1)
    model = load_model(networks.write(tmp_path, symbol, {"data": (8,)}, {}))
    special = [0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -3e38, 3e38]
    rows = np.array([special, np.linspace(-100, 100, 8), np.geomspace(1e-30, 30, 8), -np.geomspace(1e-30, 30, 8)], "f")
    default, exact = (predictions(model, rows, row_wise=row_wise) for row_wise in (False, True))
    np.testing.assert_allclose(default, exact, rtol=2e-6, atol=1e-7)
    by_mxnet = [
        mx.nd.concat(mx.nd.sigmoid(row), mx.nd.tanh(row), dim=1).asnumpy() for row in map(mx.nd.array, rows[:, None])
    ]
    assert exact.tobytes() == np.concatenate(by_mxnet).tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8"])
def test_values_of_other_types_are_computed_as_by_the_container(dtype: str, tmp_path: Path) -> None:
    whole = mx.sym.Cast(mx.sym.var("data"), dtype=dtype)
    symbol = mx.sym.Cast(mx.sym.sigmoid(whole) + mx.sym.tanh(whole), dtype="float32")
    model = load_model(networks.write(tmp_path, symbol, {"data": (4,)}, {}))
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    default, exact = (predictions(model, rows, row_wise=row_wise) for row_wise in (False, True))
    assert default.tobytes() == exact.tobytes()
