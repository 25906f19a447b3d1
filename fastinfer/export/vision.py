"""Translations of operators on pictures: other sizes, values at places between pixels, boxes of objects."""

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
    # This kind of half_pixel takes the first pixel where a side of one is wanted, as MXNet does.
    how = "align_corners" if call.attributes.flag("align_corners") else "pytorch_half_pixel"
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


# Places in a picture: -1 is the middle of its first pixel, 1 that of its last.


def sampling_grid(call: Call) -> str:
    if call.attributes.text("transform_type") == "affine":
        return _affine_grid(call, call.input())
    height, width = call.fixed(0, [2, 3])
    require(height > 1 and width > 1, "it has a side of one pixel")
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    moved = call.emit("Add", call.input(), call.constant(np.stack([columns, rows])[None]))
    half = call.constant(np.array([(width - 1) / 2, (height - 1) / 2]).reshape(1, 2, 1, 1))
    return call.emit("Sub", call.emit("Div", moved, half), call.constant(1))


def _affine_grid(call: Call, matrix: str) -> str:
    """Places (batch, 2, height, width) of pixels by a matrix of 2 x 3 numbers for each record."""
    height, width = call.attributes.sizes("target_shape")
    require(height > 1 and width > 1, "it has a side of one pixel")
    rows, columns = np.meshgrid(
        -1 + 2 / (height - 1) * np.arange(height), -1 + 2 / (width - 1) * np.arange(width), indexing="ij"
    )
    places = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    found = call.emit("MatMul", call.reshape(matrix, (-1, 2, 3)), call.constant(places))
    return call.reshape(found, (-1, 2, height, width))


def _sample(call: Call, grid: str) -> str:
    """Values of the first input at places, between pixels by their distances; 0 outside."""
    places = call.transpose(grid, [0, 2, 3, 1])
    return call.emit("GridSample", call.input(), places, mode="bilinear", padding_mode="zeros", align_corners=1)


def bilinear_sampler(call: Call) -> str:
    return _sample(call, call.input(1))


def spatial_transformer(call: Call) -> str:
    return _sample(call, _affine_grid(call, call.input(1)))


# Boxes of objects.

# So many boxes are compared by classes whose number is not known.
MOST_BOXES = 1000


def prior_boxes(call: Call) -> str:
    """Boxes (1, number, 4) around every pixel, as parts of the picture; they depend on its size alone."""
    attributes = call.attributes
    height, width = call.fixed(0, [2, 3])
    steps = [step if step > 0 else 1 / size for step, size in zip(attributes.numbers("steps"), (height, width))]
    rows, columns = (
        ((np.arange(size) + offset) * step).astype(np.float32)
        for size, offset, step in zip((height, width), attributes.numbers("offsets"), steps)
    )
    sizes, ratios = attributes.numbers("sizes"), attributes.numbers("ratios")
    # Every size with the first ratio, then the first size with every other ratio.
    kinds = [*((size, math.sqrt(ratios[0])) for size in sizes), *((sizes[0], math.sqrt(ratio)) for ratio in ratios[1:])]
    halves = np.array([(size * height / width * root / 2, size / root / 2) for size, root in kinds])
    # (height, width, 1, 2)
    centres = np.stack(np.broadcast_arrays(columns[None, :, None], rows[:, None, None]), axis=-1)
    boxes = np.concatenate([centres - halves, centres + halves], axis=-1).reshape(1, -1, 4)
    return call.constant(np.clip(boxes, 0, 1) if attributes.flag("clip") else boxes)


def detections(call: Call) -> str:
    """Boxes of the objects that were found: (class, score, left, top, right, bottom), the best first.

    MXNet keeps all boxes that count, with the class -1 where another one of the class suppresses them; behind them all is -1.
    Where it looks at a number of boxes only, the others are behind these in the order that they had, with the class -1.
    """
    attributes = call.attributes
    count = call.fixed(2, [1])[0]
    best, kind, is_valid = _best_classes(call)
    boxes = call.emit("Concat", call.emit("Unsqueeze", best, call.indices([2])), _decode_boxes(call), axis=2)
    flags = call.cast(is_valid, call.dtype())
    nothing, limit = call.constant(-1), attributes.integer("nms_topk")
    if 0 < attributes.number("nms_threshold") <= 1:
        key = call.emit("Where", is_valid, best, call.constant(-math.inf))
        sorted_boxes, sorted_kinds, looked_at = _by_key(call, key, count, boxes, kind, is_valid)
        if 0 < limit < count:
            is_near = call.constant(np.arange(count)[None] < limit, np.bool_)
            (boxes,) = _by_key(call, flags, count, boxes)
            boxes = call.emit("Where", call.emit("Unsqueeze", is_near, call.indices([2])), sorted_boxes, boxes)
            looked_at = call.emit("And", looked_at, is_near)
        else:
            boxes = sorted_boxes
        kept = _suppress_by_class(call, sorted_boxes, sorted_kinds, looked_at)
        kind = call.emit("Where", kept, sorted_kinds, nothing)
    else:
        boxes, kind = _by_key(call, flags, count, boxes, kind)
    (is_valid,) = _by_key(call, flags, count, is_valid)
    found = call.emit("Concat", call.emit("Unsqueeze", kind, call.indices([2])), boxes, axis=2)
    return call.emit("Where", call.emit("Unsqueeze", is_valid, call.indices([2])), found, nothing)


def _by_key(call: Call, key: str, count: int, *values: str) -> list[str]:
    """The first of values (batch, number, ...) by descending keys (batch, number); the same keys leave them as they are."""
    _, order = call.emit_many("TopK", key, call.indices([count]), outputs=2, axis=1, largest=1, sorted=1)
    order = call.emit("Unsqueeze", order, call.indices([2]))
    return [call.emit("GatherND", each, order, batch_dims=1) for each in values]


def _best_classes(call: Call) -> tuple[str, str, str]:
    """Of each box the best score of a class, but for the first one, the background; which class; whether it counts."""
    scores = call.slice(call.input(), 1, 1, 2**63 - 1)
    best = call.emit("ReduceMax", scores, axes=[1], keepdims=0)
    kind = call.cast(call.emit("ArgMax", scores, axis=1, keepdims=0), call.dtype())
    is_valid = call.emit("GreaterOrEqual", best, call.constant(call.attributes.number("threshold")))
    is_valid = call.emit("And", is_valid, call.emit("Greater", best, call.constant(-1)))
    return best, kind, is_valid


def _decode_boxes(call: Call) -> str:
    """(batch, number, 4): left, top, right, bottom; the second input says how they differ from those of the third."""
    count = call.fixed(2, [1])[0]
    variances = call.attributes.numbers("variances")
    first, last = (call.slice(call.input(2), 2, *ends) for ends in ((0, 2), (2, 4)))
    size = call.emit("Sub", last, first)
    centre = call.emit("Div", call.emit("Add", first, last), call.constant(2))
    moves = call.reshape(call.input(1), (-1, count, 4))
    shift = call.emit("Mul", call.slice(moves, 2, 0, 2), call.constant(variances[:2]))
    growth = call.emit("Mul", call.slice(moves, 2, 2, 4), call.constant(variances[2:]))
    centre = call.emit("Add", call.emit("Mul", shift, size), centre)
    half = call.emit("Div", call.emit("Mul", call.emit("Exp", growth), size), call.constant(2))
    boxes = call.emit("Concat", call.emit("Sub", centre, half), call.emit("Add", centre, half), axis=2)
    if not call.attributes.flag("clip"):
        return boxes
    return call.emit("Clip", boxes, call.constant(0), call.constant(1))


def suppressed_boxes(call: Call) -> str:
    """The boxes that are not suppressed by a better one, the best first; behind them is -1."""
    attributes = call.attributes
    require(len(call.shape()) == 3, f"its input has {len(call.shape())} axes")
    (count,) = call.fixed(0, [1])
    require(attributes.text("in_format") == attributes.text("out_format"), "it converts boxes")
    overlap, wanted = attributes.number("overlap_thresh"), attributes.integer("topk")
    require(0 <= overlap <= 1, f"its overlap_thresh is {overlap:g}")
    if wanted == 0:
        return call.input()
    limit = min(count, wanted) if wanted > 0 else count
    kind = attributes.integer("id_index")
    has_classes = kind >= 0 and not attributes.flag("force_suppress")
    require(limit <= MOST_BOXES or not has_classes, f"it looks at {limit:,} boxes of several classes")

    def column(value: str, number: int) -> str:
        return call.emit("Squeeze", call.slice(value, 2, number, number + 1), call.indices([2]))

    scores = column(call.input(), attributes.integer("score_index"))
    is_valid = call.emit("Greater", scores, call.constant(attributes.number("valid_thresh")))
    background = attributes.integer("background_id")
    if kind >= 0 and background >= 0:
        is_background = call.emit("Equal", column(call.input(), kind), call.constant(background))
        is_valid = call.emit("And", is_valid, call.emit("Not", is_background))
    key = call.emit("Where", is_valid, scores, call.constant(-math.inf))
    boxes, is_valid = _by_key(call, key, limit, call.input(), is_valid)
    # Their order is what counts of the scores.
    ranks = call.constant(np.arange(limit, 0, -1)[None, None])
    apart = call.emit("Unsqueeze", is_valid, call.indices([1]))
    if has_classes:
        apart = call.emit("And", apart, _by_class(call, column(boxes, kind), limit))
    first = attributes.integer("coord_start")
    kept = _suppress(
        call,
        call.slice(boxes, 2, first, first + 4),
        call.emit("Where", apart, ranks, call.constant(-1)),
        (limit, overlap, 0),
        center_point_box=int(attributes.text("in_format") == "center"),
    )
    boxes, is_kept = _by_key(call, call.cast(kept, call.dtype()), limit, boxes, kept)
    found = call.emit("Where", call.emit("Unsqueeze", is_kept, call.indices([2])), boxes, call.constant(-1))
    if limit == count:
        return found
    return call.emit("Pad", found, call.indices([0, 0, 0, 0, count - limit, 0]), call.constant(-1), mode="constant")


def _by_class(call: Call, kinds: str, count: int) -> str:
    """(batch, class, box): for each box that is the first of its class, which boxes are of that class; none for others."""
    same = call.emit(
        "Equal", call.emit("Unsqueeze", kinds, call.indices([2])), call.emit("Unsqueeze", kinds, call.indices([1]))
    )
    earlier = call.emit("And", same, call.constant(np.tri(count, k=-1)[None], np.bool_))
    number = call.reduce_sum(call.cast(earlier, call.dtype()), [2], keepdims=True)
    return call.emit("And", same, call.emit("Equal", number, call.constant(0)))


def _suppress_by_class(call: Call, boxes: str, kinds: str, is_looked_at: str) -> str:
    """Which boxes (score, left, top, right, bottom) are not suppressed by a better one of their class, or of any."""
    classes, count = call.fixed(0, [1])[0] - 1, call.fixed(2, [1])[0]
    apart = call.emit("Unsqueeze", is_looked_at, call.indices([1]))
    if not call.attributes.flag("force_suppress"):
        number = call.constant(np.arange(classes).reshape(1, -1, 1))
        same = call.emit("Equal", call.emit("Unsqueeze", kinds, call.indices([1])), number)
        apart = call.emit("And", apart, same)
    scores = call.transpose(call.slice(boxes, 2, 0, 1), [0, 2, 1])
    scores = call.emit("Where", apart, scores, call.constant(-2))
    # MXNet suppresses from the threshold on, ONNX beyond it.
    beyond = float(np.nextafter(np.float32(call.attributes.number("nms_threshold")), np.float32(0)))
    return _suppress(call, call.slice(boxes, 2, 1, 5), scores, (count, beyond, -1))


def _suppress(call: Call, boxes: str, scores: str, limits: tuple[int, float, float], **attributes: int) -> str:
    """Which boxes (batch, number, 4) are not suppressed, by scores (batch, class, number).

    Args:
        call: the operator.
        boxes, scores: names.
        limits: the number of boxes; beyond which overlap one is suppressed; beyond which score one counts.
        attributes: of NonMaxSuppression.
    """
    count, overlap, least = limits
    numbers = (call.constant([number], np.float32) for number in (overlap, least))
    chosen = call.emit("NonMaxSuppression", boxes, scores, call.indices([count]), *numbers, **attributes)
    places = call.emit("Gather", chosen, call.indices([0, 2]), axis=1)
    number_of = call.slice(call.emit("Shape", chosen), 0, 0, 1)
    kept = call.emit("Expand", call.constant([True], np.bool_), number_of)
    return call.emit("ScatterND", call.filled((-1, count), 0, "bool"), places, kept)


VISION: dict[str, Translation] = {
    "BilinearSampler": bilinear_sampler,
    "GridGenerator": sampling_grid,
    "SpatialTransformer": spatial_transformer,
    "UpSampling": up_sampling,
    "_contrib_AdaptiveAvgPooling2D": adaptive_average,
    "_contrib_BilinearResize2D": bilinear_resize,
    "_contrib_MultiBoxDetection": detections,
    "_contrib_MultiBoxPrior": prior_boxes,
    "_contrib_box_nms": suppressed_boxes,
}
