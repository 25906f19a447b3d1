"""How rows are computed: the size and graph that are chosen, with any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError, ModelError
from fastinfer.models.inputs import Input
from fastinfer.models.module import Model, load_model
from fastinfer.options import Options
from fastinfer.runtimes import batch_size, load_runtime
from fastinfer.runtimes.base import AS_IT_IS, BoundInput, BoundOutput, DenseLayers, Executor
from fastinfer.runtimes.batch_size import (
    BATCH_VALUE_BYTES,
    FEW_ROWS,
    LARGE_VALUE_BYTES,
    ROWS_PER_EXACT_GRAPH,
    SIZES,
    Batching,
    bind_ladder,
    choose_batching,
    is_costly,
)
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.networks import mx


class Sums:
    """A runtime of a few lines: the sum of a row, and at some batch sizes its place as well."""

    advice: str | None = None
    many_rows = 144

    def __init__(self, dependent: Sequence[int] = (), mixing: Sequence[int] = ()) -> None:
        self.dependent, self.mixing = dependent, mixing
        self.largest = 4
        self.held = 1
        self.bound: list[tuple[tuple[str, int], int, bool]] = []
        self.outputs: tuple[BoundOutput, ...] = (BoundOutput("sum", 1, (), "float32"),)

    def identity(self) -> dict[str, Any]:
        return {"sums": f"{self.dependent} {self.mixing} {self.largest} {self.outputs}"}

    def value_bytes(self, model: Model) -> list[int]:
        return [4 * model.row_values, self.largest]

    def held_batch(self, model: Model) -> int:  # noqa: ARG002
        return self.held

    def outputs_of(self, model: Model, batch_size: int) -> tuple[BoundOutput, ...]:  # noqa: ARG002
        return self.outputs

    def layers_alone(self, model: Model) -> tuple[None, bool]:  # noqa: ARG002
        return None, False

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        if any(kind == "gpu" for kind, _ in devices):
            raise ConfigError("there is no gpu:0", code="no_such_device")

    def make_resources(self) -> None:
        pass

    def bind(
        self,
        model: Model,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,  # noqa: ARG002
        lenient: bool = False,  # noqa: ARG002
        resources: object = None,  # noqa: ARG002
    ) -> Executor:
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


def found(batching: Batching) -> tuple[int, bool, bool, tuple[int, ...]]:
    """Without the times, which differ."""
    return batching[:4]


def test_the_rule_names_the_size_and_the_probe_the_smaller_ones_with_its_bits(model: Model) -> None:
    smaller = tuple(size for size in SIZES if size < Sums.many_rows)
    batching = choose_batching(Sums(), model, Options())
    assert found(batching) == (Sums.many_rows, False, True, smaller)
    assert len(batching.seconds) == len(smaller) + 1
    # The row of a convolution net is much work: a few rows are enough.
    convolution = Sums(dependent=[8])
    convolution.largest = LARGE_VALUE_BYTES + 4
    assert found(choose_batching(convolution, model, Options())) == (FEW_ROWS, False, True, (1, 2, 3, 4, 6))
    # Of one with huge values, even fewer fit.
    huge = Sums(dependent=[9])
    huge.largest = BATCH_VALUE_BYTES // 5
    assert found(choose_batching(huge, model, Options())) == (4, False, True, (1, 2, 3))


def test_where_the_named_size_is_not_invariant_the_next_smaller_one_is_chosen(model: Model) -> None:
    batching = choose_batching(Sums(dependent=[Sums.many_rows, 96]), model, Options())
    assert found(batching) == (48, False, True, tuple(size for size in SIZES if size < 48))
    few = Sums(dependent=[size for size in SIZES if 1 < size <= Sums.many_rows])
    assert found(choose_batching(few, model, Options())) == (240, False, True, (1,))


def test_where_no_size_is_invariant_rows_are_computed_one_by_one(model: Model) -> None:
    expected = Batching(ROWS_PER_EXACT_GRAPH, row_wise=True, invariant=True, smaller=(1,))
    assert choose_batching(Sums(dependent=SIZES), model, Options()) == expected


def test_a_large_model_is_bound_at_few_sizes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "FEW_SIZES_PARAMS_BYTES", 0)
    assert found(choose_batching(Sums(dependent=[2]), model, Options())) == (Sums.many_rows, False, True, (1,))
    monkeypatch.setattr(batch_size, "COPIED_PARAMS_BYTES", 0)
    assert choose_batching(Sums(), model, Options(exact=True)) == Batching(1, row_wise=True, invariant=True)


def test_random_operators_are_named_and_not_probed(tmp_path: Path) -> None:
    def dropping() -> tuple[Any, tuple[int, ...]]:
        layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)
        return mx.sym.Dropout(layer, p=0.5, mode="always", name="noise"), (4,)

    model = load_model(networks.save(dropping, tmp_path))
    with pytest.warns(RuntimeWarning, match="outputs vary by design: noise draw random numbers"):
        batching = choose_batching(load_runtime(), model, Options())
    assert (batching.invariant, batching.varies) == (False, ("noise",))
    with pytest.warns(RuntimeWarning, match="outputs vary by design"):
        choose_batching(load_runtime(), model, Options(exact=True))


def test_exact_takes_the_row_wise_graph_without_a_probe(model: Model) -> None:
    runtime = Sums()
    assert choose_batching(runtime, model, Options(exact=True)) == Batching(8, True, True, smaller=(1,))
    assert choose_batching(runtime, model, Options(exact=True, batch_size=3)).batch_size == 3
    assert runtime.bound == []


def test_a_long_row_is_computed_without_copies_that_have_none(model: Model) -> None:
    long = replace(model, inputs=(Input("data", (LARGE_VALUE_BYTES // 4 + 1,)),))
    assert choose_batching(Sums(), long, Options(exact=True)) == Batching(1, True, True)


def test_a_size_that_was_asked_for_is_probed(model: Model) -> None:
    runtime = Sums(dependent=[7], mixing=[9])
    assert found(choose_batching(runtime, model, Options(batch_size=5))) == (5, False, True, (1, 2, 3, 4))
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


def test_a_ladder_has_its_largest_graph_bound(model: Model) -> None:
    runtime = Sums()
    batching = Batching(4, row_wise=True, invariant=True, smaller=(1,))
    assert bind_ladder(runtime, model, ("cpu", 1), batching).batch_size == 4
    assert runtime.bound == [(("cpu", 1), 4, True)]


@pytest.mark.parametrize(
    ("smaller", "seconds", "largest"),
    [
        ((1, 2), (1.0, 1.9, 11.5), 2),
        ((1, 2, 4), (1.0, 1.9, 3.6, 11.0), 4),
        ((1, 2), (1.0, 2.0, 11.9), 12),
        ((1, 2), (1.0, 2.0, 12.0), 1),
        ((), (1.0,), 12),
        ((1, 2), (), 12),
    ],
)
def test_a_graph_is_bound_only_if_a_row_costs_less_in_it(
    smaller: tuple[int, ...], seconds: tuple[float, ...], largest: int, model: Model
) -> None:
    batching = Batching(12, False, True, smaller=smaller, seconds=seconds)
    runtime = Sums()
    assert bind_ladder(runtime, model, ("cpu", 0), batching).batch_size == batching.pass_rows == largest
    assert [size for _, size, _ in runtime.bound] == [largest]


class BatchOfOne(Sums):
    """A graph that holds the batch size 1."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "holds": 1}  # what the probe finds is kept

    def bind(self, model: Any, device: Any, batch_size: int, *, row_wise: bool = False, **others: Any) -> Any:
        if batch_size > 1 and not row_wise:
            raise ModelError("shapes do not fit", path="x")
        return super().bind(model, device, batch_size, row_wise=row_wise, **others)


def test_a_graph_that_holds_the_batch_size_1_is_computed_row_by_row(model: Model) -> None:
    assert choose_batching(BatchOfOne(), model, Options()).row_wise
    with pytest.raises(ModelError, match="at batch size 4 it does not give a row for each record"):
        choose_batching(BatchOfOne(), model, Options(batch_size=4))


@pytest.mark.parametrize("exact", [False, True])
def test_a_graph_that_holds_another_batch_size_is_computed_at_it_alone(exact: bool, model: Model) -> None:
    runtime = Sums()
    runtime.held = 8
    for asked in (None, 8):
        with pytest.warns(RuntimeWarning, match="the graph holds batch size 8; the container fails there"):
            batching = choose_batching(runtime, model, Options(exact=exact, batch_size=asked))
        assert found(batching) == (8, False, True, ())
    with pytest.raises(ConfigError, match="holds batch size 8, found 4"):
        choose_batching(runtime, model, Options(exact=exact, batch_size=4))
    slightly = Sums(dependent=[8])  # by a thousandth of the place: more than the order of sums does
    slightly.held = 8
    with pytest.raises(ModelError, match="holds batch size 8, and the records of a batch influence") as caught:
        choose_batching(slightly, model, Options(exact=exact))
    assert caught.value.code == "held_batch"


def test_mxnet_knows_the_batch_size_that_a_graph_holds(tmp_path: Path) -> None:
    runtime = load_runtime()
    for name, save in networks.HELD.items():
        assert runtime.held_batch(load_model(save(tmp_path / name))) == 8
    for name in ("batch_of_one", "steps", "maps", "lstm"):
        assert runtime.held_batch(load_model(networks.SERVED[name](tmp_path / name))) == 1
    mixing = load_model(networks.held_mixing(tmp_path / "mixing"))
    with pytest.raises(ModelError, match="holds batch size 8, and the records of a batch influence each other"):
        choose_batching(runtime, mixing, Options())


def test_nothing_is_known_of_a_record_where_the_graph_holds_a_batch_size(tmp_path: Path) -> None:
    assert not is_costly(load_runtime(), load_model(networks.HELD["states"](tmp_path)))


def test_mxnet_is_a_runtime(model: Model) -> None:
    runtime = load_runtime()
    assert runtime.identity()["mxnet"].startswith("1.")
    executor = runtime.bind(model, ("cpu", 0), 2)
    rows_of(executor)[:] = [[1, 2], [3, 4]]
    assert predict_rows(executor).shape == (2, 1)
    with pytest.raises(ConfigError, match="there is no gpu:99"):
        runtime.check_devices([("cpu", 0), ("gpu", 99)])
