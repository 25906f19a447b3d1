"""The translations of operators on single values give what MXNet gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastinfer.export.elementwise import COMPARISONS, FUNCTIONS, LOGIC
from tests.export.comparing import check
from tests.networks import mx

pytest.importorskip("onnxruntime")

# Large, small, whole and half numbers of both signs.
VALUES = np.array([[-2.5, -1.0, -0.5, -1e-5, 0, 1e-7, 0.25, 0.5, 1.5, 2.5, 3.49, 40.0], np.linspace(-3, 3, 12)])
POSITIVE = np.abs(VALUES) + 0.25
DOMAINS = {
    "arccos": np.tanh(VALUES),
    "arccosh": POSITIVE + 1,
    "arcsin": np.tanh(VALUES),
    "arctanh": np.tanh(VALUES) * 0.9,
    "log": POSITIVE,
    "log10": POSITIVE,
    "log1p": np.maximum(VALUES, -0.9),
    "log2": POSITIVE,
    "rcbrt": np.sign(VALUES - 0.1) * POSITIVE,
    "reciprocal": np.sign(VALUES - 0.1) * POSITIVE,
    "rsqrt": POSITIVE,
    "sqrt": POSITIVE,
    "tan": np.tanh(VALUES),
    "expm1": np.minimum(VALUES, 5),
}
OTHERS = [
    "cbrt",
    "degrees",
    "expm1",
    "fix",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "ones_like",
    "radians",
    "rcbrt",
    "rint",
    "round",
    "rsqrt",
    "square",
    "trunc",
    "zeros_like",
]
ARITHMETIC = ["add", "sub", "mul", "div", "power", "maximum", "minimum", "mod", "hypot"]


def data() -> Any:
    return mx.sym.var("data")


@pytest.mark.parametrize("name", [*FUNCTIONS, *OTHERS])
def test_function(name: str) -> None:
    function = mx.sym.contrib.sign_ste if name == "_contrib_sign_ste" else getattr(mx.sym, name)
    check(function(data()), (12,), DOMAINS.get(name, VALUES), tolerance=1e-5)


def test_functions_of_small_numbers_keep_their_digits() -> None:
    small = np.array([[1e-6, -3e-5, 2e-4]])
    check(mx.sym.expm1(data()), (3,), small, tolerance=1e-6)
    check(mx.sym.log1p(data()), (3,), small, tolerance=1e-6)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS, "not_equal", *LOGIC])
def test_two_operands(name: str) -> None:
    sides = mx.sym.split(data(), num_outputs=2, axis=1)
    left, right = (sides[0], sides[1]) if name != "power" else (mx.sym.abs(sides[0]), sides[1])
    rows = np.array([[2.5, -1, 0, 3, 7.5, 2.5, 2, -0.5, 0, 0.5], [1, -1.5, 2, 0, -7.5, 1, -3, 2, 1, 2]])
    check(getattr(mx.sym, f"broadcast_{name}")(left, right), (10,), rows, tolerance=5e-6)


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "**", "%", ">", ">=", "<", "<=", "==", "!="])
def test_operators_between_symbols_and_with_numbers(operator: str) -> None:
    y = data()
    names = {"x": mx.sym.abs(y) + 0.5, "y": y}
    expressions = [f"x {operator} y", f"x {operator} 1.5"]
    if operator in ("+", "-", "*", "/", "**", "%"):
        expressions.append(f"1.5 {operator} x")
    for expression in expressions:
        check(eval(expression, dict(names)), (6,), np.array([[1, 2, -1.5, 0.5, 1.5, -3]]), tolerance=5e-6)


@pytest.mark.parametrize("scalar", [1.0, 2.0])
def test_smooth_l1(scalar: float) -> None:
    check(mx.sym.smooth_l1(data(), scalar=scalar), (12,), VALUES)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float16", "float64"])
def test_casts_there_and_back(dtype: str) -> None:
    rows = np.abs(VALUES) if dtype == "uint8" else VALUES
    check(mx.sym.Cast(mx.sym.Cast(data(), dtype=dtype), dtype="float32"), (12,), rows)


def test_bounds_and_hard_sigmoid() -> None:
    check(mx.sym.clip(data(), -1, 2), (12,), VALUES)
    check(mx.sym.hard_sigmoid(data()), (12,), VALUES)
    check(mx.sym.hard_sigmoid(data(), alpha=0.5, beta=0.1), (12,), VALUES)


def test_several_terms() -> None:
    x = data()
    check(mx.sym.add_n(x, x * 2, mx.sym.sqrt(mx.sym.abs(x))), (12,), VALUES)
    check(mx.sym.contrib.div_sqrt_dim(x), (3, 5))
    check(mx.sym.contrib.quadratic(x, a=2, b=-1, c=3), (12,), VALUES)


def test_choice_by_a_condition() -> None:
    x = data()
    check(mx.sym.where(x > 0, x * 2, x - 1), (12,), VALUES)


@pytest.mark.parametrize(
    "options",
    [{"start": 1, "stop": 13}, {"start": 0, "stop": 6, "repeat": 2}, {"start": 6, "stop": 0, "step": -0.5}],
)
def test_ranges(options: dict[str, Any]) -> None:
    terms = mx.sym.expand_dims(mx.sym.arange(**options), axis=0)
    check(mx.sym.broadcast_add(data(), terms), (12,), VALUES)


def test_constants() -> None:
    factors = mx.sym.ones((1, 12)) * mx.sym.full((1, 12), 2)
    check(mx.sym.broadcast_mul(mx.sym.dot(data(), mx.sym.eye(12, k=1)), factors), (12,), VALUES)


def test_states_that_depend_on_the_batch_are_computed() -> None:
    zeros = mx.sym.zeros(shape=(0, 12))
    check(mx.sym.elemwise_add(data(), zeros), (12,), VALUES)


@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace(endpoint: bool) -> None:
    check(mx.sym.broadcast_add(data(), mx.sym.linspace(1, 3, 5, endpoint=endpoint)), (5,))


def test_amp_casts_floats_alone() -> None:
    half = mx.sym.amp_cast(data(), dtype="float16")
    check(mx.sym.amp_cast(half, dtype="float32"), (5,))
    whole = mx.sym.amp_cast(mx.sym.Cast(data() * 9, dtype="int32"), dtype="float16")
    check(mx.sym.Cast(whole, dtype="float32"), (5,))


@pytest.mark.parametrize("narrow", [True, False])
def test_amp_casts_several_to_one_type(narrow: bool) -> None:
    layer = mx.sym.Cast(mx.sym.tanh(data()), dtype="float32")
    both = mx.sym.amp_multicast(mx.sym.Cast(layer, dtype="float16"), layer, num_outputs=2, cast_narrow=narrow)
    whole = [mx.sym.Cast(each, dtype="float32") for each in both]
    check(whole[0] - 2 * whole[1], (5,))


def test_infinities() -> None:
    rows = np.array([[math.inf, -math.inf, 3e38, 1e-40]])
    for operator in (mx.sym.log1p, mx.sym.exp, mx.sym.tanh, mx.sym.sigmoid, mx.sym.abs, mx.sym.sign):
        check(operator(mx.sym.abs(data()) if operator is mx.sym.log1p else data()), (4,), rows)
