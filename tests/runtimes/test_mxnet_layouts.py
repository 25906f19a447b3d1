"""A softmax over the last axis of a convolution: in a process of its own, since MXNet ends that where it goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.runtimes.mxnet.layouts import make_plain
from tests import networks
from tests.networks import mx

PREDICT = """
import sys
import numpy as np
import fastinfer
rows = np.load(sys.argv[1])
predictor = fastinfer.Predictor(fastinfer.load_model(sys.argv[2]), exact=sys.argv[3] == "exact")
np.save(sys.argv[4], predictor.predict(rows))
"""


def attention(layer: Any, softmax: str) -> Any:
    return mx.sym.broadcast_mul(getattr(mx.sym, softmax)(layer, axis=-1), layer)


@pytest.mark.parametrize("mode", ["default", "exact"])
@pytest.mark.parametrize("softmax", ["softmax", "log_softmax"])
def test_a_softmax_over_places_beside_another_reader_is_computed(softmax: str, mode: str, tmp_path: Path) -> None:
    layer = mx.sym.Convolution(mx.sym.var("data"), num_filter=8, kernel=(1, 1), no_bias=True, name="layer")
    saved = {"arg:layer_weight": mx.nd.array(np.random.RandomState(1).uniform(-1, 1, (8, 3, 1, 1)))}
    networks.write(tmp_path / "model", attention(layer, softmax), {"data": (3, 4, 4)}, saved)
    rows = np.random.RandomState(2).uniform(-2, 2, (3, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", PREDICT, tmp_path / "rows.npy", tmp_path / "model", mode, tmp_path / "found.npy"]
    subprocess.run(list(map(str, command)), check=True)
    values = np.einsum("oc,nchw->nohw", saved["arg:layer_weight"].asnumpy()[:, :, 0, 0], rows)
    parts = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    expected = (np.log(parts) if softmax == "log_softmax" else parts) * values
    np.testing.assert_allclose(np.load(tmp_path / "found.npy").reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "axis", "is_changed"),
    [
        (lambda data: mx.sym.Convolution(data, num_filter=8, kernel=(1, 1)), -1, True),
        (lambda data: mx.sym.Activation(mx.sym.Pooling(data, kernel=(2, 2)) + data, act_type="relu"), 3, True),
        (lambda data: mx.sym.BlockGrad(mx.sym.cos(mx.sym.Convolution(data, num_filter=8, kernel=(1, 1)))), 2, True),
        (lambda data: mx.sym.Convolution(data, num_filter=8, kernel=(1, 1)), 1, False),
        (lambda data: mx.sym.cos(data), -1, False),
        (
            lambda data: mx.sym.FullyConnected(mx.sym.Convolution(data, num_filter=8, kernel=(1, 1)), num_hidden=3),
            -1,
            False,
        ),
        (lambda data: mx.sym.flatten(mx.sym.Convolution(data, num_filter=8, kernel=(1, 1))), -1, False),
    ],
)
def test_only_what_follows_a_convolution_is_changed(layer: Any, axis: int, is_changed: bool) -> None:
    text = mx.sym.softmax(layer(mx.sym.var("data")), axis=axis, name="softmax").tojson()
    found = make_plain(text)
    assert (found != text) == is_changed
    assert any(node["op"] == "slice_axis" for node in json.loads(found)["nodes"]) == is_changed
    assert mx.sym.load_json(found).list_outputs() == ["softmax_output"]
