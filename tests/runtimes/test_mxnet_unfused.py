"""Activations behind convolutions of oneDNN's gemm kind are computed apart, and everything else stays as it is."""

from __future__ import annotations

import functools
import json
import random
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.symbol import Symbol
from fastinfer.runtimes.mxnet.unfused import take_all_apart, take_slow_apart
from fastinfer.runtimes.views import rows_of
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run

RANDOM_GRAPHS = 300


@functools.cache
def source() -> Any:
    """The input, which all layers of a graph share."""
    return mx.sym.var("data")


def convolution(filters: int, groups: int = 1, data: Any = None) -> Any:
    data = source() if data is None else data
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
def test_what_mxnet_cannot_fuse_is_computed_all_the_same(
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
    np.testing.assert_allclose(default.reshape(-1), np.frombuffer(expected, np.float32), rtol=1e-4, atol=1e-6)


def test_all_is_apart_only_where_something_was_fused() -> None:
    text = shortcut_first()[0].tojson()
    found = take_all_apart(text)
    apart = [node for node in json.loads(found)["nodes"] if node["op"] == "BlockGrad"]
    assert len(apart) > 10
    assert take_all_apart(take_all_apart(text)) == found
    plain = mx.sym.exp(mx.sym.var("data")).tojson()
    assert take_all_apart(plain) == plain


def dense(data: Any = None, name: str | None = "dense") -> Any:
    return mx.sym.FullyConnected(source() if data is None else data, num_hidden=8, name=name)


SHARED: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "gated": (lambda layer: mx.sym.tanh(layer) * mx.sym.sigmoid(layer), dense),
    "swish and another": (lambda layer: mx.sym.concat(layer * mx.sym.sigmoid(layer), mx.sym.tanh(layer), dim=1), dense),
    "an output too": (lambda layer: mx.sym.Group([layer, mx.sym.sigmoid(layer)]), dense),
    "after another": (lambda layer: mx.sym.concat(mx.sym.softmax(layer), tanh(layer), dim=1), dense),
    "three": (lambda layer: mx.sym.concat(tanh(layer), mx.sym.exp(layer), mx.sym.sin(layer), dim=1), dense),
    "gated convolution": (lambda layer: mx.sym.tanh(layer) * mx.sym.sigmoid(layer), lambda: convolution(8)),
    "normalized": (
        lambda layer: mx.sym.Group([mx.sym.BatchNorm(layer, fix_gamma=False), layer]),
        lambda: convolution(8),
    ),
    "a sum": (lambda layer: mx.sym.Group([layer, source() + layer]), lambda: convolution(8)),
    "behind a sum": (lambda layer: mx.sym.Group([tanh(layer), layer]), lambda: convolution(8) + source()),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_layer_that_several_operators_read_is_apart_from_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, make = SHARED[name]
    row_shape = (8,) if make is dense else (8, 6, 6)
    folder = networks.save(lambda: (read(make()), row_shape), tmp_path)
    assert_as_without_fusion(folder, monkeypatch)


def test_layers_of_random_graphs_are_apart_where_they_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(RANDOM_GRAPHS):
        assert_as_without_fusion(
            networks.save(functools.partial(random_graph, random.Random(seed)), tmp_path / str(seed)), monkeypatch
        )


def assert_as_without_fusion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(folder, output="all")
    rows = probe_rows(4, model.row_values)

    def values(row_wise: bool) -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            executor = MXNetExecutor(model, ("cpu", 0), 4, row_wise=row_wise)
        rows_of(executor)[:] = rows
        return [np.frombuffer(each, np.float32) for each in executor.forward()]

    found = [values(row_wise) for row_wise in (False, True)]
    with monkeypatch.context() as patch:
        patch.setenv("MXNET_SUBGRAPH_BACKEND", "NONE")
        expected = values(False)
    for each in found:
        for one, other in zip(each, expected):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4, err_msg=str(folder))


def random_graph(random_: random.Random) -> tuple[Any, tuple[int, ...]]:
    """Layers and what MXNet fuses with them, where any may read any, and some are outputs."""
    is_dense = random_.random() < 0.4
    known = [source()]

    def earlier() -> Any:
        return random_.choice(known[1:] or known)

    make: list[Callable[[Any], Any]] = [
        *[functools.partial(dense, name=None) if is_dense else lambda data: convolution(8, data=data)] * 3,
        lambda data: mx.sym.BatchNorm(data, fix_gamma=False),
        *(functools.partial(mx.sym.Activation, act_type=kind) for kind in ("relu", "tanh", "sigmoid")),
        *(functools.partial(mx.sym.LeakyReLU, act_type=kind) for kind in ("leaky", "gelu")),
        *(mx.sym.tanh, mx.sym.sigmoid, mx.sym.relu, mx.sym.abs, mx.sym.square, mx.sym.exp, mx.sym.sin),
        functools.partial(mx.sym.clip, a_min=-0.3, a_max=0.3),
        *(lambda data: data + earlier(), lambda data: earlier() + data, lambda data: data * earlier()),
        lambda data: mx.sym.softmax(data, axis=1) * 0.5,
    ]
    for _ in range(random_.randrange(3, 10)):
        known.append(random_.choice(make)(random_.choice(known[-3:])))
    heads = [known[-1], *(each for each in known[1:-1] if random_.random() < 0.25)]
    random_.shuffle(heads)
    return mx.sym.Group(heads), (8,) if is_dense else (8, 6, 6)


def test_a_shared_layer_is_apart_row_by_row_too_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [dense(name=name) for name in ("a", "b", "c")]
    network = mx.sym.concat(mx.sym.softmax(layers[0]), *map(tanh, layers[1:]), dim=1)
    MXNetExecutor(load_model(networks.save(lambda: (network, (8,)), tmp_path / "a")), ("cpu", 0), 1, row_wise=True)
    layer = dense(name="layer")
    network = mx.sym.concat(mx.sym.softmax(layer), tanh(layer), dim=1)
    model = load_model(networks.save(lambda: (network, (8,)), tmp_path / "b"))
    rows = probe_rows(4, model.row_values)
    with pytest.warns(
        RuntimeWarning, match="although something else reads 'layer' too.* MXNET_SUBGRAPH_BACKEND is NONE"
    ):
        found = [run(MXNetExecutor(model, ("cpu", 0), size, row_wise=True), rows).tobytes() for size in (1, 2)]
    monkeypatch.setenv("MXNET_SUBGRAPH_BACKEND", "NONE")
    with pytest.warns(RuntimeWarning):
        assert found == [run(MXNetExecutor(model, ("cpu", 0), 1, row_wise=True), rows).tobytes()] * 2
