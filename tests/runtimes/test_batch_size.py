"""How rows are computed: the size and graph that are chosen, with any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError, ModelError
from fastinfer.models.module import Model, load_model
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.base import BoundInput, BoundOutput, Executor, Runtime
from fastinfer.runtimes.batch_size import ROWS_PER_EXACT_GRAPH, Batching, bind_executors, choose_batching
from fastinfer.runtimes.invariance import CANDIDATES
from fastinfer.runtimes.views import predict_rows, rows_of


class Sums:
    """A runtime of a few lines: the sum of a row, and at some batch sizes its place as well."""

    advice: str | None = None

    def __init__(self, dependent: Sequence[int] = (), mixing: Sequence[int] = ()) -> None:
        self.dependent, self.mixing = dependent, mixing
        self.bound: list[tuple[tuple[str, int], int, bool]] = []
        self.outputs: tuple[BoundOutput, ...] = (BoundOutput("sum", 1, (), "float32"),)

    def identity(self) -> dict[str, Any]:
        return {"sums": f"{self.dependent}"}

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        if any(kind == "gpu" for kind, _ in devices):
            raise ConfigError("there is no gpu:0", code="no_such_device")

    def bind(self, model: Model, device: tuple[str, int], batch_size: int, *, row_wise: bool = False) -> Executor:
        self.bound.append((device, batch_size, row_wise))
        return SumExecutor(self, model, batch_size)


class SumExecutor:
    def __init__(self, runtime: Sums, model: Model, batch_size: int) -> None:
        self.batch_size = batch_size
        self.outputs = runtime.outputs
        self._rows = np.zeros((batch_size, model.row_values), np.float32)
        self.inputs = (BoundInput("data", model.row_shape, memoryview(self._rows.reshape(-1))),)
        self.gives_a_row_each = batch_size not in runtime.mixing
        self._dependent = batch_size in runtime.dependent

    def forward(self) -> tuple[memoryview, ...]:
        places = np.arange(self.batch_size, dtype=np.float32) * 1e-3
        return (memoryview(self._rows.sum(axis=1) + (places if self._dependent else 0)),)


@pytest.fixture
def model(linear: Path) -> Model:
    return load_model(linear)


def test_the_first_size_at_which_rows_do_not_depend_on_their_place_is_chosen(model: Model) -> None:
    runtime: Runtime = Sums(dependent=CANDIDATES[:2])
    assert choose_batching(runtime, model, Options()) == Batching(CANDIDATES[2], row_wise=False, invariant=True)


def test_where_no_size_is_invariant_rows_are_computed_one_by_one(model: Model) -> None:
    expected = Batching(ROWS_PER_EXACT_GRAPH, row_wise=True, invariant=True)
    assert choose_batching(Sums(dependent=CANDIDATES), model, Options()) == expected


def test_exact_takes_the_row_wise_graph_without_a_probe(model: Model) -> None:
    runtime = Sums()
    assert choose_batching(runtime, model, Options(exact=True)) == Batching(8, row_wise=True, invariant=True)
    assert choose_batching(runtime, model, Options(exact=True, batch_size=3)).batch_size == 3
    assert runtime.bound == []


def test_a_size_that_was_asked_for_is_probed(model: Model) -> None:
    runtime = Sums(dependent=[7], mixing=[9])
    assert choose_batching(runtime, model, Options(batch_size=5)) == Batching(5, row_wise=False, invariant=True)
    assert choose_batching(runtime, model, Options(batch_size=7)) == Batching(7, row_wise=False, invariant=False)
    with pytest.raises(ModelError, match="at batch size 9 it does not give a row for each record"):
        choose_batching(runtime, model, Options(batch_size=9))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(batch_size=10**12), "at most 1,073,741,823 for records of 2 values, found 1,000,000,000,000"),
        (Options(batch_size=1025, exact=True), "at most 1,024 for rows computed one by one, found 1,025"),
    ],
)
def test_a_batch_that_nothing_can_hold_is_an_error_of_the_option(model: Model, options: Options, words: str) -> None:
    runtime = Sums()
    with pytest.raises(ConfigError) as caught:
        choose_batching(runtime, model, options)
    assert words in str(caught.value)
    assert runtime.bound == []


def test_a_batch_that_does_not_fit_into_memory_is_an_error_of_the_model(model: Model) -> None:
    with pytest.raises(ModelError, match="at batch size"):
        load_runtime().bind(model, ("cpu", 0), 10**12)


def test_graphs_go_to_the_devices_in_turn(model: Model) -> None:
    runtime = Sums()
    bind_executors(runtime, model, [("cpu", 0), ("cpu", 1)], 3, 4, row_wise=True)
    assert runtime.bound == [(("cpu", 0), 4, True), (("cpu", 1), 4, True), (("cpu", 0), 4, True)]
    with pytest.raises(ConfigError):
        bind_executors(runtime, model, [("gpu", 0)], 1, 4, row_wise=True)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([("a", 1, (), "float32"), ("b", 1, (), "float32")], r"the model has 2 outputs \(a, b\); one is served"),
        ([("a", 1, (), "int32")], "the output is int32; float32 is served"),
        ([("a", 3, (2,), "float32")], r"a batch of 1 record gives an output of shape \(3, 2\), not one row"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(model: Model, outputs: list[Any], words: str) -> None:
    runtime = Sums()
    runtime.outputs = tuple(BoundOutput(*each) for each in outputs)
    with pytest.raises(ModelError, match=words):
        choose_batching(runtime, model, Options())
    with pytest.raises(ModelError, match=words):
        bind_executors(runtime, model, [("cpu", 0)], 1, 4, row_wise=True)


def test_mxnet_is_a_runtime(model: Model) -> None:
    runtime = load_runtime()
    assert runtime.identity()["mxnet"].startswith("1.")
    executor = runtime.bind(model, ("cpu", 0), 2)
    rows_of(executor)[:] = [[1, 2], [3, 4]]
    assert predict_rows(executor).shape == (2, 1)
    with pytest.raises(ConfigError, match="there is no gpu:99"):
        runtime.check_devices([("cpu", 0), ("gpu", 99)])
