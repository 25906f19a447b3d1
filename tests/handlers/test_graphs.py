"""Graphs for rows of other shapes than the model's own: how large they are, and how many are kept."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import Predictor
from fastinfer.codecs.content_types import NPY
from fastinfer.errors import InputError, ModelError
from fastinfer.handlers.graphs import GRAPHS_LIMIT, Graphs, OtherShapes
from fastinfer.models.module import load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.mxnet.graph import value_bytes
from fastinfer.runtimes.mxnet.symbol import Symbol
from tests import networks

DEVICES = [("cpu", 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.save(networks.segmentation, tmp_path_factory.mktemp("segmentation"))


def others(folder: Path, **limits: int) -> OtherShapes:
    return OtherShapes(load_runtime(), load_model(folder), DEVICES, **limits)


def bound(graphs: Graphs) -> list[int]:
    """The batch sizes of the graphs."""
    with graphs._ladders.lend() as ladder:
        return sorted(ladder._bound)


def test_another_shape_is_bound_at_one_row_once_for_all_threads(folder: Path) -> None:
    predictor = Predictor(folder, batch_size=48, threads=4)
    rows = np.random.RandomState(5).rand(7, 1, 60, 50).astype(np.float32)
    body = io.BytesIO()
    np.save(body, rows)
    alone = [predictor.predict(rows[number : number + 1]) for number in range(7)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: predictor.answer(body.getvalue(), NPY, NPY), range(8)))
    for answer, content_type in answers:
        assert content_type == NPY
        assert np.array_equal(np.load(io.BytesIO(answer)), np.concatenate(alone))
    assert bound(predictor._others.graphs((1, 60, 50))) == [1]


def test_the_bytes_of_a_graph_are_those_of_its_values(folder: Path) -> None:
    model = load_model(folder)
    # The input, the convolution's output and its sigmoid.
    assert model.row_shape == (1, 5, 6)
    assert value_bytes(model) == [4 * 30, 4 * 2 * 12, 4 * 2 * 12]


def test_mxnet_gets_the_checked_graph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(folder)
    assert model.graph.text != model.symbol
    loaded: list[str] = []
    load = Symbol.load

    def note(text: str) -> Symbol:
        loaded.append(text)
        return load(text)

    monkeypatch.setattr(Symbol, "load", note)
    value_bytes(model)
    assert loaded == [model.graph.text]


def test_whatever_mxnet_raises_is_an_error_of_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Any:
        raise ZeroDivisionError("a defect")

    model = load_model(folder)
    monkeypatch.setattr(Symbol, "load", fail)
    with pytest.raises(ModelError, match="the graph does not accept the rows: a defect") as caught:
        value_bytes(model)
    assert caught.value.path == str(folder)


def test_a_shape_that_needs_too_much_memory_is_refused(folder: Path) -> None:
    few = others(folder, graph_bytes=1 << 20)
    few.graphs((1, 100, 100))
    with pytest.raises(
        InputError, match=r"^a row of shape \(1, 1000, 1000\) needs 19 MiB in the model, the limit is 1 MiB$"
    ):
        few.graphs((1, 1000, 1000))
    with pytest.raises(InputError, match=r"^expected rows of shape \(1, 5, 6\), found \(1, 2, 2\)$"):
        few.graphs((1, 2, 2))
    with pytest.raises(
        InputError, match=r"^a row of shape \(1, 16000, 16000\) needs 4,\d+ MiB in the model, the limit is 512 MiB$"
    ):
        others(folder).graphs((1, 16000, 16000))


def test_graphs_are_kept_by_their_bytes_and_by_their_number(folder: Path) -> None:
    shapes = [(1, 100, 100 + number) for number in range(2 * GRAPHS_LIMIT)]
    size = 1 << 20  # more than four of them need, less than six
    few, many = others(folder, all_bytes=size), others(folder)
    for shape in shapes:
        few.graphs(shape)
        many.graphs(shape)
    assert list(many._bound) == shapes[-GRAPHS_LIMIT:]
    kept = list(few._bound.values())
    assert 1 < len(kept) < GRAPHS_LIMIT
    assert sum(each for each, _ in kept) <= size < sum(each for each, _ in kept) + 200_000 * 2
    # The newest one is kept, whatever it needs.
    few.graphs((1, 300, 300))
    assert list(few._bound) == [(1, 300, 300)]
