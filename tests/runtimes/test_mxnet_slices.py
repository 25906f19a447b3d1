"""Values are cut into parts by an operator for each part, with the same bits and outputs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import probe_rows
from fastinfer.runtimes.mxnet import graph as mxnet_graph
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.slices import LEAST_VALUES, slice_by_parts
from fastinfer.runtimes.views import predict_all, rows_of
from tests import networks
from tests.networks import mx


def cut() -> Any:
    """Parts of several axes, one of which is an output, is used twice, and is cut again."""
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=6 * 64, name="fc").reshape((0, 6, 64))
    left, middle, right = mx.sym.SliceChannel(layer, num_outputs=3, axis=1, name="middle")
    last = mx.sym.split(mx.sym.Concat(left, right, dim=1), num_outputs=2, axis=-1, name="last")
    squeezed = mx.sym.SliceChannel(layer, num_outputs=6, axis=1, squeeze_axis=True, name="squeezed")
    return mx.sym.Group(
        [middle, last[1] * last[0], squeezed[5] - middle.reshape((0, -1)).slice_axis(axis=1, begin=0, end=64)]
    )


def outputs(folder: Path, size: int) -> list[Any]:
    executor = MXNetExecutor(load_model(folder, output="all"), ("cpu", 0), size)
    rows_of(executor)[:] = probe_rows(size, 5)
    return predict_all(executor)


def test_parts_have_the_bits_that_the_one_operator_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = cut()
    folder = networks.write(tmp_path, symbol, {"data": (5,)})
    seen: list[Counter[str]] = []

    def watched(text: str, shapes: Any) -> str:
        found = slice_by_parts(text, shapes)
        seen.append(Counter(node["op"] for node in json.loads(found)["nodes"]))
        return found

    monkeypatch.setattr(mxnet_graph, "slice_by_parts", watched)
    size = -(-LEAST_VALUES // (6 * 64))
    found = {each: outputs(folder, each) for each in (2, 2 * size)}
    # Small values stay as they are, and so does what is squeezed.
    assert (seen[0]["SliceChannel"] + seen[0]["split"], seen[0]["slice_axis"]) == (3, 1)
    assert (seen[1]["SliceChannel"] + seen[1]["split"], seen[1]["slice_axis"]) == (1, 6)
    monkeypatch.setattr(mxnet_graph, "slice_by_parts", lambda text, _: text)
    for each, arrays in found.items():
        expected = outputs(folder, each)
        assert [array.shape for array in arrays] == [array.shape for array in expected]
        assert [array.tobytes() for array in arrays] == [array.tobytes() for array in expected]
    assert len({np.shape(array) for array in expected}) == 3


def test_a_graph_without_slices_stays_as_it_is() -> None:
    text = mx.sym.exp(mx.sym.var("data")).tojson()
    assert slice_by_parts(text, {0: [(1000, 1000)], 1: [(1000, 1000)]}) is text
