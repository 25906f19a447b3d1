"""Translations of operators that move values, reduce axes, or multiply matrices."""

from __future__ import annotations

from .call import Call, Translation, require
from .network import is_fixed, values_of

# Beyond every end.
TO_THE_END, TO_THE_FRONT = 2**63 - 1, -(2**63)


def reshaped(call: Call) -> str:
    """The same values in the shape of the output."""
    return call.reshape(call.input(), call.outputs[0].shape)


def transposed(call: Call) -> str:
    axes = call.attributes.sizes("axes")
    return call.transpose(call.input(), axes or range(len(call.shape()))[::-1])


def swapped(call: Call) -> str:
    axes = list(range(len(call.shape())))
    first, second = call.axis("dim1"), call.axis("dim2")
    axes[first], axes[second] = axes[second], axes[first]
    return call.transpose(call.input(), axes)


def concatenated(call: Call) -> str:
    return call.emit("Concat", *call.inputs(), axis=call.axis("dim"))


def stacked(call: Call) -> str:
    axis = call.axis(rank=len(call.shape()) + 1)
    parts = [call.emit("Unsqueeze", part, call.indices([axis])) for part in call.inputs()]
    return call.emit("Concat", *parts, axis=axis)


def split(call: Call) -> list[str]:
    axis, count = call.axis(), len(call.outputs)
    squeezed = call.attributes.flag("squeeze_axis")
    sizes = [1] * count if squeezed else [output.shape[axis] for output in call.outputs]
    require(is_fixed(sizes), "it splits the batch")
    parts = call.emit_many("Split", call.input(), call.indices(sizes), outputs=count, axis=axis)
    return [call.emit("Squeeze", part, call.indices([axis])) for part in parts] if squeezed else parts


def sliced(call: Call) -> str:
    begins, ends = (call.attributes.optional_sizes(name) for name in ("begin", "end"))
    steps = call.attributes.optional_sizes("step") or (None,) * len(begins)
    axes, starts, stops, strides = [], [], [], []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, (step or 1 for step in steps))):
        if (begin, end, step) == (None, None, 1) or _keeps_batch(call, axis):
            continue
        axes.append(axis)
        starts.append((0 if step > 0 else TO_THE_END) if begin is None else begin)
        stops.append((TO_THE_END if step > 0 else TO_THE_FRONT) if end is None else end)
        strides.append(step)
    if not axes:
        return call.input()
    return call.emit("Slice", call.input(), *(call.indices(numbers) for numbers in (starts, stops, axes, strides)))


def _keeps_batch(call: Call, axis: int) -> bool:
    """Whether a slice is along the batch, which must be left whole: its end may be a batch size that the graph holds."""
    before, after = call.shape()[axis], call.outputs[0].shape[axis]
    require(before == after or before >= 0, "it chooses records of the batch")
    return before < 0


def slice_axis(call: Call) -> str:
    if _keeps_batch(call, call.axis()):
        return call.input()
    end = TO_THE_END if call.attributes.is_none("end") else call.attributes.integer("end")
    return call.slice(call.input(), call.axis(), call.attributes.integer("begin"), end)


def slice_like(call: Call) -> str:
    value, rank = call.input(), len(call.shape())
    for axis in call.attributes.sizes("axes") or range(rank):
        wanted = call.shape(1)[axis]
        if wanted != call.shape()[axis]:
            require(wanted >= 0, "a size in it depends on the batch")
            value = call.slice(value, axis % rank, 0, wanted)
    return value


def cropped(call: Call) -> str:
    """The old operator: the last two axes, of the size of another input or of the attribute."""
    height, width = call.fixed(0, [2, 3])
    rows, columns = (size for size in call.outputs[0].shape[2:])
    top, left = call.attributes.sizes("offset")
    if call.attributes.flag("center_crop"):
        top, left = (height - rows) // 2, (width - columns) // 2
    return call.slice(call.slice(call.input(), 2, top, top + rows), 3, left, left + columns)


def flipped(call: Call) -> str:
    value, rank = call.input(), len(call.shape())
    for axis in call.attributes.sizes("axis"):
        value = call.slice(value, axis % rank, TO_THE_END, TO_THE_FRONT, -1)
    return value


def padded(call: Call) -> str:
    widths, mode = call.attributes.sizes("pad_width"), call.attributes.text("mode")
    ends = call.indices([*widths[::2], *widths[1::2]])
    return call.emit("Pad", call.input(), ends, call.constant(call.attributes.number("constant_value")), mode=mode)


def tiled(call: Call) -> str:
    repeats, shape = call.attributes.sizes("reps"), call.shape()
    rank = max(len(repeats), len(shape))
    value = call.input()
    if rank > len(shape):
        value = call.reshape(value, (*[1] * (rank - len(shape)), *shape))
    return call.emit("Tile", value, call.indices([*[1] * (rank - len(repeats)), *repeats]))


def repeated(call: Call) -> str:
    repeats, shape = call.attributes.integer("repeats"), call.shape()
    value = call.input()
    if call.attributes.is_none("axis"):
        value, axis, rank = call.reshape(value, (values_of(shape) * (1 if is_fixed(shape) else -1),)), 0, 1
    else:
        axis, rank = call.axis(), len(shape)
    apart = call.emit("Unsqueeze", value, call.indices([axis + 1]))
    factors = [1] * (rank + 1)
    factors[axis + 1] = repeats
    return call.reshape(call.emit("Tile", apart, call.indices(factors)), call.outputs[0].shape)


def broadcast(call: Call) -> str:
    return call.expand(call.input(), call.outputs[0].shape)


def depth_to_space(call: Call) -> str:
    return call.emit("DepthToSpace", call.input(), blocksize=call.attributes.integer("block_size"), mode="DCR")


def space_to_depth(call: Call) -> str:
    return call.emit("SpaceToDepth", call.input(), blocksize=call.attributes.integer("block_size"))


def shape_array(call: Call) -> str:
    return call.emit("Shape", call.input())


def size_array(call: Call) -> str:
    return call.emit("Reshape", call.emit("Size", call.input()), call.indices([1]))


# Reductions.


def _axes(call: Call) -> list[int]:
    rank = len(call.shape())
    named = [axis % rank for axis in call.attributes.sizes("axis")]
    if not named:
        return list(range(rank))
    if not call.attributes.is_none("exclude") and call.attributes.flag("exclude"):
        return [axis for axis in range(rank) if axis not in named]
    return sorted(named)


def reduction(operator: str) -> Translation:
    return lambda call: _reduced(call, operator, call.input())


def _reduced(call: Call, operator: str, value: str) -> str:
    axes = _axes(call)
    if not axes:
        return value
    if operator == "ReduceSum":
        found = call.reduce_sum(value, axes, keepdims=True)
    else:
        found = call.emit(operator, value, axes=axes, keepdims=1)
    # MXNet keeps one axis where all are reduced.
    return call.reshape(found, call.outputs[0].shape)


def _without_nan(call: Call, replacement: float) -> str:
    return call.emit("Where", call.emit("IsNaN", call.input()), call.constant(replacement), call.input())


def nansum(call: Call) -> str:
    return _reduced(call, "ReduceSum", _without_nan(call, 0))


def nanprod(call: Call) -> str:
    return _reduced(call, "ReduceProd", _without_nan(call, 1))


def norm(call: Call) -> str:
    degree = call.attributes.integer("ord")
    require(degree in (1, 2), f"its ord is {degree}")
    return call.cast_to_output(_reduced(call, f"ReduceL{degree}", call.input()), call.dtype())


def square_sum(call: Call) -> str:
    return _reduced(call, "ReduceSumSquare", call.input())


def moments(call: Call) -> list[str]:
    # It subtracts whatever lies in the memory of the mean.
    require(call.is_read(0), "its variance alone is used, which MXNet computes without the mean")
    rank = len(call.shape())
    axes = [axis % rank for axis in call.attributes.sizes("axes")] or list(range(rank))
    mean = call.emit("ReduceMean", call.input(), axes=axes, keepdims=1)
    centred = call.emit("Sub", call.input(), mean)
    variance = call.emit("ReduceMean", call.emit("Mul", centred, centred), axes=axes, keepdims=1)
    return [call.reshape(value, output.shape) for value, output in zip((mean, variance), call.outputs)]


def cumulated(call: Call) -> str:
    require(not call.attributes.is_none("axis"), "its axis is None")
    value = call.cast_to_output(call.input(), call.dtype())
    return call.emit("CumSum", value, call.indices(call.axis()))


# Products.


def dot(call: Call) -> str:
    """The last axis of the left with the first of the right."""
    left, right = len(call.shape(0)), len(call.shape(1))
    flags = [call.attributes.flag(name) for name in ("transpose_a", "transpose_b")]
    require(right == 2 and left >= 2 and (left == 2 or not flags[0]), f"its inputs have {left} and {right} axes")
    return call.emit("MatMul", *(_turned(call, number, flag) for number, flag in enumerate(flags)))


def batch_dot(call: Call) -> str:
    flags = [call.attributes.flag(name) for name in ("transpose_a", "transpose_b")]
    return call.emit("MatMul", *(_turned(call, number, flag) for number, flag in enumerate(flags)))


def _turned(call: Call, number: int, turned: bool) -> str:
    axes = list(range(len(call.shape(number))))
    if turned:
        axes[-2:] = axes[:-3:-1]
    return call.transpose(call.input(number), axes)


def matrix_product(call: Call) -> str:
    require(call.attributes.integer("axis") == -2, "its axis is not -2")
    product, alpha = batch_dot(call), call.attributes.number("alpha")
    return product if alpha == 1 else call.emit("Mul", product, call.constant(alpha))


def matrix_times_itself(call: Call) -> str:
    axes = [*range(len(call.shape()) - 2), len(call.shape()) - 1, len(call.shape()) - 2]
    turned = call.transpose(call.input(), axes)
    pair = (turned, call.input()) if call.attributes.flag("transpose") else (call.input(), turned)
    product, alpha = call.emit("MatMul", *pair), call.attributes.number("alpha")
    return product if alpha == 1 else call.emit("Mul", product, call.constant(alpha))


def matrix_product_and_sum(call: Call) -> str:
    term, beta = call.input(2), call.attributes.number("beta")
    return call.emit("Add", matrix_product(call), term if beta == 1 else call.emit("Mul", term, call.constant(beta)))


ARRAYS: dict[str, Translation] = {
    "Concat": concatenated,
    "Crop": cropped,
    "Flatten": reshaped,
    "Pad": padded,
    "Reshape": reshaped,
    "SliceChannel": split,
    "SwapAxis": swapped,
    "_linalg_gemm": matrix_product_and_sum,
    "_linalg_gemm2": matrix_product,
    "_linalg_syrk": matrix_times_itself,
    "_np_cumsum": cumulated,
    "_rnn_param_concat": concatenated,
    "_split_v2": split,
    "_square_sum": square_sum,
    "batch_dot": batch_dot,
    "broadcast_axis": broadcast,
    "broadcast_like": broadcast,
    "broadcast_to": broadcast,
    "depth_to_space": depth_to_space,
    "dot": dot,
    "expand_dims": reshaped,
    "max": reduction("ReduceMax"),
    "mean": reduction("ReduceMean"),
    "min": reduction("ReduceMin"),
    "moments": moments,
    "nanprod": nanprod,
    "nansum": nansum,
    "norm": norm,
    "prod": reduction("ReduceProd"),
    "repeat": repeated,
    "reshape_like": reshaped,
    "reverse": flipped,
    "shape_array": shape_array,
    "size_array": size_array,
    "slice": sliced,
    "slice_axis": slice_axis,
    "slice_like": slice_like,
    "space_to_depth": space_to_depth,
    "squeeze": reshaped,
    "stack": stacked,
    "sum": reduction("ReduceSum"),
    "tile": tiled,
    "transpose": transposed,
}
