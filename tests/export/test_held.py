"""Graphs that hold a batch size: the numbers that are it are found, and the export takes batches of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer.errors import ModelError
from fastinfer.export.certificate import Rows
from fastinfer.export.convert import export_model
from fastinfer.export.held import MOST_TRIED, NotReplaceable, Place, find_held, replace_held
from fastinfer.models.module import load_model
from tests import networks
from tests.networks import HELD, SERVED, mx

pytest.importorskip("onnxruntime")
ROWS = 40


def test_the_first_choice_that_fits_is_taken() -> None:
    nodes = [
        {"op": "null", "name": "data"},
        {"op": "Reshape", "name": "a", "attrs": {"shape": "(8, -8, 16)"}},
        {"op": "_zeros", "name": "b", "attrs": {"shape": "[24,8L]", "num_outputs": "8"}},
    ]
    tried = []

    def fits(places: Any, last: int | None) -> bool:
        tried.append((list(places), last))
        return places[:1] == [Place(1, "shape", 1)] and len(places) == (1 if last == 1 else 2)

    found = find_held(nodes, 8, fits)
    assert found == [Place(1, "shape", 1), Place(2, "shape", 0)]
    assert tried[0] == ([Place(1, "shape", 0)], 1)
    assert [node.get("attrs", {}).get("shape") for node in replace_held(nodes, found, 8, 3)] == [
        None,
        "(8, -8, 6)",
        "[9,8L]",
    ]
    with pytest.raises(NotReplaceable) as caught:
        find_held(nodes, 8, lambda _, last: last == 1)
    assert caught.value.node == 2


@pytest.mark.parametrize("wrong", [(), (0,), (17,), (17, 18, 40, 63)])
def test_a_choice_is_found_in_steps_that_grow_with_its_wrong_guesses_alone(wrong: tuple[int, ...]) -> None:
    """Of 64 nodes, whose first number is the batch size but for some."""
    nodes = [{"op": "Reshape", "name": str(number), "attrs": {"shape": "(8, 8)"}} for number in range(64)]
    expected = [Place(number, "shape", int(number in wrong)) for number in range(64)]
    asked = []

    def fits(places: Any, last: int | None) -> bool:
        asked.append(last)
        return list(places) == expected[: 64 if last is None else last + 1]

    assert find_held(nodes, 8, fits) == expected
    assert len(asked) <= 8 + 14 * len(wrong)


def test_a_search_that_does_not_end_says_how_many_choices_it_tried() -> None:
    nodes = [{"op": "Reshape", "name": str(number), "attrs": {"shape": "(8, 8)"}} for number in range(64)]
    with pytest.raises(NotReplaceable) as caught:
        find_held(nodes, 8, lambda _, last: last is not None and last < 40)
    assert (caught.value.node, caught.value.tried) == (40, MOST_TRIED)


def held(make: Callable[[Any], Any], row_shape: tuple[int, ...], folder: Path, batch: int) -> Path:
    """A network that takes batches of one size, with seeded parameters."""
    symbol = mx.sym.softmax(mx.sym.FullyConnected(make(mx.sym.var("data")), num_hidden=3))
    sizes, _, _ = symbol.infer_shape(data=(batch, *row_shape))
    random = np.random.RandomState(7)
    named = zip(symbol.list_arguments(), sizes)
    saved = {f"arg:{name}": mx.nd.array(random.uniform(-1, 1, size)) for name, size in named if name != "data"}
    return networks.write(folder, symbol, {"data": row_shape}, saved)


def image(batch: int) -> Callable[[Any], Any]:
    def make(data: Any) -> Any:
        layer = mx.sym.Convolution(mx.sym.reshape(data, shape=(batch, 1, 6, 6)), kernel=(3, 3), num_filter=4)
        return mx.sym.reshape(layer, shape=(batch, -1))

    return make


def steps(batch: int) -> Callable[[Any], Any]:
    """Time first: the batch size is the second number of a shape, and a factor of another one's first."""

    def make(data: Any) -> Any:
        layer = mx.sym.transpose(mx.sym.reshape(data, shape=(batch, 2, 3)), axes=(1, 0, 2))
        layer = mx.sym.FullyConnected(mx.sym.reshape(layer, shape=(2 * batch, 3)), num_hidden=4)
        states = [mx.sym.zeros((1, batch, 5)), mx.sym.zeros((1, batch, 5))]
        cell = mx.rnn.FusedRNNCell(5, mode="lstm", prefix="lstm_")
        outputs, _ = cell.unroll(2, mx.sym.reshape(layer, shape=(2, batch, -1)), begin_state=states, layout="TNC")
        return mx.sym.SequenceLast(outputs if not isinstance(outputs, list) else mx.sym.stack(*outputs))

    return make


def spread(batch: int) -> Callable[[Any], Any]:
    """Parameters for each record; a slice that ends with the batch."""

    def make(data: Any) -> Any:
        same = mx.sym.broadcast_to(mx.sym.var("same", shape=(1, 5)), shape=(batch, 5))
        bias = mx.sym.broadcast_axis(mx.sym.var("bias", shape=(1, 5)), axis=0, size=batch)
        part = mx.sym.slice_axis(mx.sym.slice(data, begin=(0, 1), end=(batch, 3)), axis=0, begin=0, end=batch)
        return mx.sym.concat(part, same * bias, dim=1)

    return make


def square(batch: int) -> Callable[[Any], Any]:
    """Rows of as many values as there are records: which number is which shows in what comes out alone."""
    return lambda data: mx.sym.reshape(mx.sym.reshape(data, shape=(batch, 2, 8)), shape=(2 * batch, 8))


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(("make", "values"), [(image, 36), (steps, 6), (spread, 4), (square, 16)])
def test_a_graph_that_holds_a_batch_size_is_exported_for_any(
    make: Any, values: int, batch: int, tmp_path: Path
) -> None:
    model = load_model(held(make(batch), (values,), tmp_path, batch))
    rows = np.random.RandomState(1).uniform(-1, 1, (ROWS, values)).astype(np.float32)
    told: list[str] = []
    found = export_model(model, "model.onnx", Rows("rows", rows), tell=told.append)
    assert told[0] == f"finding the batch size {batch} in the graph"
    assert found.reasons == ()
    assert found.certificate is not None
    assert found.certificate.facts["batches"]["other_bits"] == []
    alone = batch == 1
    assert found.certificate.facts["reference"] == f"MXNet, {'each record alone' if alone else 'in batches of 8'}"


@pytest.mark.parametrize("kind", [*HELD, "batch_of_one"])
def test_networks_that_are_served_at_one_batch_size_are_certified(kind: str, tmp_path: Path) -> None:
    found = export_model(load_model({**HELD, **SERVED}[kind](tmp_path)), "model.onnx")
    assert (found.reasons, found.onnx.batch) == ((), None)
    assert found.certificate is not None


def test_records_that_influence_each_other_are_refused_by_node(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'broadcast_sub[0-9]+' \(broadcast_sub, float32\) cannot be exported: the graph holds batch"
    ) as caught:
        export_model(load_model(networks.held_mixing(tmp_path)), "model.onnx")
    assert caught.value.code == "held_batch"


def test_a_number_that_cannot_be_replaced_is_refused_by_node(tmp_path: Path) -> None:
    def make(data: Any) -> Any:
        parts = mx.sym.split(mx.sym.reshape(data, shape=(8, 4), name="fixed"), num_outputs=8, axis=0, name="cut")
        return mx.sym.concat(*parts, dim=0)

    with pytest.raises(ModelError, match=r"the graph holds batch size 8, and 'fixed' \(Reshape\) takes no other"):
        export_model(load_model(held(make, (4,), tmp_path, 8)), "model.onnx")
