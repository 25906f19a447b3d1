"""Records that an operator refuses: found, and the others predicted with the bits that they have without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.errors import InputError, ModelError
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.runtimes.base import BoundInput, BoundOutput
from fastinfer.runtimes.batch_size import bind_ladder, choose_batching
from fastinfer.runtimes.ladder import Ladder
from fastinfer.runtimes.mxnet.runtime import MXNetRuntime
from fastinfer.runtimes.refused import MOST_IN_A_ROW, RefusedInARow, predict, refusal
from fastinfer.runtimes.views import rows_of
from tests import networks
from tests.networks import mx


class Picky:
    """Twice each of two values, at a batch size; refuses a batch with a value that is on its list."""

    outputs: tuple[BoundOutput, ...] = (BoundOutput("doubles", 1, (2,), "float32"),)
    gives_a_row_each = True

    def __init__(self, batch_size: int, refused: set[float], code: str = "failed_pass") -> None:
        self.batch_size = batch_size
        self.refused = refused
        self.code = code
        memory: Any = memoryview(np.zeros(2 * batch_size, np.float32))  # type: ignore[arg-type]
        self.inputs: tuple[BoundInput, ...] = (BoundInput("data", (2,), memory),)

    def forward(self) -> tuple[memoryview, ...]:
        rows = rows_of(self)
        for value in rows.reshape(-1).tolist():
            if value in self.refused:
                raise ModelError(f"no {value:g}", code=self.code)
        return ((2 * rows.reshape(-1)).data,)


def picky(sizes: tuple[int, ...], refused: set[float], code: str = "failed_pass") -> Ladder:
    return Ladder(lambda size: Picky(size, refused, code), sizes)


def doubles(values: tuple[memoryview, ...], count: int) -> Any:
    return np.frombuffer(values[0], np.float32).reshape(-1, 2)[:count]


@given(
    st.sampled_from([(8,), (1, 8), (2, 3, 8), (1, 2, 4, 8)]),
    # What is blank is refused as well, or is not.
    st.sampled_from([{-1.0}, {-1.0, 0.0}]),
    st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=5),
    st.booleans(),
)
def test_the_others_are_predicted_whatever_an_earlier_batch_left(
    sizes: tuple[int, ...], refused: set[float], batches: list[list[bool]], blank: bool
) -> None:
    ladder = picky(sizes, refused)
    ladder.has_passed = True
    for number, is_bad in enumerate([*batches, [False]]):
        rows = np.array([[-1 if bad else 1 + place, 10 + number] for place, bad in enumerate(is_bad)], np.float32)
        rows_of(ladder)[: len(rows)] = rows
        values, found = predict(ladder, len(rows), blank=blank)
        assert {place: error.message for place, error in found.items()} == {
            place: "no -1" for place, bad in enumerate(is_bad) if bad
        }
        kept = ~np.array(is_bad)
        if kept.any():
            assert np.array_equal(doubles(values, len(rows))[kept], 2 * rows[kept])
        else:
            assert values == ()


class Counted(Picky):
    """Counts passes, and those that fail."""

    passes = failing = 0

    def forward(self) -> tuple[memoryview, ...]:
        Counted.passes += 1
        Counted.failing += 1
        values = super().forward()
        Counted.failing -= 1
        return values


def count(sizes: tuple[int, ...], bad: set[int]) -> tuple[int, int]:
    """Passes for a batch with refused records at these places, and those that fail."""
    ladder = Ladder(lambda size: Counted(size, {-1.0}), sizes)
    ladder.has_passed = True
    for size in sizes:
        ladder._executor(size)
    rows_of(ladder)[:] = [[-1 if place in bad else place, 7] for place in range(sizes[-1])]
    Counted.passes = Counted.failing = 0
    values, found = predict(ladder, sizes[-1])
    assert set(found) == bad
    left = [place for place in range(sizes[-1]) if place not in bad]
    if left:
        assert doubles(values, sizes[-1])[left, 0].tolist() == [2 * place for place in left]
    return Counted.passes, Counted.failing


def test_one_refused_record_costs_about_as_many_passes_as_its_batch_can_be_halved() -> None:
    costs = [count((128,), {place}) for place in range(128)]
    # Of 128: the batch, 7 halves, it alone, the rows behind it, the others together; trying both halves each time took 17.
    assert sum(passes for passes, _ in costs) / 128 < 7 + 5
    assert sum(failing for _, failing in costs) / 128 < 2 + 7 / 2
    assert max(passes for passes, _ in costs) <= 17


@pytest.mark.parametrize(("every", "most"), [(64, 24), (10, 92), (2, 200), (1, 137)])
def test_many_refused_records_of_a_batch_are_found_in_few_passes_each(every: int, most: int) -> None:
    bad = {place for place in range(128) if place % every == every // 2}
    assert count((128,), bad)[0] <= most


def test_rows_that_are_computed_alone_fail_once_for_each_refused_record() -> None:
    # The row-wise graph of models that check indices, and of one row.
    assert count((1, 8), {5}) == (10, 2)
    assert count((1, 8), {2, 5, 7}) == (10, 4)


def test_no_record_is_blamed_for_what_fails_only_beside_another_one() -> None:
    class Jealous(Picky):
        def forward(self) -> tuple[memoryview, ...]:
            if {2.0, 5.0} <= set(rows_of(self).reshape(-1).tolist()):
                raise ModelError("not both", code="failed_pass")
            return super().forward()

    ladder = Ladder(lambda size: Jealous(size, {7.0}), (8,))
    rows_of(ladder)[:, 0] = range(8)
    with pytest.raises(ModelError, match="not both"):
        predict(ladder, 8)


def test_a_model_that_refuses_whatever_it_is_given_is_at_fault_itself() -> None:
    ladder = picky((1, 4), {0.0, 5.0})
    rows_of(ladder)[:] = 5
    with pytest.raises(ModelError, match="no 5"):
        predict(ladder, 4)
    rows_of(ladder)[0] = 1  # it does not
    assert set(predict(ladder, 4)[1]) == {1, 2, 3}
    rows_of(ladder)[:] = 5
    assert set(predict(ladder, 4)[1]) == {0, 1, 2, 3}


def test_no_record_is_blamed_for_what_is_not_of_its_values() -> None:
    ladder = picky((4,), {5.0}, "bad_model")
    rows_of(ladder)[1] = 5
    with pytest.raises(ModelError, match="no 5"):
        predict(ladder, 4)


def test_no_record_is_blamed_where_memory_lacks_once_a_batch_has_failed() -> None:
    codes = iter(["failed_pass", "bad_model"])

    class Failing(Picky):
        def forward(self) -> tuple[memoryview, ...]:
            raise ModelError("no", code=next(codes))

    ladder = Ladder(lambda size: Failing(size, set()), (2,))
    ladder.has_passed = True
    with pytest.raises(ModelError, match="no") as caught:
        predict(ladder, 2)
    assert caught.value.code == "bad_model"


def test_a_refusal_is_an_error_of_the_input_with_the_words_of_the_runtime() -> None:
    error = ModelError("MXNet cannot run it: no", code="failed_pass", path="m", hint="try")
    found = refusal(error, 1200)
    assert isinstance(found, InputError)
    assert (found.code, str(found)) == (
        "refused_record",
        "the model refuses record 1,200: MXNet cannot run it: no. Hint: try",
    )


def test_refused_records_one_after_another_end_a_run() -> None:
    counter = RefusedInARow("m")
    error = ModelError("no", code="failed_pass")
    for _ in range(3):
        counter.count(dict.fromkeys(range(MOST_IN_A_ROW - 1), error), MOST_IN_A_ROW - 1)
        counter.count({0: error}, 2)
    counter.count(dict.fromkeys(range(MOST_IN_A_ROW - 1), error), MOST_IN_A_ROW - 1)
    with pytest.raises(ModelError, match=r"m: it refuses 1,024 records in a row; the last one: no"):
        counter.count({0: error}, 1)


@pytest.mark.parametrize("exact", [False, True])
def test_bits_are_those_of_a_batch_without_the_refused_record(exact: bool, tmp_path: Path) -> None:
    def decomposed() -> tuple[Any, tuple[int, ...]]:
        dense = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, no_bias=True, name="fc")
        return mx.sym.linalg_potrf(mx.sym.reshape(dense, shape=(-1, 2, 2))), (4,)

    folder = networks.save(decomposed, tmp_path)
    networks.edit(folder, lambda saved: saved.update({"arg:fc_weight": mx.nd.array(np.eye(4))}))
    runtime, model = MXNetRuntime(), load_model(folder)
    ladder = bind_ladder(runtime, model, ("cpu", 0), choose_batching(runtime, model, Options(exact=exact)))
    rows = np.array([[4 + number, 0, 0, 9 + number] for number in range(7)], np.float32)
    rows_of(ladder)[:7] = rows
    wanted = np.frombuffer(predict(ladder, 7)[0][0], np.float32).reshape(-1, 4)[:7].tolist()
    for bad in ([0], [6], [1, 2, 5], list(range(7))):
        rows_of(ladder)[:7] = rows
        rows_of(ladder)[bad] = 0  # not positive definite
        values, refused = predict(ladder, 7)
        assert sorted(refused) == bad
        assert all("potrf failed" in error.message for error in refused.values())
        left = [number for number in range(7) if number not in bad]
        found = np.frombuffer(values[0], np.float32).reshape(-1, 4) if values else np.empty((7, 4))
        assert found[left].tolist() == [wanted[number] for number in left]
