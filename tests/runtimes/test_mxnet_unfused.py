"""Activations behind convolutions of oneDNN's gemm kind are computed apart, and everything else stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.symbol import Symbol
from fastinfer.runtimes.mxnet.unfused import take_all_apart, take_slow_apart
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run


def convolution(filters: int, groups: int = 1, data: Any = None) -> Any:
    data = mx.sym.var("data") if data is None else data
    return mx.sym.Convolution(data, num_filter=filters, num_group=groups, kernel=(3, 3), pad=(1, 1))


def tanh(data: Any) -> Any:
    return mx.sym.Activation(data, act_type="tanh")


def residual() -> Any:
    first = convolution(20)
    return mx.sym.Activation(mx.sym.BatchNorm(convolution(20, data=first)) + first, act_type="relu")


APART: dict[str, tuple[Callable[[], Any], int]] = {
    "20 filters": (lambda: tanh(convolution(20)), 1),
    "normalized between": (lambda: tanh(mx.sym.BatchNorm(convolution(10))), 1),
    "a sum between": (residual, 1),
    "4 filters a group": (lambda: tanh(convolution(16, 4)), 1),
    "depthwise, 12 filters": (lambda: tanh(convolution(12, 12)), 1),
    "leaky": (lambda: mx.sym.LeakyReLU(convolution(6), act_type="leaky"), 1),
    "cut off": (lambda: mx.sym.clip(convolution(6), a_min=0, a_max=6), 1),
    "two of three": (lambda: tanh(convolution(50, data=tanh(convolution(32, data=tanh(convolution(20)))))), 2),
    "24 filters": (lambda: tanh(convolution(24)), 0),
    "depthwise, 16 filters": (lambda: tanh(convolution(16, 16)), 0),
    "an operator between": (lambda: tanh(mx.sym.exp(convolution(20))), 0),
    "no activation": (lambda: mx.sym.exp(convolution(20)), 0),
    "no convolution": (lambda: tanh(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=20)), 0),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_taken_apart_is_decided_by_the_graph(name: str) -> None:
    make, count = APART[name]
    text = make().tojson()
    found = take_slow_apart(text)
    assert sum(node["op"] == "BlockGrad" for node in json.loads(found)["nodes"]) == count
    assert (found == text) == (count == 0)
    before, after = Symbol.load(text), Symbol.load(found)
    assert (after.arguments(), after.auxiliary()) == (before.arguments(), before.auxiliary())
    assert after.outputs() == before.outputs()
    for node in json.loads(found)["nodes"]:
        if node["op"] == "BlockGrad":
            assert node["name"].endswith("_apart0")


def lenet() -> tuple[Any, tuple[int, ...]]:
    layer = mx.sym.Pooling(tanh(convolution(20)), kernel=(2, 2), stride=(2, 2), pool_type="max")
    return mx.sym.softmax(mx.sym.FullyConnected(tanh(convolution(50, data=layer)), num_hidden=10)), (1, 12, 12)


def test_the_default_mode_computes_as_without_fusion_and_exact_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(networks.save(lenet, tmp_path))
    rows = probe_rows(6, model.row_values)
    default, exact = (
        run(MXNetExecutor(model, ("cpu", 0), 1, row_wise=row_wise), rows).tobytes() for row_wise in (False, True)
    )
    monkeypatch.setenv("MXNET_SUBGRAPH_BACKEND", "NONE")  # MXNet reads it when it binds
    apart = run(MXNetExecutor(model, ("cpu", 0), 1, row_wise=True), rows).tobytes()
    assert default == apart != exact


def test_a_graph_without_such_convolutions_has_one_set_of_bits(mlp: Path) -> None:
    model = load_model(mlp)
    rows = probe_rows(6, model.row_values)
    assert len({run(MXNetExecutor(model, ("cpu", 0), 1, row_wise=mode), rows).tobytes() for mode in (0, 1)}) == 1  # type: ignore[arg-type]


def shortcut_first() -> tuple[Any, tuple[int, ...]]:
    """A residual network of pre-activations whose sums have the shortcut first: MXNet fails to bind what it makes of it."""
    layer = convolution(16)
    for _ in range(2):
        inner = mx.sym.Activation(mx.sym.BatchNorm(layer, fix_gamma=False), act_type="relu")
        inner = mx.sym.Activation(mx.sym.BatchNorm(convolution(16, data=inner)), act_type="relu")
        layer = layer + convolution(16, data=inner)
    layer = mx.sym.Activation(mx.sym.FullyConnected(layer, num_hidden=8), act_type="relu")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(layer, num_hidden=5), name="softmax"), (3, 8, 8)


def doubled() -> tuple[Any, tuple[int, ...]]:
    """What a convolution gives, added to itself: MXNet mixes up the inputs of what it makes of it."""
    layer = convolution(16)
    return mx.sym.FullyConnected(layer + layer, num_hidden=3), (3, 8, 8)


@pytest.mark.parametrize(("network", "words"), [(shortcut_first, "in_arg_ctx_map"), (doubled, "InferType pass")])
def test_what_mxnet_cannot_fuse_is_computed_as_without_fusion(
    network: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(networks.save(network, tmp_path))
    rows = probe_rows(6, model.row_values)
    default = run(MXNetExecutor(model, ("cpu", 0), 1), rows)
    with pytest.warns(RuntimeWarning, match="the bytes of a container whose MXNET_SUBGRAPH_BACKEND is NONE"):
        executors = [MXNetExecutor(model, ("cpu", 0), size, row_wise=True) for size in (1, 3)]
    exact = [run(executor, rows).tobytes() for executor in executors]
    shape = [("data", (1, *model.row_shape))]
    module = mx.mod.Module(mx.sym.load_json(model.symbol), label_names=None, context=mx.cpu())
    with pytest.raises(RuntimeError, match=words):  # in the container as well
        module.bind(shape, for_training=False)
    monkeypatch.setenv("MXNET_SUBGRAPH_BACKEND", "NONE")
    module = mx.mod.Module(mx.sym.load_json(model.symbol), label_names=None, context=mx.cpu())
    module.bind(shape, for_training=False)
    saved = mx.nd.load_frombuffer(model.params)
    kinds = ({name[4:]: saved[name] for name in saved if name.startswith(kind)} for kind in ("arg:", "aux:"))
    module.set_params(*kinds, allow_missing=True)
    expected = b""
    for row in rows.reshape(6, 1, *model.row_shape):
        module.forward(mx.io.DataBatch([mx.nd.array(row)]), is_train=False)
        expected += module.get_outputs()[0].asnumpy().tobytes()
    assert exact == [expected] * 2
    assert default.tobytes() == expected


def test_all_is_apart_only_where_something_was_fused() -> None:
    text = shortcut_first()[0].tojson()
    found = take_all_apart(text)
    apart = [node for node in json.loads(found)["nodes"] if node["op"] == "BlockGrad"]
    assert len(apart) > 10
    assert take_all_apart(take_all_apart(text)) == found
    plain = mx.sym.exp(mx.sym.var("data")).tojson()
    assert take_all_apart(plain) == plain
