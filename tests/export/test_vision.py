"""The translations of operators on pictures give what MXNet gives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.export.comparing import check
from tests.networks import mx

pytest.importorskip("onnxruntime")


def data() -> Any:
    return mx.sym.var("data")


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("kind", ["nearest", "bilinear"])
def test_up_sampling(kind: str, scale: int) -> None:
    options = {"num_filter": 2} if kind == "bilinear" else {}
    check(mx.sym.UpSampling(data(), scale=scale, sample_type=kind, num_args=1, name="up", **options), (2, 3, 4))


def test_up_sampling_of_several() -> None:
    large = data()
    small = mx.sym.Pooling(large, kernel=(2, 2), stride=(2, 2), pool_type="max")
    for mode in ("concat", "sum"):
        check(
            mx.sym.UpSampling(large, small, scale=2, sample_type="nearest", num_args=2, multi_input_mode=mode),
            (2, 4, 6),
        )


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("size", [(7, 9), (2, 3), (4, 5)])
def test_bilinear_resize(size: tuple[int, int], align: bool) -> None:
    layer = mx.sym.contrib.BilinearResize2D(data(), height=size[0], width=size[1], align_corners=align)
    check(layer, (2, 4, 5), tolerance=5e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4)])
def test_adaptive_average(size: tuple[int, int]) -> None:
    check(mx.sym.contrib.AdaptiveAvgPooling2D(data(), output_size=size), (2, 5, 7))
