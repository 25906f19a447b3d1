"""Translations of operators that choose among values: by their places, or by their order."""

from __future__ import annotations

from .call import Call, Translation, require
from .network import is_fixed, values_of


def taken(call: Call) -> str:
    axis, mode = call.axis(), call.attributes.text("mode")
    (size,) = call.fixed(0, [axis])
    return call.emit("Gather", call.input(), _inside(call, call.input(1), size, mode), axis=axis)


def _inside(call: Call, value: str, size: int, mode: str) -> str:
    """Places as int64, those beyond the ends as MXNet reads them, which makes int32 of them first."""
    require(mode in ("clip", "wrap"), f"its mode is {mode}")
    places = call.cast(call.cast(value, "int32"), "int64")
    if mode == "wrap":
        return call.emit("Mod", places, call.indices(size))
    return call.emit("Clip", places, call.indices(0), call.indices(size - 1))


def picked(call: Call) -> str:
    """One value along an axis, chosen by the second input."""
    require(not call.attributes.is_none("axis"), "its axis is None")
    return _pick(call, call.axis(), call.attributes.text("mode"))


def batch_take(call: Call) -> str:
    return _pick(call, 1, "clip")


def _pick(call: Call, axis: int, mode: str) -> str:
    (size,) = call.fixed(0, [axis])
    places = _inside(call, call.input(1), size, mode)
    if len(call.shape(1)) < len(call.shape()):
        places = call.emit("Unsqueeze", places, call.indices([axis]))
    found = call.emit("GatherElements", call.input(), places, axis=axis)
    if len(call.outputs[0].shape) == len(call.shape()):
        return found
    return call.emit("Squeeze", found, call.indices([axis]))


def gathered(call: Call) -> str:
    rank = len(call.shape(1))
    places = call.transpose(call.cast(call.input(1), "int64"), [*range(1, rank), 0])
    return call.emit("GatherND", call.input(), places)


def one_hot(call: Call) -> str:
    """An index beyond the depth, or below 0, gives a row of off_value; ONNX counts negative ones from the end."""
    depth, dtype = call.attributes.integer("depth"), call.outputs[0].dtype
    places = call.cast(call.input(), "int64")
    negative = call.emit("Less", places, call.indices(0))
    places = call.emit("Where", negative, call.indices(depth), places)
    values = call.constant([call.attributes.number(name) for name in ("off_value", "on_value")], dtype)
    return call.emit("OneHot", places, call.indices(depth), values, axis=-1)


def top(call: Call) -> list[str]:
    attributes = call.attributes
    kind = attributes.text("ret_typ")
    values, places = _sort(call, attributes.integer("k"), ascending=attributes.flag("is_ascend"))
    if kind == "mask":
        none = call.filled(call.shape(), 0, call.dtype())
        shape = list(call.shape())
        shape[call.axis()] = attributes.integer("k") or shape[call.axis()]
        return [
            call.emit("ScatterElements", none, places, call.filled(tuple(shape), 1, call.dtype()), axis=call.axis())
        ]
    if kind == "value":
        return [values]
    places = call.cast(places, attributes.text("dtype"))
    return [places] if kind == "indices" else [values, places]


def ordered(call: Call) -> str:
    return _sort(call, 0, ascending=call.attributes.flag("is_ascend"))[0]


def order(call: Call) -> str:
    return call.cast(_sort(call, 0, ascending=call.attributes.flag("is_ascend"))[1], call.attributes.text("dtype"))


def _sort(call: Call, count: int, *, ascending: bool) -> list[str]:
    """The first `count` values along an axis, 0 for all, and their places."""
    require(not call.attributes.is_none("axis"), "its axis is None")
    axis = call.axis()
    count = count or call.fixed(0, [axis])[0]
    arguments = (call.input(), call.indices([count]))
    return call.emit_many("TopK", *arguments, outputs=2, axis=axis, largest=int(not ascending), sorted=1)


def arg(operator: str) -> Translation:
    """The place of the largest or smallest value, as a float."""

    def translate(call: Call) -> str:
        keep, value = int(call.attributes.flag("keepdims")), call.input()
        if call.attributes.is_none("axis"):
            require(is_fixed(call.shape()), "it compares the records of a batch")
            found = call.emit(operator, call.reshape(value, (values_of(call.shape()),)), axis=0, keepdims=1)
            return call.cast(call.reshape(found, call.outputs[0].shape), call.outputs[0].dtype)
        return call.cast(call.emit(operator, value, axis=call.axis(), keepdims=keep), call.outputs[0].dtype)

    return translate


def argmax_channel(call: Call) -> str:
    require(len(call.shape()) == 2, "its input is not a matrix")
    return call.cast(call.emit("ArgMax", call.input(), axis=1, keepdims=0), call.outputs[0].dtype)


CHOICES: dict[str, Translation] = {
    "argmax": arg("ArgMax"),
    "argmax_channel": argmax_channel,
    "argmin": arg("ArgMin"),
    "argsort": order,
    "batch_take": batch_take,
    "gather_nd": gathered,
    "one_hot": one_hot,
    "pick": picked,
    "sort": ordered,
    "take": taken,
    "topk": top,
}
