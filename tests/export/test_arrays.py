"""The translations of operators that move and reduce values, or multiply matrices, give what MXNet gives."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ModelError
from tests.export.comparing import check
from tests.networks import mx

pytest.importorskip("onnxruntime")


def data() -> Any:
    return mx.sym.var("data")


SHAPES = {
    "flatten": lambda x: mx.sym.flatten(x),
    "reshape": lambda x: mx.sym.reshape(x, shape=(0, -1, 2)),
    "reshape -2": lambda x: mx.sym.reshape(x, shape=(-2, 1)),
    "reshape -3": lambda x: mx.sym.reshape(x, shape=(0, -3, 0)),
    "reshape -4": lambda x: mx.sym.reshape(x, shape=(0, 0, -4, 2, -1, 0)),
    "reshape reverse": lambda x: mx.sym.reshape(x, shape=(0, 0, -1, 2), reverse=True),
    "reshape to rows and back": lambda x: mx.sym.reshape(mx.sym.reshape(x, shape=(-1, 2)), shape=(-1, 3, 4, 2)),
    "transpose": lambda x: mx.sym.transpose(x, axes=(0, 3, 1, 2)),
    "transpose all, twice": lambda x: mx.sym.transpose(mx.sym.transpose(x) * 2),
    "swapaxes": lambda x: mx.sym.swapaxes(x, dim1=1, dim2=3),
    "expand_dims": lambda x: mx.sym.expand_dims(x, axis=-1),
    "squeeze": lambda x: mx.sym.squeeze(mx.sym.expand_dims(x, axis=2), axis=2),
    "concat": lambda x: mx.sym.concat(x, x * 2, dim=2),
    "concat of channels by default": lambda x: mx.sym.concat(x, x * 2),
    "stack": lambda x: mx.sym.stack(x, x * 2, axis=-1),
    "split": lambda x: mx.sym.split(x, num_outputs=3)[2],
    "split, squeezed": lambda x: mx.sym.split(x, num_outputs=2, axis=3, squeeze_axis=True)[1],
    "split_v2": lambda x: mx.sym.split_v2(x, indices_or_sections=(1, 3), axis=2)[1],
    "slice": lambda x: mx.sym.slice(x, begin=(None, 1, -3), end=(None, None, -1)),
    "slice backwards": lambda x: mx.sym.slice(x, begin=(None, None, None), end=(None, None, None), step=(1, -1, 2)),
    "slice_axis": lambda x: mx.sym.slice_axis(x, axis=-2, begin=1, end=None),
    "slice_like": lambda x: mx.sym.slice_like(x, mx.sym.slice_axis(x, axis=2, begin=0, end=3), axes=(2,)),
    "flip": lambda x: mx.sym.flip(x, axis=(1, 2)),
    "pad": lambda x: mx.sym.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=7),
    "pad edge": lambda x: mx.sym.pad(x, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)),
    "pad reflect": lambda x: mx.sym.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 1, 0)),
    "tile": lambda x: mx.sym.tile(x, reps=(1, 2, 1, 3)),
    "tile the last axes": lambda x: mx.sym.tile(x, reps=(2, 3)),
    "repeat": lambda x: mx.sym.repeat(x, repeats=2, axis=2),
    "broadcast_axis": lambda x: mx.sym.broadcast_axis(mx.sym.sum(x, axis=2, keepdims=True), axis=2, size=5),
    "broadcast_to": lambda x: mx.sym.broadcast_to(mx.sym.sum(x, axis=2, keepdims=True), shape=(0, 0, 6, 0)),
    "broadcast_like": lambda x: mx.sym.broadcast_like(mx.sym.sum(x, axis=(0, 2), keepdims=True), x),
    "reshape_like": lambda x: mx.sym.reshape_like(mx.sym.flatten(x), x),
    "crop": lambda x: mx.sym.Crop(x, num_args=1, offset=(1, 0), h_w=(2, 2)),
    "crop the middle": lambda x: mx.sym.Crop(x, num_args=1, h_w=(2, 1), center_crop=True),
    "depth_to_space": lambda x: mx.sym.depth_to_space(mx.sym.tile(x, reps=(1, 4, 1, 1)), block_size=2),
    "space_to_depth": lambda x: mx.sym.space_to_depth(x, block_size=2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_moves(name: str) -> None:
    check(SHAPES[name](data()), (3, 4, 2))


REDUCTIONS = ["sum", "mean", "max", "min", "prod", "nansum", "nanprod"]


@pytest.mark.parametrize(
    "options", [{"axis": 1}, {"axis": (1, -1), "keepdims": True}, {"axis": (0, 2), "exclude": True}]
)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, options: dict[str, Any]) -> None:
    check(getattr(mx.sym, name)(data(), **options), (3, 4, 2), tolerance=5e-6)


def test_norms_and_moments() -> None:
    check(mx.sym.norm(data(), axis=1), (3, 4))
    check(mx.sym.norm(data(), ord=1, axis=(1, 2), keepdims=True), (3, 4))
    # Both: where the mean is not read, MXNet computes the variance with what is in the memory.
    check(mx.sym.stack(*mx.sym.moments(data(), axes=(1, 2)), axis=1), (3, 4))
    check(mx.sym.concat(*mx.sym.moments(data(), axes=(2,), keepdims=True)), (3, 4))
    check(mx.sym.cumsum(data(), axis=1), (3, 4))


@pytest.mark.parametrize("turned", [False, True])
def test_products(turned: bool) -> None:
    weight = mx.sym.var("w", shape=(6, 4) if turned else (4, 6))
    check(mx.sym.dot(data(), weight, transpose_b=turned), (4,))
    x = data()
    other = mx.sym.transpose(x, axes=(0, 2, 1)) if not turned else x
    check(mx.sym.batch_dot(x, other, transpose_b=turned), (3, 4))
    check(mx.sym.linalg.gemm2(x, other, transpose_b=turned, alpha=0.5), (3, 4))
    term = mx.sym.batch_dot(x, x, transpose_b=True)
    check(mx.sym.linalg.gemm(x, other, term, transpose_b=turned, alpha=2, beta=3), (3, 4))


def test_shapes_as_values() -> None:
    x = data()
    width = mx.sym.cast(mx.sym.slice_axis(mx.sym.shape_array(x), axis=0, begin=1, end=2), "float32")
    check(mx.sym.broadcast_mul(x, mx.sym.expand_dims(width, axis=0)), (5,))
    places = mx.sym.expand_dims(mx.sym.contrib.arange_like(x, axis=1), axis=0)
    check(mx.sym.broadcast_add(x, places), (5,))


@pytest.mark.parametrize("transpose", [True, False])
def test_a_matrix_times_itself(transpose: bool) -> None:
    check(mx.sym.linalg.syrk(data(), transpose=transpose, alpha=0.5), (2, 3, 4))


def test_a_variance_alone_is_refused() -> None:
    with pytest.raises(ModelError, match="its variance alone is used"):
        check(mx.sym.moments(data(), axes=(1,))[1], (4,))
