"""A Reshape that leaves no values is an error before MXNet divides by their number, which would end the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.module import load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.networks import mx


def reshaped(folder: Path, *shapes: tuple[int, ...], **options: object) -> Path:
    network = mx.sym.var("data")
    for number, shape in enumerate(shapes):
        network = mx.sym.Reshape(network, shape=shape, name=f"r{number}", **options)
    return networks.write(folder, network, {"data": (3,)}, {})


@pytest.mark.parametrize("shape", [(0, -1), (-3, -1), (-2, -1), (0, 0, -1), (-4, 1, -1, 0), (-4, 1, -1, -1)])
def test_a_reshape_to_no_values_is_refused_before_it_is_divided_by(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = load_model(reshaped(tmp_path, (-1, 9), shape))
    with pytest.raises(ModelError, match="'r1' reshapes an array without values"):
        load_runtime().bind(model, ("cpu", 0), 1)


def test_an_empty_slice_is_refused_before_it_is_divided_by(tmp_path: Path) -> None:
    empty = mx.sym.slice(mx.sym.var("data"), begin=(0, 1), end=(1, 1))
    model = load_model(networks.write(tmp_path, mx.sym.Reshape(empty, shape=(-1, 0), name="r"), {"data": (3,)}, {}))
    with pytest.raises(ModelError, match="'r' reshapes an array without values"):
        load_runtime().bind(model, ("cpu", 0), 1)


def test_reshapes_that_fit_give_what_they_take(tmp_path: Path) -> None:
    model = load_model(reshaped(tmp_path, (-1, 9), (0, -1), (3, -1)))
    executor = load_runtime().bind(model, ("cpu", 0), 3)
    rows_of(executor)[:] = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert predict_rows(executor).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("shape", "reverse"), [((-4, -1, 0, -2), False), ((0, -4, 0, -1), False), ((0, -1, -4, -2), True)]
)
def test_a_size_that_is_split_by_zero_is_refused(shape: tuple[int, ...], reverse: bool, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its shape is"):
        load_model(reshaped(tmp_path, shape, reverse=reverse))
