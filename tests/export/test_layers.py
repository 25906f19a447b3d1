"""The translations of layers give what MXNet gives, over their attributes."""

from __future__ import annotations

import itertools
import math
from contextlib import nullcontext
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from fastinfer.errors import ModelError
from tests.export.comparing import check, load, translated
from tests.networks import mx

pytest.importorskip("onnxruntime")
FEW = settings(max_examples=12, derandomize=True)


def data() -> Any:
    return mx.sym.var("data")


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("no_bias", [True, False])
@pytest.mark.parametrize("row_shape", [(5,), (4, 5), (2, 3, 4)])
def test_fully_connected(row_shape: tuple[int, ...], no_bias: bool, flatten: bool) -> None:
    check(mx.sym.FullyConnected(data(), num_hidden=6, no_bias=no_bias, flatten=flatten), row_shape)


@FEW
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_convolution(kernel: list[int], stride: int, dilate: int, pad: int, groups: int, no_bias: bool) -> None:
    each = {name: (value,) * len(kernel) for name, value in (("stride", stride), ("dilate", dilate), ("pad", pad))}
    layer = mx.sym.Convolution(data(), kernel=kernel, num_filter=8, num_group=groups, no_bias=no_bias, **each)
    check(layer, (4, *range(7, 7 + len(kernel))))


@pytest.mark.parametrize("defaults", [True, False])
def test_deconvolution_has_no_bias_by_default(defaults: bool) -> None:
    check(
        mx.sym.Deconvolution(data(), kernel=(3, 3), num_filter=4, **({} if defaults else {"no_bias": False})), (2, 5, 4)
    )


@FEW
@given(st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.sampled_from([0, 1]), st.sampled_from([1, 2]))
def test_deconvolution(stride: int, pad: int, adjust: int, groups: int) -> None:
    assume(adjust < stride)
    each = {name: (value,) * 2 for name, value in (("stride", stride), ("pad", pad), ("adj", adjust))}
    check(mx.sym.Deconvolution(data(), kernel=(3, 2), num_filter=4, num_group=groups, **each), (2, 5, 4))


def test_a_deconvolution_to_a_size_is_refused_by_name() -> None:
    layer = mx.sym.Deconvolution(data(), kernel=(4, 4), stride=(2, 2), target_shape=(8, 6), num_filter=2, name="up")
    with pytest.raises(ModelError, match=r"up.*Deconvolution.*target_shape"):
        translated(load(layer, (3, 5, 4)))


@settings(max_examples=60, derandomize=True)
@given(
    st.sampled_from(["max", "avg", "sum", "lp"]),
    st.sampled_from(["valid", "full"]),
    st.sampled_from([2, 3]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([0, 1]),
    st.sampled_from([None, True, False]),
    st.sampled_from([1, 2, 3]),
)
def test_pooling(
    kind: str, convention: str, kernel: int, stride: int, pad: int, counted: bool | None, axes: int
) -> None:
    assume(axes == 2 or kind != "lp")
    options: dict[str, Any] = {} if counted is None else {"count_include_pad": counted}
    if kind == "lp":
        options["p_value"] = 2
    each = {name: (value,) * axes for name, value in (("kernel", kernel), ("stride", stride), ("pad", pad))}
    layer = mx.sym.Pooling(data(), pool_type=kind, pooling_convention=convention, **each, **options)
    # In the padding alone MXNet gives its smallest float, which no other framework does.
    last = [math.ceil((size + 2 * pad - kernel) / stride) * stride - pad for size in range(6, 6 + axes)]
    outside = convention == "full" and any(first >= size for first, size in zip(last, range(6, 6 + axes)))
    with pytest.raises(ModelError, match="in the padding alone") if outside else nullcontext():
        check(layer, (2, *range(6, 6 + axes)))


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
def test_global_pooling(kind: str) -> None:
    check(mx.sym.Pooling(data(), kernel=(2, 2), pool_type=kind, global_pool=True), (3, 5, 4))


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
@pytest.mark.parametrize("convention", ["valid", "full"])
def test_old_pooling(kind: str, convention: str) -> None:
    options = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "pooling_convention": convention}
    rows = -np.arange(1, 3 * 2 * 6 * 7 + 1).reshape(3, -1)  # where padding counts
    check(mx.sym.Pooling_v1(data(), pool_type=kind, **options), (2, 6, 7), rows)


@pytest.mark.parametrize(
    "options", [{}, {"fix_gamma": False}, {"fix_gamma": False, "eps": 0.1}, {"axis": 2}, {"axis": -1}]
)
def test_batch_norm(options: dict[str, Any]) -> None:
    check(mx.sym.BatchNorm(data(), **options), (3, 4, 5))


def test_batch_norm_of_vectors() -> None:
    check(mx.sym.BatchNorm(data()), (6,))


def test_batch_norm_with_relu() -> None:
    check(mx.sym.contrib.BatchNormWithReLU(data(), fix_gamma=False), (3, 4, 5))


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layer_norm(axis: int) -> None:
    check(mx.sym.LayerNorm(data(), axis=axis, eps=1e-3), (3, 4, 5))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    check(mx.sym.GroupNorm(data(), num_groups=groups), (6, 4, 5), tolerance=5e-6)


def test_instance_norm() -> None:
    check(mx.sym.InstanceNorm(data(), eps=1e-2), (3, 4, 5), tolerance=5e-6)


@pytest.mark.parametrize("mode", ["instance", "channel", "spatial"])
def test_l2_normalization(mode: str) -> None:
    check(mx.sym.L2Normalization(data(), mode=mode), (3, 4, 5))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.1, "beta": 0.5, "knorm": 1}])
def test_local_response_normalization(options: dict[str, Any]) -> None:
    check(mx.sym.LRN(data(), nsize=3, **options), (6, 4, 5))


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "softrelu", "softsign", "tanh"])
def test_activation(kind: str) -> None:
    check(mx.sym.Activation(data() * 3, act_type=kind), (3, 4))


@pytest.mark.parametrize("kind", ["leaky", "elu", "selu", "gelu", "rrelu"])
def test_leaky_activation(kind: str) -> None:
    check(mx.sym.LeakyReLU(data() * 3, act_type=kind)[0], (3, 4))


def test_small_values_keep_their_digits() -> None:
    rows = np.random.RandomState(1).uniform(-1, 0, (3, 4)) / 512
    for layer in (
        mx.sym.LeakyReLU(data(), act_type="selu"),
        mx.sym.expm1(data()),
        mx.sym.LeakyReLU(data(), act_type="gelu"),
    ):
        check(layer[0], (4,), rows)


# In the third, a slope for each channel fits the last axis by chance.
@pytest.mark.parametrize("row_shape", [(5,), (4, 6, 5), (5, 4, 5), (5, 3)])
def test_prelu(row_shape: tuple[int, ...]) -> None:
    check(mx.sym.LeakyReLU(data(), act_type="prelu", name="prelu"), row_shape)


def test_prelu_of_one_slope() -> None:
    check(mx.sym.LeakyReLU(data(), mx.sym.var("slope", shape=(1,)), act_type="prelu"), (5, 4))


def test_embedding_reads_indices_beyond_its_ends_as_mxnet_does() -> None:
    rows = np.array([[0, 1, 6], [-1, -7, 7], [6.7, 100, 3.2]])
    check(mx.sym.Embedding(data(), input_dim=7, output_dim=4), (3,), rows)


@pytest.mark.parametrize(
    ("name", "axis", "temperature"),
    list(itertools.product(["softmax", "log_softmax", "softmin"], [-1, 1], [None, 2.5])),
)
def test_softmax(name: str, axis: int, temperature: float | None) -> None:
    check(getattr(mx.sym, name)(data(), axis=axis, temperature=temperature), (3, 4))


@pytest.mark.parametrize("row_shape", [(3,), (3, 4), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("preserve_shape", [True, False])
@pytest.mark.parametrize("multi_output", [True, False])
def test_softmax_output(multi_output: bool, preserve_shape: bool, row_shape: tuple[int, ...]) -> None:
    options = {"multi_output": multi_output, "preserve_shape": preserve_shape}
    check(mx.sym.SoftmaxOutput(data(), name="softmax", **options), row_shape)


@pytest.mark.parametrize("mode", ["instance", "channel"])
def test_softmax_activation(mode: str) -> None:
    check(mx.sym.SoftmaxActivation(data(), mode=mode), (3, 4, 2))


@pytest.mark.parametrize(
    "loss", ["LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput", "SVMOutput"]
)
def test_losses_are_as_in_inference(loss: str) -> None:
    check(getattr(mx.sym, loss)(mx.sym.FullyConnected(data(), num_hidden=4), name="out"), (5,))


def test_what_trains_only_is_left_out() -> None:
    check(mx.sym.MakeLoss(mx.sym.BlockGrad(mx.sym.Dropout(data(), p=0.9) * 2)), (5,))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("temperature", [None, 2.0])
def test_softmax_up_to_a_length(axis: int, temperature: float | None) -> None:
    """From 0 to all. (With a longer one MXNet writes behind its memory.)"""
    layer, size = data(), (3, 4)[axis - 1]
    first = mx.sym.abs(mx.sym.slice_axis(layer, axis=axis, begin=0, end=1))
    lengths = mx.sym.Cast(mx.sym.clip(first * (size + 2) - 1, 0, size), dtype="int32")
    lengths = mx.sym.squeeze(lengths, axis=axis)
    rows = np.random.RandomState(1).uniform(-1, 1, (4, 3, 4))
    check(mx.sym.softmax(layer, lengths, use_length=True, axis=axis, temperature=temperature), (3, 4), rows)


@pytest.mark.parametrize("fix_gamma", [True, False])
def test_the_old_batch_norm(fix_gamma: bool) -> None:
    check(mx.sym.BatchNorm_v1(data(), fix_gamma=fix_gamma), (3, 4, 4))


def test_local_response_behind_large_values() -> None:
    """onnxruntime's own operator gives NaN there."""
    rows = np.random.RandomState(1).uniform(0, 1, (2, 6, 2 * 2)) * np.array([3e4, 0, 1, 2e4, 0, 1])[:, None]
    check(mx.sym.LRN(data(), nsize=1, alpha=0.5, knorm=2), (6, 2, 2), rows)
