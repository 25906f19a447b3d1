"""Translations of the layers of neural networks: products, convolutions, pooling, normalization, losses."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from .call import Call, Translation, require
from .elementwise import cube_root, exp_minus_one
from .network import values_of


def fully_connected(call: Call) -> str:
    attributes, data = call.attributes, call.input()
    bias = None if attributes.flag("no_bias") else call.input(2)
    if attributes.flag("flatten") or len(call.shape()) == 2:
        if len(call.shape()) != 2:
            data = call.emit("Flatten", data, axis=1)
        return call.emit("Gemm", data, call.input(1), *([bias] if bias else []), transB=1)
    product = call.emit("MatMul", data, call.emit("Transpose", call.input(1), perm=[1, 0]))
    return call.emit("Add", product, bias) if bias else product


def convolution(call: Call) -> str:
    attributes = call.attributes
    kernel = _check_layout(call)
    pad = _each(call, "pad", 0)
    return call.emit(
        "Conv",
        *_weights(call),
        kernel_shape=kernel,
        strides=_each(call, "stride", 1),
        dilations=_each(call, "dilate", 1),
        pads=pad + pad,
        group=attributes.integer("num_group"),
    )


def deconvolution(call: Call) -> str:
    attributes = call.attributes
    kernel = _check_layout(call)
    require(not attributes.sizes("target_shape"), "it has a target_shape, which MXNet itself does not run on CPUs")
    stride, dilate, pad, adjust = (
        _each(call, *item) for item in (("stride", 1), ("dilate", 1), ("pad", 0), ("adj", 0))
    )
    return call.emit(
        "ConvTranspose",
        *_weights(call),
        kernel_shape=kernel,
        strides=stride,
        dilations=dilate,
        pads=pad + pad,
        output_padding=adjust,
        group=attributes.integer("num_group"),
    )


def _weights(call: Call) -> list[str]:
    return [call.input(number) for number in range(2 if call.attributes.flag("no_bias") else 3)]


def _each(call: Call, name: str, absent: int) -> list[int]:
    """An attribute with a number for each axis of the kernel; left out, it is the same everywhere."""
    return list(call.attributes.sizes(name)) or [absent] * len(call.attributes.sizes("kernel"))


def _check_layout(call: Call) -> list[int]:
    layout = call.attributes
    require(layout.is_none("layout") or layout.text("layout")[:2] == "NC", "its layout is not NC...")
    return list(layout.sizes("kernel"))


def pooling(call: Call) -> str:
    attributes = call.attributes
    kind = attributes.text("pool_type")
    require(attributes.is_none("layout") or attributes.text("layout")[:2] == "NC", "its layout is not NC...")
    if attributes.flag("global_pool"):
        return _pool_globally(call, kind)
    require(attributes.text("pooling_convention") in ("valid", "full"), "its pooling_convention is not valid or full")
    window = _Window(call)
    require(bool((window.counts(include_pad=False) > 0).all()), "a window of it lies in the padding alone")
    counted = attributes.is_none("count_include_pad") or attributes.flag("count_include_pad")
    if kind == "max":
        return window.emit("MaxPool", -math.inf)
    if kind == "lp":
        return _of_powers(call, lambda value: window.sum(value))
    if kind == "sum":
        return window.sum(call.input())
    mean = window.mean(call.input())
    counts = window.counts(include_pad=counted)
    if (counts == window.area).all():
        return mean
    return call.emit("Mul", mean, call.constant((window.area / counts)[None, None]))


def pooling_v1(call: Call) -> str:
    """The old operator pads with zeros, also for the maximum, and a mean counts them."""
    kind = call.attributes.text("pool_type")
    if call.attributes.flag("global_pool"):
        return _pool_globally(call, kind)
    window = _Window(call)
    if kind == "max":
        # Not by padding before it: onnxruntime 1.19 makes one operator of the two, which pads with -inf.
        touches_padding = window.counts(include_pad=False) < window.area
        least = np.where(touches_padding, 0, -math.inf)
        return call.emit("Max", window.emit("MaxPool", -math.inf), call.constant(least[None, None]))
    return window.sum(call.input()) if kind == "sum" else window.mean(call.input())


def _pool_globally(call: Call, kind: str) -> str:
    if kind == "max":
        return call.emit("GlobalMaxPool", call.input())
    if kind == "avg":
        return call.emit("GlobalAveragePool", call.input())
    axes = list(range(2, len(call.shape())))
    if kind == "lp":
        return _of_powers(call, lambda value: call.reduce_sum(value, axes, keepdims=True))
    return call.reduce_sum(call.input(), axes, keepdims=True)


def _of_powers(call: Call, add: Callable[[str], str]) -> str:
    """The root of sums of powers; of the values themselves, where ONNX takes their sizes."""
    degree, value = call.attributes.integer("p_value"), call.input()
    if degree == 1:
        return add(value)
    square = call.emit("Mul", value, value)
    if degree == 2:
        return call.emit("Sqrt", add(square))
    return cube_root(call, add(call.emit("Mul", square, value)))


class _Window:
    """The windows of a pooling operator, with the padding at the end that gives MXNet's number of them."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.kernel = list(call.attributes.sizes("kernel"))
        self.stride, self.pad = _each(call, "stride", 1), _each(call, "pad", 0)
        self.area = math.prod(self.kernel)
        self._size = call.fixed(0, range(2, len(call.shape())))
        self.output = call.outputs[0].shape[2:]
        # Where the last window ends behind the padded input.
        self._end = [
            max(0, (count - 1) * stride + kernel - size - pad)
            for count, stride, kernel, size, pad in zip(self.output, self.stride, self.kernel, self._size, self.pad)
        ]

    def mean(self, value: str) -> str:
        """Means of windows, padding counted with zeros."""
        return self.emit("AveragePool", 0, value, count_include_pad=1)

    def sum(self, value: str) -> str:
        return self._call.emit("Mul", self.mean(value), self._call.constant(self.area))

    def emit(self, operator: str, padding: float, value: str | None = None, **attributes: int) -> str:
        """The operator; padding is apart where the operator cannot do it itself."""
        call, pads = self._call, self.pad + self._end
        value = call.input() if value is None else value
        if any(pad >= kernel for pad, kernel in zip(pads, self.kernel * 2)):
            ends = call.indices([0, 0, *self.pad, 0, 0, *self._end])
            value, pads = call.emit("Pad", value, ends, call.constant(padding), mode="constant"), [0] * len(pads)
        # What lies behind the last window is cut off, which needs no word.
        return call.emit(operator, value, kernel_shape=self.kernel, strides=self.stride, pads=pads, **attributes)

    def counts(self, *, include_pad: bool) -> NDArray[Any]:
        """By how many values MXNet divides each window's sum."""
        axes = []
        for count, stride, kernel, size, pad in zip(self.output, self.stride, self.kernel, self._size, self.pad):
            first = np.arange(count) * stride - pad
            last = np.minimum(first + kernel, size + pad)
            if not include_pad:
                first, last = np.maximum(first, 0), np.minimum(last, size)
            axes.append(last - first)
        counts = axes[0]
        for axis in axes[1:]:
            counts = counts[..., None] * axis
        return np.asarray(counts)


def batch_norm(call: Call) -> str:
    """With fix_gamma MXNet does not read the saved gamma: it is 1."""
    axis = call.axis() if _has_axis(call) else 1
    gamma = call.input(1)
    if call.attributes.flag("fix_gamma"):
        gamma = call.filled(call.shape(1), 1, call.dtype(1))
    order = [number for number in range(len(call.shape())) if number != axis]
    order.insert(1, axis)
    data = call.transpose(call.input(), order)
    epsilon = call.attributes.number("eps")
    normal = call.emit("BatchNormalization", data, gamma, *(call.input(n) for n in (2, 3, 4)), epsilon=epsilon)
    return call.transpose(normal, [int(axis) for axis in np.argsort(order)])


def batch_norm_relu(call: Call) -> str:
    return call.emit("Relu", batch_norm(call))


def _has_axis(call: Call) -> bool:
    return not call.attributes.is_none("axis")


def layer_norm(call: Call) -> str:
    axis, epsilon = call.axis(), call.attributes.number("eps")
    normal = _standardize(call, call.input(), [axis], epsilon)
    scaled = call.emit("Mul", normal, call.along_channels(1, axis))
    return call.emit("Add", scaled, call.along_channels(2, axis))


def _standardize(call: Call, value: str, axes: list[int], epsilon: float) -> str:
    """By the mean and variance of some axes.

    In two steps, as MXNet does it: the operators that ONNX has for it subtract the square of the mean from the mean of the
    squares in onnxruntime, and lose digits where the values differ little.
    """
    mean = call.emit("ReduceMean", value, axes=axes, keepdims=1)
    centred = call.emit("Sub", value, mean)
    variance = call.emit("ReduceMean", call.emit("Mul", centred, centred), axes=axes, keepdims=1)
    return call.emit("Div", centred, call.emit("Sqrt", call.emit("Add", variance, call.constant(epsilon))))


def instance_norm(call: Call) -> str:
    axes = list(range(2, len(call.shape())))
    normal = _standardize(call, call.input(), axes, call.attributes.number("eps"))
    return call.emit("Add", call.emit("Mul", normal, call.along_channels(1)), call.along_channels(2))


def group_norm(call: Call) -> str:
    groups, shape = call.attributes.integer("num_groups"), call.shape()
    (channels,) = call.fixed(0, [1])
    inner = call.reshape(call.input(), (shape[0], groups, channels // groups, *shape[2:]))
    normal = _standardize(call, inner, list(range(2, len(shape) + 1)), call.attributes.number("eps"))
    # A factor for each group, or for each channel, by the version of MXNet.
    if values_of(call.shape(1)) == groups:
        rank = len(shape) + 1
        scaled = call.emit("Mul", normal, call.along_channels(1, 1, rank))
        return call.reshape(call.emit("Add", scaled, call.along_channels(2, 1, rank)), shape)
    normal = call.reshape(normal, shape)
    return call.emit("Add", call.emit("Mul", normal, call.along_channels(1)), call.along_channels(2))


def lrn(call: Call) -> str:
    """By the mean of squares of the channels around each.

    Not by ONNX's LRN: onnxruntime adds to and subtracts from one sum along the channels, which is below zero then where a large
    value has gone, and gives NaN.
    """
    size, data, shape = call.attributes.integer("nsize"), call.input(), call.shape()
    channels, *pixels = call.fixed(0, range(1, len(shape)))
    squares = call.reshape(call.emit("Mul", data, data), (shape[0], 1, channels, math.prod(pixels)))
    around = [size // 2, 0] * 2
    mean = call.emit("AveragePool", squares, kernel_shape=[size, 1], pads=around, count_include_pad=1)
    scaled = call.emit("Mul", call.reshape(mean, shape), call.constant(call.attributes.number("alpha")))
    total = call.emit("Add", scaled, call.constant(call.attributes.number("knorm")))
    return call.emit("Div", data, call.emit("Pow", total, call.constant(call.attributes.number("beta"))))


def l2_normalization(call: Call) -> str:
    mode, rank = call.attributes.text("mode"), len(call.shape())
    axes = {"instance": range(1, rank), "channel": [1], "spatial": range(2, rank)}[mode]
    data = call.input()
    total = call.reduce_sum(call.emit("Mul", data, data), list(axes), keepdims=True)
    length = call.emit("Sqrt", call.emit("Add", total, call.constant(call.attributes.number("eps"))))
    return call.emit("Div", data, length)


def activation(call: Call) -> str:
    operators = {"relu": "Relu", "sigmoid": "Sigmoid", "softrelu": "Softplus", "softsign": "Softsign", "tanh": "Tanh"}
    kind = call.attributes.text("act_type")
    require(kind in operators, f"its act_type is {kind}")
    return call.emit(operators[kind], call.input())


SELU_SCALE, SELU_SLOPE = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def leaky_relu(call: Call) -> str:
    attributes, data = call.attributes, call.input()
    kind = attributes.text("act_type")
    if kind == "leaky":
        return call.emit("LeakyRelu", data, alpha=attributes.number("slope"))
    if kind == "rrelu":  # the mean of what training draws from
        mean = (attributes.number("lower_bound") + attributes.number("upper_bound")) / 2
        return call.emit("LeakyRelu", data, alpha=mean)
    if kind == "elu":
        return call.emit("Elu", data, alpha=attributes.number("slope"))
    if kind == "selu":  # onnxruntime's own loses the digits of small values
        zero = call.constant(0)
        below = exp_minus_one(call, call.emit("Min", data, zero))
        below = call.emit("Mul", below, call.constant(SELU_SCALE * SELU_SLOPE))
        return call.emit("Add", call.emit("Mul", call.emit("Max", data, zero), call.constant(SELU_SCALE)), below)
    if kind == "gelu":
        scaled = call.emit("Erf", call.emit("Mul", data, call.constant(math.sqrt(0.5))))
        half = call.emit("Mul", data, call.constant(0.5))
        return call.emit("Mul", half, call.emit("Add", scaled, call.constant(1)))
    require(kind == "prelu", f"its act_type is {kind}")
    # MXNet's slopes belong to the channels, ONNX broadcasts from the last axis; they are the same only for (N, C).
    rank = len(call.shape())
    slope = call.along_channels(1, 1 if rank > 1 and values_of(call.shape(1)) > 1 else 0)
    return call.emit("PRelu", data, slope)


def embedding(call: Call) -> str:
    """Indices beyond the table are those of its ends."""
    last = call.fixed(1)[0] - 1
    places = call.cast(call.input(), "int64")
    inside = call.emit("Clip", places, call.constant(0, np.int64), call.constant(last, np.int64))
    return call.emit("Gather", call.input(1), inside, axis=0)


def softmax(operator: str, sign: int = 1) -> Translation:
    def translate(call: Call) -> str:
        attributes, data = call.attributes, call.input()
        has_lengths = not attributes.is_none("use_length") and attributes.flag("use_length")
        if not attributes.is_none("temperature"):
            data = call.emit("Div", data, call.constant(attributes.number("temperature")))
        if sign < 0:
            data = call.emit("Neg", data)
        inside = _inside_length(call) if has_lengths else None
        if inside is not None:
            data = call.emit("Where", inside, data, call.constant(np.finfo(call.dtype()).min))
        found = call.emit(operator, data, axis=call.axis())
        if inside is not None:
            found = call.emit("Where", inside, found, call.constant(0))
        return call.cast_to_output(found, call.dtype())

    return translate


def _inside_length(call: Call) -> str:
    """Which values along the axis are before the length, which is the second input; the others count for nothing."""
    axis, rank = call.axis(), len(call.shape())
    (length,) = call.fixed(0, [axis])
    shape = [1] * rank
    shape[axis] = length
    places = call.constant(np.arange(length).reshape(shape), np.float32)
    lengths = call.cast(call.cast(call.input(1), "int32"), "float32")
    return call.emit("Less", places, call.emit("Unsqueeze", lengths, call.indices([axis])))


def softmax_output(call: Call) -> str:
    """The loss as it is in inference: without its label."""
    shape, attributes = call.shape(), call.attributes
    if attributes.flag("multi_output"):
        return call.emit("Softmax", call.input(), axis=1)
    # Of four axes oneDNN takes the last one, which MXNet itself takes only where it preserves the shape.
    if attributes.flag("preserve_shape") or len(shape) in (1, 2, 4):
        return call.emit("Softmax", call.input(), axis=-1)
    # Over all values of a record.
    return call.reshape(call.emit("Softmax", call.emit("Flatten", call.input(), axis=1), axis=-1), shape)


def softmax_activation(call: Call) -> str:
    return call.emit("Softmax", call.input(), axis=1 if call.attributes.text("mode") == "channel" else -1)


def logistic_output(call: Call) -> str:
    return call.emit("Sigmoid", call.input())


def unchanged(call: Call) -> str:
    """What passes its first input on in inference."""
    return call.input()


def dropout(call: Call) -> str:
    require(call.attributes.text("mode") == "training", "it also drops in inference")
    return call.input()


LAYERS: dict[str, Translation] = {
    "Activation": activation,
    "BatchNorm": batch_norm,
    "BatchNorm_v1": batch_norm,
    "BlockGrad": unchanged,
    "Convolution": convolution,
    "Convolution_v1": convolution,
    "Deconvolution": deconvolution,
    "Dropout": dropout,
    "Embedding": embedding,
    "FullyConnected": fully_connected,
    "GroupNorm": group_norm,
    "InstanceNorm": instance_norm,
    "L2Normalization": l2_normalization,
    "LRN": lrn,
    "LayerNorm": layer_norm,
    "LeakyReLU": leaky_relu,
    "LinearRegressionOutput": unchanged,
    "LogisticRegressionOutput": logistic_output,
    "MAERegressionOutput": unchanged,
    "MakeLoss": unchanged,
    "Pooling": pooling,
    "Pooling_v1": pooling_v1,
    "SVMOutput": unchanged,
    "SoftmaxActivation": softmax_activation,
    "SoftmaxOutput": softmax_output,
    "_contrib_BatchNormWithReLU": batch_norm_relu,
    "_contrib_SyncBatchNorm": batch_norm,
    "_contrib_gradientmultiplier": unchanged,
    "_copy": unchanged,
    "log_softmax": softmax("LogSoftmax"),
    "make_loss": unchanged,
    "softmax": softmax("Softmax"),
    "softmin": softmax("Softmax", -1),
}
