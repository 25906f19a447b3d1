"""The translations of operators on pictures give what MXNet gives."""

from __future__ import annotations

from typing import Any

import numpy as np
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
@pytest.mark.parametrize("size", [(7, 9), (2, 3), (4, 5), (1, 3), (3, 1)])
def test_bilinear_resize(size: tuple[int, int], align: bool) -> None:
    layer = mx.sym.contrib.BilinearResize2D(data(), height=size[0], width=size[1], align_corners=align)
    check(layer, (2, 4, 5), tolerance=5e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4)])
def test_adaptive_average(size: tuple[int, int]) -> None:
    check(mx.sym.contrib.AdaptiveAvgPooling2D(data(), output_size=size), (2, 5, 7))


@pytest.mark.parametrize(("kind", "row_shape"), [("affine", (6,)), ("warp", (2, 4, 5))])
def test_sampling_grid(kind: str, row_shape: tuple[int, ...]) -> None:
    check(mx.sym.GridGenerator(data(), transform_type=kind, target_shape=(3, 5)), row_shape)


@pytest.mark.parametrize("change", [lambda grid: grid * 1.3, lambda grid: mx.sym.round(grid * 2)])
def test_bilinear_sampler(change: Any) -> None:
    """Also at places outside of the picture, and on its edge."""
    both = data()
    grid = mx.sym.slice_axis(both, axis=1, begin=3, end=5)
    rows = np.random.RandomState(1).uniform(-1, 1, (3, 5 * 6 * 7))
    check(mx.sym.BilinearSampler(mx.sym.slice_axis(both, axis=1, begin=0, end=3), change(grid)), (5, 6, 7), rows)


def test_spatial_transformer() -> None:
    picture = data()
    place = mx.sym.FullyConnected(picture, num_hidden=6)
    options = {"transform_type": "affine", "sampler_type": "bilinear", "target_shape": (4, 5)}
    check(mx.sym.SpatialTransformer(picture, place, **options), (2, 6, 7))


PRIORS = [
    {},
    {"sizes": (0.2, 0.5), "ratios": (1, 2, 0.5)},
    {"sizes": (0.9,), "ratios": (2, 3), "clip": True},
    {"sizes": (0.1, 0.2), "steps": (0.3, 0.2), "offsets": (0.1, 0.7)},
]


@pytest.mark.parametrize("options", PRIORS)
def test_prior_boxes(options: dict[str, Any]) -> None:
    picture = data()
    mean = mx.sym.mean(picture, axis=(1, 2, 3)).reshape((-1, 1, 1))
    check(mx.sym.broadcast_add(mx.sym.contrib.MultiBoxPrior(picture, **options), mean), (2, 3, 4))


DETECTIONS = [
    {},
    {"threshold": 0.3, "nms_threshold": 0.2},
    {"force_suppress": True, "threshold": 0.1},
    {"nms_threshold": -1},
    {"clip": False, "variances": (0.9, 0.8, 0.7, 0.6)},
    {"threshold": 0.9},
    {"nms_topk": 5},
    {"nms_topk": 9, "threshold": 0.3, "nms_threshold": 0.1},
    {"nms_topk": 39, "threshold": 0.5, "force_suppress": True, "nms_threshold": 1},
]


@pytest.mark.parametrize("options", DETECTIONS)
def test_detections(options: dict[str, Any]) -> None:
    classes, count = 4, 40
    both = data()
    scores = mx.sym.reshape(mx.sym.slice_axis(both, axis=1, begin=0, end=classes * count), shape=(0, classes, count))
    places = mx.sym.slice_axis(both, axis=1, begin=classes * count, end=None)
    priors = mx.sym.contrib.MultiBoxPrior(mx.sym.reshape(places, shape=(0, 4, 1, -1)), sizes=(0.3,))
    found = mx.sym.contrib.MultiBoxDetection(mx.sym.softmax(scores * 4, axis=1), places, priors, **options)
    rows = np.random.RandomState(1).uniform(-1, 1, (4, (classes + 4) * count))
    check(found, ((classes + 4) * count,), rows, tolerance=1e-5)


SUPPRESSIONS = [
    {},
    {"id_index": 0, "overlap_thresh": 0.2},
    {"id_index": 0, "force_suppress": True, "overlap_thresh": 0.3, "background_id": 0},
    {"id_index": 0, "overlap_thresh": 0.1, "topk": 12},
    {"topk": 7, "overlap_thresh": 0.9, "valid_thresh": 0.3},
    {"in_format": "center", "out_format": "center", "overlap_thresh": 0},
    {"coord_start": 3, "score_index": 2, "id_index": 1, "overlap_thresh": 0.2},
    {"valid_thresh": 2},
    {"topk": 0},
]


@pytest.mark.parametrize("equal_scores", [False, True])
@pytest.mark.parametrize("options", SUPPRESSIONS)
def test_suppressed_boxes(options: dict[str, Any], equal_scores: bool) -> None:
    random, count, width = np.random.RandomState(2), 30, 7
    rows = random.uniform(0, 1, (4, count, width))
    first = options.get("coord_start", 2)
    rows[:, :, first : first + 2] *= 0.7
    rows[:, :, first + 2 : first + 4] = rows[:, :, first : first + 2] + rows[:, :, first + 2 : first + 4] / 2
    rows[:, :, options.get("id_index", 0)] = random.randint(0, 4, (4, count))
    if equal_scores:
        rows[:, :, options.get("score_index", 1)] = random.randint(0, 4, (4, count)) / 4
    check(mx.sym.identity(mx.sym.contrib.box_nms(data(), **options)[0]), (count, width), rows)
