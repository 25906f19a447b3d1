"""Dense layers of few rows with the bits of many: on the rows several times over, or by other operators."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import machine
from fastinfer.models.module import find_model, load_model
from fastinfer.options import CPU_ISA_VARIABLE, Options
from fastinfer.runtimes import invariance, load_runtime
from fastinfer.runtimes.base import DenseLayers
from fastinfer.runtimes.batch_size import bind_ladder, choose_batching
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.mxnet.dense_rows import chains
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.libmxnet import blas
from fastinfer.runtimes.mxnet.symbol import Symbol
from fastinfer.runtimes.views import predict_all, predict_rows, rows_of
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run

# Processors for whose code OpenBLAS does not add in the same step as it multiplies: those before AVX2.
UNFUSED = {"Prescott", "Core2", "Nehalem", "Sandybridge"}


def steps() -> tuple[Any, tuple[int, ...]]:
    """A dense layer of each step, and one behind another operator; 3 rows a record."""
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, flatten=False)
    layer = mx.sym.Activation(mx.sym.Reshape(layer, shape=(-1, 4)), act_type="tanh")
    return mx.sym.FullyConnected(layer, num_hidden=2), (3, 5)


def wide() -> tuple[Any, tuple[int, ...]]:
    """A layer of several chains, with and without bias, one whose weights two layers share, and a small one."""
    layer = mx.sym.Flatten(mx.sym.var("data"))
    layer = mx.sym.FullyConnected(layer, num_hidden=400, name="first", no_bias=True)
    weight, bias = mx.sym.var("w"), mx.sym.var("b")
    for number in range(2):
        layer = mx.sym.Activation(
            mx.sym.FullyConnected(layer, weight, bias, num_hidden=400, name=f"shared_{number}"), act_type="relu"
        )
    # Names that the new parameters of the layers before would have.
    weight, bias = mx.sym.var("w_0"), mx.sym.var("b_row")
    layer = mx.sym.FullyConnected(layer, weight, bias, num_hidden=32, name="few")
    layer = mx.sym.Activation(layer, act_type="tanh")
    return mx.sym.FullyConnected(layer, num_hidden=3, name="last"), (2, 5, 80)


def odd() -> tuple[Any, tuple[int, ...]]:
    """Layers that fill no block of filters, identities between them, and one unit at the end."""
    layer = mx.sym.Flatten(mx.sym.var("data"))
    for number, units in enumerate((100, 300, 20)):
        layer = mx.sym.FullyConnected(layer, num_hidden=units, name=f"layer_{number}")
        layer = mx.sym.Activation(layer, act_type=("relu", "tanh", "relu")[number])
        layer = mx.sym.Flatten(mx.sym.Dropout(layer, p=0.5))
    layer = mx.sym.FullyConnected(layer, num_hidden=1, name="last")
    return mx.sym.LogisticRegressionOutput(layer, name="yes"), (3, 470)


@pytest.mark.parametrize(
    "dense", [DenseLayers(7), DenseLayers(7, chained=True), DenseLayers(7, chained=True, products=False)]
)
@pytest.mark.parametrize("network", [networks.convolution, networks.mlp, steps, wide, odd])
def test_other_ways_of_dense_layers_change_last_bits_at_most(dense: DenseLayers, network: Any, tmp_path: Path) -> None:
    model = load_model(networks.save(network, tmp_path))
    rows = probe_rows(4, model.row_values)
    plain = MXNetExecutor(model, ("cpu", 0), 2)
    more = MXNetExecutor(model, ("cpu", 0), 2, dense=dense)
    assert (more.batch_size, more.outputs, more.gives_a_row_each) == (2, plain.outputs, True)
    np.testing.assert_allclose(run(more, rows), run(plain, rows), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("asked", [None, 16])
def test_a_row_of_a_convolution_net_costs_one_row_with_the_bits_of_a_batch(
    asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariance, "WORTH", float("inf"))  # whatever else the machine does now

    def network() -> tuple[Any, tuple[int, ...]]:
        layer = mx.sym.var("data")
        for filters in (24, 32):
            layer = mx.sym.Activation(
                mx.sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), num_filter=filters), act_type="relu"
            )
        layer = mx.sym.Pooling(layer, kernel=(8, 8), stride=(8, 8), pool_type="avg")
        return mx.sym.softmax(mx.sym.FullyConnected(layer, num_hidden=5)), (3, 32, 32)

    model, runtime = load_model(networks.save(network, tmp_path)), load_runtime()
    batching = choose_batching(runtime, model, Options(batch_size=asked))
    ladder = bind_ladder(runtime, model, ("cpu", 0), batching)
    largest = ladder._bind(batching.batch_size)
    rows = np.random.RandomState(0).uniform(0, 255, (largest.batch_size, model.row_values)).astype(np.float32)
    rows_of(largest)[:] = rows
    together = predict_rows(largest).copy()
    # On any CPU: a single row, by whichever graph the probe has found, and each graph by itself.
    assert batching.smallest == 1
    for size in batching.smaller:
        executor = ladder._bind(size)
        rows_of(executor)[:] = rows[-size:]
        assert predict_rows(executor).tobytes() == together[-size:].tobytes()


@pytest.mark.parametrize("network", [wide, odd])
def test_a_row_of_dense_layers_has_the_bits_of_a_batch(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariance, "WORTH", float("inf"))
    model, runtime = load_model(networks.save(network, tmp_path)), load_runtime()
    batching = choose_batching(runtime, model, Options(batch_size=48))
    if "avx512f" in machine.cpu_features() and CPU_ISA_VARIABLE not in os.environ:
        assert batching.smallest == 1
        assert batching.dense == DenseLayers(16, chained=True, products=blas() not in UNFUSED)
    rows = probe_rows(48, model.row_values)
    rows[7] *= 1e-40  # below the smallest normal number
    rows[8] *= 1e34  # sums are infinite
    rows[9, 3], rows[10, 4], rows[11, 5] = np.inf, np.nan, -np.inf
    ladder = bind_ladder(runtime, model, ("cpu", 0), batching)
    largest = ladder._bind(48)
    rows_of(largest)[:] = rows
    together = predict_rows(largest).copy()
    for size in batching.smaller:
        executor = ladder._bind(size)
        for first in range(0, 48 - size, size):
            rows_of(executor)[:] = rows[first : first + size]
            np.testing.assert_array_equal(predict_rows(executor), together[first : first + size])


@pytest.mark.parametrize("processor", ["Haswell", "Prescott"])
def test_a_row_has_the_bits_of_a_batch_by_whichever_code_openblas_takes(processor: str) -> None:
    if not {"avx2", "fma"} <= set(machine.cpu_features()):
        processor = "Prescott"
    tests = f"{__file__}::{test_a_row_of_dense_layers_has_the_bits_of_a_batch.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", tests],
        env={**os.environ, "OPENBLAS_CORETYPE": processor},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout


def test_layers_that_share_inputs_have_the_bits_of_a_batch_also_when_they_are_bound_again(tmp_path: Path) -> None:
    left, right = mx.sym.var("left"), mx.sym.var("right")
    # The same input, cut in two ways, and as it is; one of a few values.
    layers = [mx.sym.FullyConnected(left, num_hidden=units, name=f"left_{units}") for units in (64, 128)]
    few = mx.sym.FullyConnected(right, num_hidden=64, name="few")
    both = mx.sym.Concat(*layers, few, layers[0] + few, mx.sym.Flatten(left), dim=1)
    symbol = mx.sym.Group([mx.sym.FullyConnected(mx.sym.relu(both), num_hidden=10, name="last"), both])
    folder = networks.write(tmp_path / "model", symbol, {"left": (28, 28), "right": (5,)})
    model = load_model(folder, output="all")
    by_chains = DenseLayers(16, chained=True, products=blas() not in UNFUSED)
    many, lone = (MXNetExecutor(model, ("cpu", 0), size, dense=by_chains) for size in (16, 1))
    rows = [probe_rows(16, math.prod(each.shape)) for each in many.inputs]
    for number, each in enumerate(rows):
        rows_of(many, number)[:] = each
    together = predict_all(many)
    for row in range(16):
        if row % 5 == 0:
            lone._bound = None  # as after a pass that has failed
        for number, each in enumerate(rows):
            rows_of(lone, number)[:] = each[row]
        for alone, expected in zip(predict_all(lone), together):
            np.testing.assert_allclose(alone[0], expected[row], rtol=1e-4, atol=1e-3)
            if "avx512f" in machine.cpu_features() and CPU_ISA_VARIABLE not in os.environ:
                assert alone[0].tobytes() == expected[row].tobytes()


def test_a_lone_row_takes_few_operators() -> None:
    """Each costs more than it computes. MXNet makes one of a convolution, the sum before it, and the activation behind it."""
    model = load_model(find_model(None)[0])
    executor = MXNetExecutor(model, ("cpu", 0), 1, dense=DenseLayers(16, chained=True))
    nodes = json.loads(Symbol.load(executor._graph.text).to_json())["nodes"]
    chains = ["Convolution", *["Convolution", "elemwise_add"] * 3]  # of 384, 384 and 16 values, and the bias
    assert [node["op"] for node in nodes if node["op"] != "null"] == [
        *(*chains, "Activation"),
        *("Convolution", "Activation"),
        *("Reshape", "dot", "broadcast_add", "softmax"),
    ]
    views = [node["name"] for node in nodes if node["name"].startswith("data")]
    assert views == ["data_0", "data_384", "data_768"]


@pytest.mark.parametrize(
    ("units", "values", "expected"),
    [
        (64, 384, [384]),
        (128, 400, [200, 200]),
        (128, 501, [251, 250]),
        (128, 784, [384, 384, 16]),
        (64, 784, [384, 200, 200]),
        (96, 2048, [384, 384, 384, 384, 256, 256]),
        (112, 1152, [384, 384, 384]),
        (100, 784, [384, 200, 200]),
        (700, 1199, [384, 384, 384, 47]),
        (700, 1200, [384, 384, 216, 216]),
        (700, 1280, [384, 384, 384, 128]),
        (1199, 1000, [384, 384, 232]),
        (1200, 1000, [384, 308, 308]),
    ],
)
def test_a_layer_is_divided_into_chains_as_onednn_divides_it(units: int, values: int, expected: list[int]) -> None:
    found = list(chains(units, values))
    assert [stop - start for start, stop in found] == expected
    assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
