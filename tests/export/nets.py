"""Symbol networks as saved Module models have them, small and seeded: what exports and is certified."""

from __future__ import annotations

from typing import Any, Callable

from tests.networks import mx

Net = tuple[Any, tuple[int, ...]]


def dense(layer: Any, units: int = 5) -> Any:
    return mx.sym.FullyConnected(layer, num_hidden=units)


def softmax(layer: Any, units: int = 5) -> Any:
    return mx.sym.SoftmaxOutput(dense(layer, units), name="softmax")


def image(layer: Callable[[Any], Any], row_shape: tuple[int, ...] = (4, 8, 8), **options: Any) -> Callable[[], Net]:
    """A convolution, a layer, a softmax."""

    def make() -> Net:
        inner = mx.sym.Convolution(mx.sym.var("data"), num_filter=6, kernel=(3, 3), pad=(1, 1), **options)
        return softmax(layer(inner)), row_shape

    return make


def activated(kind: str) -> Callable[[], Net]:
    return image(lambda x: mx.sym.Activation(x, act_type=kind))


def leaky(kind: str) -> Callable[[], Net]:
    return image(lambda x: mx.sym.LeakyReLU(x, act_type=kind, name="leaky"))


def pooled(**options: Any) -> Callable[[], Net]:
    return image(lambda x: mx.sym.Pooling(x, **{"kernel": (3, 3), "stride": (2, 2), **options}))


def unrolled(cell: str) -> Callable[[], Net]:
    def make() -> Net:
        layers = getattr(mx.rnn, cell)(6, prefix="cell_")
        outputs, _ = layers.unroll(5, mx.sym.var("data"), layout="NTC", merge_outputs=False)
        return softmax(outputs[-1]), (5, 3)

    return make


def fused(mode: str, both_ways: bool = False) -> Callable[[], Net]:
    def make() -> Net:
        cell = mx.rnn.FusedRNNCell(6, num_layers=2, mode=mode, bidirectional=both_ways, prefix="fused_")
        outputs, _ = cell.unroll(
            5, mx.sym.transpose(mx.sym.var("data"), axes=(1, 0, 2)), layout="TNC", merge_outputs=True
        )
        return softmax(mx.sym.SequenceLast(outputs)), (5, 3)

    return make


def text() -> Net:
    """Words to a class, by a convolution over an embedding."""
    words = mx.sym.Embedding(mx.sym.var("data"), input_dim=50, output_dim=8)
    layer = mx.sym.Convolution(mx.sym.expand_dims(words, axis=1), kernel=(3, 8), num_filter=6)
    layer = mx.sym.Pooling(mx.sym.Activation(layer, act_type="relu"), kernel=(10, 1), pool_type="max")
    return softmax(mx.sym.Dropout(layer, p=0.5)), (12,)


def factorization() -> Net:
    """Columns of one input that are indices of two tables."""
    columns = mx.sym.split(mx.sym.var("data"), num_outputs=2, axis=1)
    sides = [mx.sym.Flatten(mx.sym.Embedding(columns[n], input_dim=20, output_dim=4, name=f"e{n}")) for n in range(2)]
    return mx.sym.LinearRegressionOutput(mx.sym.sum(sides[0] * sides[1], axis=1, keepdims=True), name="score"), (2,)


def residual() -> Net:
    data = mx.sym.var("data")
    layer = mx.sym.Convolution(data, num_filter=4, kernel=(3, 3), pad=(1, 1), no_bias=True)
    layer = mx.sym.Activation(mx.sym.BatchNorm(layer, fix_gamma=False), act_type="relu") + data
    return softmax(mx.sym.Pooling(layer, global_pool=True, kernel=(1, 1), pool_type="avg")), (4, 8, 8)


def inception() -> Net:
    data = mx.sym.var("data")
    parts = [mx.sym.Convolution(data, num_filter=3, kernel=(k, k), pad=(k // 2, k // 2)) for k in (1, 3, 5)]
    return softmax(mx.sym.Concat(*parts, mx.sym.Pooling(data, kernel=(3, 3), pad=(1, 1), pool_type="max"))), (4, 8, 8)


def lenet() -> Net:
    layer = mx.sym.var("data")
    for filters in (6, 12):
        layer = mx.sym.Activation(mx.sym.Convolution(layer, kernel=(5, 5), num_filter=filters), act_type="tanh")
        layer = mx.sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max")
    return softmax(mx.sym.Activation(dense(mx.sym.Flatten(layer), 40), act_type="tanh"), 10), (1, 28, 28)


# Nets of the zoo by their layers, with few channels and small pictures.


def convolved(layer: Any, filters: int, kernel: int, **options: Any) -> Any:
    """A convolution that keeps the size, and relu."""
    size = {"kernel": (kernel, kernel), "pad": (kernel // 2, kernel // 2), "num_filter": filters}
    return mx.sym.Activation(mx.sym.Convolution(layer, **{**size, **options}), act_type="relu")


def halved(layer: Any, **options: Any) -> Any:
    return mx.sym.Pooling(layer, **{"kernel": (2, 2), "stride": (2, 2), "pool_type": "max", **options})


def pooled_globally(layer: Any) -> Any:
    return mx.sym.Flatten(mx.sym.Pooling(layer, global_pool=True, kernel=(1, 1), pool_type="avg"))


def alexnet() -> Net:
    layer = convolved(mx.sym.var("data"), 8, 5, stride=(2, 2))
    layer = halved(mx.sym.LRN(layer, nsize=5, alpha=1e-4, beta=0.75, knorm=2), kernel=(3, 3))
    layer = halved(convolved(convolved(layer, 12, 5, num_group=2), 12, 3), kernel=(3, 3))
    layer = mx.sym.Dropout(mx.sym.Activation(dense(mx.sym.Flatten(layer), 20), act_type="relu"), p=0.5)
    return softmax(layer, 10), (3, 32, 32)


def vgg(normalized: bool) -> Callable[[], Net]:
    def make() -> Net:
        layer = mx.sym.var("data")
        for filters in (4, 8, 12):
            for _ in range(2):
                layer = mx.sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), num_filter=filters)
                layer = mx.sym.BatchNorm(layer, fix_gamma=False) if normalized else layer
                layer = mx.sym.Activation(layer, act_type="relu")
            layer = halved(layer)
        for _ in range(2):
            layer = mx.sym.Dropout(mx.sym.Activation(dense(layer, 20), act_type="relu"), p=0.5)
        return softmax(layer, 10), (3, 32, 32)

    return make


def squeezenet() -> Net:
    layer = halved(convolved(mx.sym.var("data"), 8, 3, stride=(2, 2)), kernel=(3, 3), pooling_convention="full")
    for squeezed in (3, 4):
        thin = convolved(layer, squeezed, 1)
        layer = mx.sym.Concat(convolved(thin, 4 * squeezed, 1), convolved(thin, 4 * squeezed, 3))
    layer = pooled_globally(convolved(mx.sym.Dropout(layer), 10, 1))
    return mx.sym.SoftmaxOutput(layer, name="softmax"), (3, 32, 32)


def densenet() -> Net:
    layer = halved(convolved(mx.sym.var("data"), 8, 7, stride=(2, 2), no_bias=True), kernel=(3, 3), pad=(1, 1))

    def normalized(inner: Any) -> Any:
        return mx.sym.Activation(mx.sym.BatchNorm(inner, fix_gamma=False, eps=1e-5), act_type="relu")

    for filters in (8, 10):
        for _ in range(2):
            thin = mx.sym.Convolution(normalized(layer), num_filter=8, kernel=(1, 1), no_bias=True)
            grown = mx.sym.Convolution(normalized(thin), num_filter=4, kernel=(3, 3), pad=(1, 1), no_bias=True)
            layer = mx.sym.Concat(layer, grown)
        layer = mx.sym.Convolution(normalized(layer), num_filter=filters, kernel=(1, 1), no_bias=True)
        layer = halved(layer, pool_type="avg")
    return softmax(pooled_globally(normalized(layer)), 10), (3, 32, 32)


def inception_v3() -> Net:
    """Its blocks: windows of 1 x 7 and 7 x 1, branches that part again, a mean that does not count the padding."""

    def block(layer: Any, filters: int, kernel: tuple[int, int], stride: int = 1) -> Any:
        pad = (kernel[0] // 2, kernel[1] // 2)
        layer = mx.sym.Convolution(
            layer, num_filter=filters, kernel=kernel, stride=(stride, stride), pad=pad, no_bias=True
        )
        return mx.sym.Activation(mx.sym.BatchNorm(layer, eps=1e-3), act_type="relu")

    layer = block(mx.sym.var("data"), 8, (3, 3), stride=2)
    mean = mx.sym.Pooling(layer, kernel=(3, 3), pad=(1, 1), pool_type="avg", count_include_pad=False)
    long = block(block(block(layer, 4, (1, 1)), 4, (1, 7)), 6, (7, 1))
    layer = mx.sym.Concat(block(layer, 4, (1, 1)), long, block(mean, 4, (1, 1)))
    parted = block(layer, 6, (1, 1))
    parted = mx.sym.Concat(block(parted, 4, (1, 3)), block(parted, 4, (3, 1)))
    layer = mx.sym.Concat(block(layer, 6, (3, 3), stride=2), halved(parted, kernel=(3, 3), pad=(1, 1)))
    return softmax(mx.sym.Dropout(pooled_globally(layer)), 10), (3, 32, 32)


def segmentation() -> Net:
    layer = mx.sym.Convolution(mx.sym.var("data"), num_filter=6, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    layer = mx.sym.Deconvolution(layer, num_filter=3, kernel=(4, 4), stride=(2, 2), pad=(1, 1))
    return mx.sym.SoftmaxOutput(layer, multi_output=True, name="softmax"), (3, 8, 8)


def detector() -> Net:
    """As SageMaker's object detection: boxes around the pixels of two layers, their classes and how they differ."""
    layer, classes, places, priors = mx.sym.var("data"), [], [], []
    for size in (0.3, 0.6):
        layer = convolved(halved(layer), 6, 3)
        kinds = mx.sym.Convolution(layer, num_filter=2 * 4, kernel=(3, 3), pad=(1, 1))
        moves = mx.sym.Convolution(layer, num_filter=2 * 4, kernel=(3, 3), pad=(1, 1))
        classes.append(mx.sym.Flatten(mx.sym.transpose(kinds, axes=(0, 2, 3, 1))))
        places.append(mx.sym.Flatten(mx.sym.transpose(moves, axes=(0, 2, 3, 1))))
        anchors = mx.sym.contrib.MultiBoxPrior(layer, sizes=(size,), ratios=(1, 2), clip=True)
        priors.append(mx.sym.Reshape(anchors, shape=(0, -1, 4)))
    scores = mx.sym.transpose(mx.sym.Reshape(mx.sym.concat(*classes, dim=1), shape=(0, -1, 4)), axes=(0, 2, 1))
    scores = mx.sym.SoftmaxActivation(scores, mode="channel")
    anchors = mx.sym.concat(*priors, dim=1)
    options = {"nms_threshold": 0.45, "nms_topk": 40, "variances": (0.1, 0.1, 0.2, 0.2), "threshold": 0.3}
    found = mx.sym.contrib.MultiBoxDetection(scores, mx.sym.concat(*places, dim=1), anchors, name="found", **options)
    return found, (3, 16, 16)


def super_resolution() -> Net:
    layer = mx.sym.Convolution(mx.sym.var("data"), num_filter=4, kernel=(3, 3), pad=(1, 1))
    return mx.sym.MAERegressionOutput(mx.sym.depth_to_space(layer, block_size=2), name="out"), (1, 6, 6)


def attention() -> Net:
    steps = mx.sym.transpose(mx.sym.var("data"), axes=(1, 0, 2))
    mixed = mx.sym.FullyConnected(steps, num_hidden=24, flatten=False)
    weights = mx.sym.softmax(mx.sym.contrib.interleaved_matmul_selfatt_qk(mixed, heads=2))
    layer = mx.sym.contrib.interleaved_matmul_selfatt_valatt(mixed, weights, heads=2)
    layer = mx.sym.LayerNorm(layer + mx.sym.FullyConnected(steps, num_hidden=8, flatten=False))
    return softmax(mx.sym.mean(layer, axis=0)), (5, 3)


def loss(name: str) -> Callable[[], Net]:
    return lambda: (getattr(mx.sym, name)(dense(mx.sym.var("data"), 3), name="out"), (6,))


NETS: dict[str, Callable[[], Net]] = {
    "activation relu": activated("relu"),
    "activation sigmoid": activated("sigmoid"),
    "activation softrelu": activated("softrelu"),
    "activation softsign": activated("softsign"),
    "activation tanh": activated("tanh"),
    "alexnet": alexnet,
    "attention": attention,
    "batch norm": image(lambda x: mx.sym.BatchNorm(x)),
    "batch norm with gamma": image(lambda x: mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-5)),
    "convolution dilated": image(lambda x: mx.sym.Convolution(x, num_filter=4, kernel=(3, 3), dilate=(2, 2))),
    "convolution grouped": image(lambda x: mx.sym.Convolution(x, num_filter=6, kernel=(3, 3), num_group=3)),
    "deconvolution": image(lambda x: mx.sym.Deconvolution(x, num_filter=2, kernel=(3, 3), stride=(2, 2), adj=(1, 1))),
    "densenet": densenet,
    "detector": detector,
    "dropout": image(lambda x: mx.sym.Dropout(x, p=0.3)),
    "factorization": factorization,
    "fused gru": fused("gru"),
    "fused lstm both ways": fused("lstm", both_ways=True),
    "inception": inception,
    "inception v3": inception_v3,
    "instance norm": image(lambda x: mx.sym.InstanceNorm(x, name="norm"), no_bias=True),
    "l2 normalization": image(lambda x: mx.sym.L2Normalization(x, mode="channel")),
    "layer norm": image(lambda x: mx.sym.LayerNorm(x), no_bias=True),
    "leaky elu": leaky("elu"),
    "leaky gelu": leaky("gelu"),
    "leaky leaky": leaky("leaky"),
    "leaky prelu": leaky("prelu"),
    "leaky selu": leaky("selu"),
    "lenet": lenet,
    "local response": image(lambda x: mx.sym.LRN(x, nsize=3)),
    "logistic": loss("LogisticRegressionOutput"),
    "pad": image(lambda x: mx.sym.Pad(x, mode="edge", pad_width=(0, 0, 0, 0, 1, 1, 2, 2))),
    "pooling avg full": pooled(pool_type="avg", pooling_convention="full", pad=(1, 1)),
    "pooling avg without pad": pooled(pool_type="avg", pad=(1, 1), count_include_pad=False),
    "pooling max full": pooled(pool_type="max", pooling_convention="full"),
    "pooling sum": pooled(pool_type="sum"),
    "regression": loss("LinearRegressionOutput"),
    "residual": residual,
    "segmentation": segmentation,
    "squeezenet": squeezenet,
    "super resolution": super_resolution,
    "support vectors": loss("SVMOutput"),
    "text": text,
    "unrolled gru": unrolled("GRUCell"),
    "unrolled lstm": unrolled("LSTMCell"),
    "unrolled rnn": unrolled("RNNCell"),
    "vgg": vgg(normalized=False),
    "vgg normalized": vgg(normalized=True),
    "up sampling": image(lambda x: mx.sym.UpSampling(x, scale=2, sample_type="nearest", num_args=1)),
}
