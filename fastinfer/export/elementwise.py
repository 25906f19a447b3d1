"""Translations of operators that compute each value by itself: functions, arithmetic, comparisons, changes of type."""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from .call import Call, Translation, require
from .network import values_of

FLOATS = ("float16", "float32", "float64")

# Functions that ONNX has as well.
FUNCTIONS = {
    "abs": "Abs",
    "arccos": "Acos",
    "arccosh": "Acosh",
    "arcsin": "Asin",
    "arcsinh": "Asinh",
    "arctan": "Atan",
    "arctanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "negative": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
    "_contrib_sign_ste": "Sign",
}

# By the end of MXNet's names: `broadcast_add`, `_plus_scalar`.
ARITHMETIC = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
}
# Those that MXNet also has with the number on the left.
REVERSIBLE = {"sub", "div", "power", "mod"}
COMPARISONS = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "lesser": "Less",
    "lesser_equal": "LessOrEqual",
}
LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}

# Two values, as names, to one.
Binary = Callable[[Call, str, str], str]


def function(operator: str) -> Translation:
    return lambda call: call.emit(operator, call.input())


def _arithmetic(operator: str) -> Binary:
    def translate(call: Call, left: str, right: str) -> str:
        require(operator != "Div" or call.outputs[0].dtype in FLOATS, "it divides whole numbers")
        return call.emit(operator, left, right)

    return translate


def _comparison(operator: str, *, negated: bool = False) -> Binary:
    """MXNet gives 0 or 1 in the type of its inputs."""

    def translate(call: Call, left: str, right: str) -> str:
        found = call.emit(operator, left, right)
        return call.cast(call.emit("Not", found) if negated else found, call.outputs[0].dtype)

    return translate


def _logic(operator: str) -> Binary:
    def translate(call: Call, left: str, right: str) -> str:
        return call.cast(call.emit(operator, _is_true(call, left), _is_true(call, right)), call.outputs[0].dtype)

    return translate


def _is_true(call: Call, value: str) -> str:
    return call.cast(value, "bool")


def _modulo(call: Call, left: str, right: str) -> str:
    """The remainder has the sign of the divisor; by 0 it is 0."""
    require(call.outputs[0].dtype in FLOATS, "it divides whole numbers")
    zero = call.constant(0, call.outputs[0].dtype)
    rest = call.emit("Mod", left, right, fmod=1)
    differs = call.emit("Less", call.emit("Mul", call.emit("Sign", rest), call.emit("Sign", right)), zero)
    rest = call.emit("Where", differs, call.emit("Add", rest, right), rest)
    return call.emit("Where", call.emit("Equal", right, zero), zero, rest)


def _hypotenuse(call: Call, left: str, right: str) -> str:
    squares = call.emit("Add", call.emit("Mul", left, left), call.emit("Mul", right, right))
    return call.emit("Sqrt", squares)


BINARY: dict[str, Binary] = {
    **{name: _arithmetic(operator) for name, operator in ARITHMETIC.items()},
    **{name: _comparison(operator) for name, operator in COMPARISONS.items()},
    **{name: _logic(operator) for name, operator in LOGIC.items()},
    "not_equal": _comparison("Equal", negated=True),
    "mod": _modulo,
    "hypot": _hypotenuse,
}


def of_two(binary: Binary) -> Translation:
    def translate(call: Call) -> str:
        require(call.dtype(0) == call.dtype(1), f"its inputs are {call.dtype(0)} and {call.dtype(1)}")
        return binary(call, call.input(0), call.input(1))

    return translate


def of_scalar(binary: Binary, *, reverse: bool = False) -> Translation:
    """An operator whose second operand is the attribute `scalar`; `reverse`: the first."""

    def translate(call: Call) -> str:
        dtype = call.outputs[0].dtype
        value = call.cast_to_output(call.input(), call.dtype())
        scalar = call.constant(call.attributes.number("scalar"), dtype)
        return binary(call, scalar, value) if reverse else binary(call, value, scalar)

    return translate


def logical_not(call: Call) -> str:
    return call.cast(call.emit("Not", _is_true(call, call.input())), call.outputs[0].dtype)


def square(call: Call) -> str:
    return call.emit("Mul", call.input(), call.input())


def rsqrt(call: Call) -> str:
    return call.emit("Reciprocal", call.emit("Sqrt", call.input()))


def cbrt(call: Call) -> str:
    return cube_root(call, call.input())


def cube_root(call: Call, value: str) -> str:
    size = call.emit("Pow", call.emit("Abs", value), call.constant(1 / 3))
    return call.emit("Mul", call.emit("Sign", value), size)


def rcbrt(call: Call) -> str:
    return call.emit("Reciprocal", cbrt(call))


def scaled(factor: float) -> Translation:
    return lambda call: call.emit("Mul", call.input(), call.constant(factor))


def logarithm(base: float) -> Translation:
    return lambda call: call.emit("Mul", call.emit("Log", call.input()), call.constant(1 / math.log(base)))


def expm1(call: Call) -> str:
    return exp_minus_one(call, call.input())


def exp_minus_one(call: Call, value: str) -> str:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which keeps the digits of a small x."""
    half = call.emit("Tanh", call.emit("Mul", value, call.constant(0.5)))
    return call.emit("Mul", half, call.emit("Add", call.emit("Exp", value), call.constant(1)))


def log1p(call: Call) -> str:
    """log(1 + x) = log(u) x / (u - 1) for u = 1 + x as it was rounded, which keeps the digits of a small x, and infinity."""
    one, data = call.constant(1), call.input()
    rounded = call.emit("Add", data, one)
    difference = call.emit("Sub", rounded, one)
    logarithm, exact = call.emit("Log", rounded), call.emit("Equal", difference, data)
    tiny = call.emit("Equal", difference, call.constant(0))
    factor = call.emit("Div", data, call.emit("Where", tiny, one, difference))
    corrected = call.emit("Where", tiny, data, call.emit("Mul", logarithm, factor))
    return call.emit("Where", exact, logarithm, corrected)


def rint(call: Call) -> str:
    """To the nearest whole number, a half to the lower one."""
    data = call.input()
    low, high = call.emit("Floor", data), call.emit("Ceil", data)
    nearer = call.emit("LessOrEqual", call.emit("Sub", data, low), call.emit("Sub", high, data))
    return call.emit("Where", nearer, low, high)


def round_away(call: Call) -> str:
    """To the nearest whole number, a half away from zero."""
    size = call.emit("Abs", call.input())
    low = call.emit("Floor", size)
    up = call.emit("GreaterOrEqual", call.emit("Sub", size, low), call.constant(0.5))
    return call.emit("Mul", call.emit("Sign", call.input()), call.emit("Add", low, call.cast(up, call.dtype())))


def truncate(call: Call) -> str:
    return call.emit("Mul", call.emit("Sign", call.input()), call.emit("Floor", call.emit("Abs", call.input())))


def clip(call: Call) -> str:
    least, most = (call.constant(call.attributes.number(name)) for name in ("a_min", "a_max"))
    return call.emit("Clip", call.input(), least, most)


def cast(call: Call) -> str:
    return call.cast(call.input(), call.outputs[0].dtype)


def cast_all(call: Call) -> list[str]:
    """All inputs in the types that MXNet's AMP gives them: floats in the widest or narrowest that they have."""
    pairs = enumerate(call.outputs)
    return [
        call.input(number) if call.dtype(number) == output.dtype else call.cast(call.input(number), output.dtype)
        for number, output in pairs
    ]


def hard_sigmoid(call: Call) -> str:
    alpha, beta = (call.attributes.number(name) for name in ("alpha", "beta"))
    return call.emit("HardSigmoid", call.input(), alpha=alpha, beta=beta)


def smooth_l1(call: Call) -> str:
    scalar = 1.0 if call.attributes.is_none("scalar") else call.attributes.number("scalar")
    squared, data = scalar * scalar, call.input()
    size = call.emit("Abs", data)
    near = call.emit("Less", size, call.constant(1 / squared))
    parabola = call.emit("Mul", call.emit("Mul", data, data), call.constant(0.5 * squared))
    return call.emit("Where", near, parabola, call.emit("Sub", size, call.constant(0.5 / squared)))


def quadratic(call: Call) -> str:
    a, b, c = (call.constant(call.attributes.number(name)) for name in "abc")
    data = call.input()
    inner = call.emit("Add", call.emit("Mul", data, a), b)
    return call.emit("Add", call.emit("Mul", inner, data), c)


def div_sqrt_dim(call: Call) -> str:
    (size,) = call.fixed(0, [-1])
    return call.emit("Mul", call.input(), call.constant(1 / math.sqrt(size)))


def add_all(call: Call) -> str:
    return call.emit("Sum", *call.inputs()) if call.count > 1 else call.input()


def where(call: Call) -> str:
    """The condition may have one value for each record."""
    condition = call.input(0)
    if len(call.shape(0)) < len(call.shape(1)):
        condition = call.reshape(condition, (call.shape(0)[0], *[1] * (len(call.shape(1)) - 1)))
    return call.emit("Where", _is_true(call, condition), call.input(1), call.input(2))


def filled_like(value: float) -> Translation:
    return lambda call: call.filled(call.shape(), value, call.outputs[0].dtype)


def filled(value: float | None = None) -> Translation:
    """The same value everywhere; without one it is an attribute."""

    def translate(call: Call) -> str:
        found = call.attributes.number("value") if value is None else value
        return call.filled(call.outputs[0].shape, found, call.outputs[0].dtype)

    return translate


def arange(call: Call) -> str:
    attributes, (output,) = call.attributes, call.outputs
    require(all(size >= 0 for size in output.shape), "its length depends on the batch")
    repeat = attributes.integer("repeat")
    places = np.repeat(np.arange(values_of(output.shape) // repeat), repeat)
    values = attributes.number("start") + attributes.number("step") * places
    return call.constant(values.reshape(output.shape), output.dtype)


def linspace(call: Call) -> str:
    attributes, (output,) = call.attributes, call.outputs
    start, stop = attributes.number("start"), attributes.number("stop")
    return call.constant(np.linspace(start, stop, output.shape[0], endpoint=attributes.flag("endpoint")), output.dtype)


def eye(call: Call) -> str:
    (output,) = call.outputs
    rows, columns = output.shape
    return call.constant(np.eye(rows, columns, call.attributes.integer("k")), output.dtype)


def _binaries() -> dict[str, Translation]:
    found: dict[str, Translation] = {}
    for name, binary in BINARY.items():
        found[f"broadcast_{name}"] = of_two(binary)
        found[f"elemwise_{name}" if name in ("add", "sub", "mul", "div") else f"_{name}"] = of_two(binary)
        scalar = {"add": "plus", "sub": "minus"}.get(name, name)
        found[f"_{scalar}_scalar"] = of_scalar(binary)
        if name in REVERSIBLE:
            found[f"_r{scalar}_scalar"] = of_scalar(binary, reverse=True)
    return found


ELEMENTWISE: dict[str, Translation] = {
    **{name: function(operator) for name, operator in FUNCTIONS.items()},
    **_binaries(),
    "Cast": cast,
    "_arange": arange,
    "_contrib_arange_like": arange,
    "_contrib_div_sqrt_dim": div_sqrt_dim,
    "_contrib_quadratic": quadratic,
    "_contrib_round_ste": round_away,
    "_eye": eye,
    "_full": filled(),
    "_grad_add": of_two(BINARY["add"]),
    "_ones": filled(1),
    "_zeros": filled(0),
    "_linspace": linspace,
    "_zeros_without_dtype": filled(0),
    "amp_cast": cast_all,
    "amp_multicast": cast_all,
    "add_n": add_all,
    "cbrt": cbrt,
    "clip": clip,
    "degrees": scaled(180 / math.pi),
    "expm1": expm1,
    "fix": truncate,
    "hard_sigmoid": hard_sigmoid,
    "log10": logarithm(10),
    "log1p": log1p,
    "log2": logarithm(2),
    "logical_not": logical_not,
    "ones_like": filled_like(1),
    "radians": scaled(math.pi / 180),
    "rcbrt": rcbrt,
    "rint": rint,
    "round": round_away,
    "rsqrt": rsqrt,
    "smooth_l1": smooth_l1,
    "square": square,
    "trunc": truncate,
    "where": where,
    "zeros_like": filled_like(0),
}
