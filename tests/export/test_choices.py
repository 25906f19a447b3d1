"""The translations of operators that choose among values give what MXNet gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.export.comparing import check
from tests.networks import mx

pytest.importorskip("onnxruntime")


def data() -> Any:
    return mx.sym.var("data")


CHOICES = {
    "take": lambda x: mx.sym.take(x, mx.sym.var("w", shape=(2,), dtype="float32") * 2, axis=1),
    "take of a table, wrapped": lambda x: mx.sym.take(mx.sym.var("w", shape=(3, 5), dtype="float32"), x, mode="wrap"),
    "take of a table": lambda x: mx.sym.take(mx.sym.var("w", shape=(3, 5), dtype="float32"), x),
    "one_hot": lambda x: mx.sym.one_hot(x, depth=3),
    "one_hot of other values": lambda x: mx.sym.one_hot(x, depth=3, on_value=5, off_value=-1),
    "pick": lambda x: mx.sym.pick(x * 3, mx.sym.max(x, axis=1)),
    "pick, kept": lambda x: mx.sym.pick(x * 3, mx.sym.max(x, axis=1), axis=1, keepdims=True, mode="wrap"),
    "batch_take": lambda x: mx.sym.batch_take(x, mx.sym.cast(mx.sym.max(x, axis=1), "int32")),
    "argmax": lambda x: mx.sym.argmax(x, axis=1),
    "argmin, kept": lambda x: mx.sym.argmin(x, axis=1, keepdims=True),
    "argmax_channel": lambda x: mx.sym.argmax_channel(x),
    "topk": lambda x: mx.sym.topk(x, k=2),
    "topk values": lambda x: mx.sym.topk(x, k=2, ret_typ="value", is_ascend=True),
    "topk both": lambda x: mx.sym.concat(*mx.sym.topk(x, k=2, ret_typ="both")),
    "sort": lambda x: mx.sym.sort(x, is_ascend=False),
    "argsort": lambda x: mx.sym.argsort(x),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    rows = np.array([[0, 1, 2, 5], [2, -1, 4, 1], [3, 1.5, 0, -4]])
    check(CHOICES[name](data()), (4,), rows)


def test_gather_nd() -> None:
    table = mx.sym.var("table", shape=(4, 3, 2), dtype="float32")
    places = mx.sym.transpose(mx.sym.cast(data(), "int32"))
    check(mx.sym.gather_nd(table, places), (2,), np.array([[0, 1], [3, 2], [1, 1]]))


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [1, -1])
def test_which_values_are_the_largest(axis: int, ascending: bool) -> None:
    check(mx.sym.topk(data(), k=2, axis=axis, ret_typ="mask", is_ascend=ascending), (3, 4))


@pytest.mark.parametrize("mode", ["clip", "wrap"])
def test_places_far_beyond_the_ends(mode: str) -> None:
    """MXNet makes int32 of them first."""
    rows = np.array([[1e9], [3e9], [-3e9], [2.0**32 + 512], [1e19]])
    place = data()
    values = mx.sym.broadcast_add(place * 0, mx.sym.var("table", shape=(1, 7)))
    check(mx.sym.pick(values, mx.sym.reshape(place, shape=(-1,)), axis=1, mode=mode), (1,), rows)
