"""Dense layers by themselves: what a bias hides of their last bits, the probe sees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import machine
from fastinfer.models.module import Model, load_model
from fastinfer.options import CPU_ISA_VARIABLE, Options
from fastinfer.runtimes import invariance, load_runtime
from fastinfer.runtimes.batch_size import bind_ladder, choose_batching
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.layers_alone import layers_alone
from fastinfer.runtimes.views import predict_all, predict_rows, rows_of
from tests import networks
from tests.networks import mx


def hidden() -> tuple[Any, tuple[int, ...]]:
    return mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=10, name="fc"), (16,)


@pytest.fixture(scope="module")
def small_sums(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Sums of about a thousandth of a bias, and less: of ten thousand values one has other last bits at other sizes."""
    folder = networks.save(hidden, tmp_path_factory.mktemp("small") / "model")
    random = np.random.RandomState(19)

    def scale(saved: dict[str, Any]) -> None:
        for name, by in {"arg:fc_weight": 1e-6, "arg:fc_bias": 100.0}.items():
            saved[name] = mx.nd.array(random.uniform(-by, by, saved[name].shape))

    networks.edit(folder, scale)
    return load_model(folder)


def test_a_bias_does_not_hide_other_sums_from_the_probe(small_sums: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariance, "WORTH", float("inf"))
    model, runtime = small_sums, load_runtime()
    sizes = [1, 2, 4, 12]

    def plain_sizes() -> list[int]:
        """Those whose layers are computed as they are, and found to have the bits of a batch."""
        batching = choose_batching(runtime, model, Options(batch_size=144))
        return [size for size in sizes if size in batching.smaller and size >= batching.dense.rows]

    rows = np.random.RandomState(1).uniform(-100, 100, (144 * 300, 16)).astype(np.float32)

    def answers(batch_size: int) -> Any:
        executor = MXNetExecutor(model, ("cpu", 0), batch_size)
        found = []
        for first in range(0, len(rows), batch_size):
            rows_of(executor)[:] = rows[first : first + batch_size]
            found.append(predict_rows(executor).copy())
        return np.concatenate(found)

    expected = answers(144)
    others = [size for size in sizes if answers(size).tobytes() != expected.tobytes()]  # a matter of the CPU
    assert not set(plain_sizes()) & set(others)
    with monkeypatch.context() as patch:
        patch.setattr(type(runtime), "layers_alone", lambda *_: (None, False))
        patch.setattr("fastinfer.runtimes.probe_cache.PROBE", -1)
        missed = set(plain_sizes()) & set(others)
    if "avx512f" in machine.cpu_features() and CPU_ISA_VARIABLE not in os.environ:
        assert missed, "they show by themselves, so that this test shows nothing"
    # What is used instead has the bits.
    batching = choose_batching(runtime, model, Options(batch_size=144))
    ladder = bind_ladder(runtime, model, ("cpu", 0), batching)
    for size in batching.smaller:
        executor = ladder._bind(size)
        for first in range(0, 1440, size):
            rows_of(executor)[:] = rows[first : first + size]
            assert predict_rows(executor).tobytes() == expected[first : first + size].tobytes()


def test_each_layer_is_taken_out_once_with_its_rows(tmp_path: Path) -> None:
    def network() -> tuple[Any, tuple[int, ...]]:
        step = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, flatten=False, name="each")
        step = mx.sym.Activation(mx.sym.Reshape(step, shape=(-1, 4)), act_type="relu")
        weight, bias = mx.sym.var("w"), mx.sym.var("b")
        for number in range(2):
            step = mx.sym.FullyConnected(step, weight, bias, num_hidden=4, name=f"shared_{number}")
        flat = mx.sym.Reshape(step, shape=(-1, 12))
        return mx.sym.FullyConnected(flat, num_hidden=2, name="last"), (3, 5)

    model = load_model(networks.save(network, tmp_path))
    alone, are_all = layers_alone(model)
    assert alone is not None
    assert are_all
    assert [each.shape for each in alone.inputs] == [(3, 5), (3, 4), (12,)]
    executor = MXNetExecutor(alone, ("cpu", 0), 2)
    assert [(each.rows, each.shape) for each in executor.outputs] == [(1, (3, 4)), (3, (4,)), (1, (2,))]
    for number in range(3):
        rows_of(executor, number)[:] = 1
    weights = {name: array.asnumpy() for name, array in mx.nd.load(str(tmp_path / "model-0000.params")).items()}
    for found, name in zip(predict_all(executor), ("each_weight", "w", "last_weight")):
        sums = weights[f"arg:{name}"].sum(axis=1)
        np.testing.assert_allclose(found.reshape(-1, len(sums)), np.tile(sums, (found.size // len(sums), 1)), rtol=1e-5)


def test_layers_whose_weights_are_computed_are_not_taken_out(tmp_path: Path) -> None:
    def network() -> tuple[Any, tuple[int, ...]]:
        weight = mx.sym.var("w", shape=(3, 4))
        return mx.sym.FullyConnected(mx.sym.var("data"), weight * 2, num_hidden=3, no_bias=True), (4,)

    assert layers_alone(load_model(networks.save(network, tmp_path))) == (None, False)
