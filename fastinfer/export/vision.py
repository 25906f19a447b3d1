"""Translations of operators on pictures: other sizes."""

from __future__ import annotations

import math

import numpy as np

from .call import Call, Translation, require
from .network import is_fixed


def up_sampling(call: Call) -> str:
    scale, attributes = call.attributes.integer("scale"), call.attributes
    if attributes.text("sample_type") == "bilinear":  # MXNet's is a deconvolution, with its weights as second input
        channels, pad = attributes.integer("num_filter"), math.ceil((scale - 1) / 2)
        return call.emit(
            "ConvTranspose",
            call.input(0),
            call.input(1),
            kernel_shape=[2 * scale - scale % 2] * 2,
            strides=[scale] * 2,
            pads=[pad] * 4,
            group=channels,
        )
    # All become as large as the first one then is.
    height = call.fixed(0, [2])[0] * scale
    parts = []
    for number in range(call.count):
        factor = height // call.fixed(number, [2])[0]
        factors = call.constant([1, 1, factor, factor], np.float32)
        options = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        parts.append(call.emit("Resize", call.input(number), "", factors, **options))
    if len(parts) == 1:
        return parts[0]
    return (
        call.emit("Sum", *parts)
        if attributes.text("multi_input_mode") == "sum"
        else call.emit("Concat", *parts, axis=1)
    )


def bilinear_resize(call: Call) -> str:
    wanted = call.outputs[0].shape
    require(is_fixed(wanted[1:]), "a size in it depends on the batch")
    target = call.emit(
        "Concat", call.slice(call.emit("Shape", call.input()), 0, 0, 1), call.indices(wanted[1:]), axis=0
    )
    how = "align_corners" if call.attributes.flag("align_corners") else "half_pixel"
    return call.emit("Resize", call.input(), "", "", target, mode="linear", coordinate_transformation_mode=how)


def adaptive_average(call: Call) -> str:
    """Means of windows that may overlap: a product with a matrix of weights along each axis."""
    value = call.input()
    for axis, wanted in ((2, call.outputs[0].shape[2]), (3, call.outputs[0].shape[3])):
        (size,) = call.fixed(0, [axis])
        weights = np.zeros((size, wanted))
        for place in range(wanted):
            first, last = place * size // wanted, -(-(place + 1) * size // wanted)
            weights[first:last, place] = 1 / (last - first)
        if axis == 2:
            value = call.emit("MatMul", call.constant(weights.T), value)
        else:
            value = call.emit("MatMul", value, call.constant(weights))
    return value


VISION: dict[str, Translation] = {
    "UpSampling": up_sampling,
    "_contrib_AdaptiveAvgPooling2D": adaptive_average,
    "_contrib_BilinearResize2D": bilinear_resize,
}
