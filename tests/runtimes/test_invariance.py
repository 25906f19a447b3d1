"""The probe: which batch sizes make a row's bits a function of the row alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.models.module import Model, load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.base import AS_IT_IS, DenseLayers
from fastinfer.runtimes.invariance import find_sizes, is_invariant, probe_batches, probe_inputs, probe_rows
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run


def test_what_the_probe_calls_invariant_is_so_for_other_rows_in_another_order(mlp: Path) -> None:
    model = load_model(mlp)
    random = np.random.RandomState(1)
    answers = set()
    for size in (5, 8, 32, 48, 96, 128, 144, 240, 480, 512):
        executor = MXNetExecutor(model, ("cpu", 0), size)
        rows = random.uniform(0, 1, (4 * size, model.row_values)).astype(np.float32)
        order = random.permutation(len(rows))
        moved = np.empty_like(run(executor, rows))
        moved[order] = run(executor, rows[order])
        same = moved.tobytes() == run(executor, rows).tobytes()
        answers.add((is_invariant(executor), same))
    # Both kinds are met, and the probe is never wrong in the way that matters.
    assert (True, True) in answers
    assert (True, False) not in answers


def test_a_graph_that_depends_on_the_place_is_detected(tmp_path: Path) -> None:
    """A network whose every row gets its place in the batch added: the probe must see it at any size."""

    def placed() -> tuple[networks.Any, tuple[int, ...]]:
        layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)
        place = mx.sym.cumsum(mx.sym.ones_like(layer), axis=0)
        return layer + place * 1e-6, (4,)

    model = load_model(networks.save(placed, tmp_path))
    assert not is_invariant(MXNetExecutor(model, ("cpu", 0), 48))


def test_a_network_that_mixes_its_batch_has_no_invariant_size(tmp_path: Path) -> None:
    def mixing() -> tuple[networks.Any, tuple[int, ...]]:
        return mx.sym.softmax(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), axis=0), (4,)

    model = load_model(networks.save(mixing, tmp_path))
    assert find_sizes(lambda size, _: MXNetExecutor(model, ("cpu", 0), size), (48, 16, 2), ()) is None


def test_a_network_of_the_batchs_mean_is_detected_and_run_row_by_row(tmp_path: Path) -> None:
    def mean() -> tuple[networks.Any, tuple[int, ...]]:
        return mx.sym.mean(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), axis=0, keepdims=True), (4,)

    model = load_model(networks.save(mean, tmp_path))
    assert find_sizes(lambda size, _: MXNetExecutor(model, ("cpu", 0), size), (48, 16, 2), ()) is None
    rows = probe_rows(40, 4)
    single = run(MXNetExecutor(model, ("cpu", 0), 1), rows)
    assert run(MXNetExecutor(model, ("cpu", 0), 8, row_wise=True), rows).tobytes() == single.tobytes()


def test_a_smaller_graph_is_used_only_if_it_gives_the_same_bits(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    def sized() -> tuple[networks.Any, tuple[int, ...]]:
        layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)
        size = mx.sym.sum(mx.sym.ones_like(layer), axis=0, keepdims=True)
        return mx.sym.broadcast_add(layer, size), (4,)

    bound = {}

    def bind_sized(size: int, _: int = 1) -> MXNetExecutor:
        return bound.setdefault(size, MXNetExecutor(load_model(sized_model), ("cpu", 0), size))

    sized_model = networks.save(sized, tmp_path)
    # At each size all rows are computed alike, but at no two sizes.
    assert all(is_invariant(bind_sized(size)) for size in (12, 16, 48))
    answer = find_sizes(bind_sized, [48], (12, 16))
    assert answer is not None
    assert answer.sizes == (48,)

    def bind(size: int, dense: DenseLayers = AS_IT_IS) -> MXNetExecutor:
        return MXNetExecutor(load_model(mlp), ("cpu", 0), size, dense=dense)

    answer = find_sizes(bind, [96, 48], (2, 4, 12, 16, 24))
    assert answer is not None
    assert len(answer.seconds) == len(answer.sizes)
    rows = digits[:480].astype(np.float32) / 255
    expected = run(bind(answer.sizes[-1]), rows)
    for size in answer.sizes:  # which they are is a matter of the CPU
        assert run(bind(size), rows).tobytes() == expected.tobytes()
    assert find_sizes(bind, [96], (2, 4, 12, 16, 24), most=0).sizes == (96,)  # type: ignore[union-attr]


def test_a_network_that_mixes_its_batch_behind_an_embedding_is_detected(tmp_path: Path) -> None:
    """Numbers between -1 and 1 are one and the same index."""

    def mixing() -> tuple[networks.Any, tuple[int, ...]]:
        layer = mx.sym.Embedding(mx.sym.var("data"), input_dim=50, output_dim=4)
        return mx.sym.sum(mx.sym.softmax(layer, axis=0), axis=2), (3,)

    model = load_model(networks.save(mixing, tmp_path))
    assert find_sizes(lambda size, _: MXNetExecutor(model, ("cpu", 0), size), (48, 16, 2), ()) is None


@pytest.mark.parametrize("limit", [0.5, 100, 2000])
def test_a_network_that_mixes_large_numbers_only_is_detected(limit: float, tmp_path: Path) -> None:
    def mixing() -> tuple[networks.Any, tuple[int, ...]]:
        data = mx.sym.var("data")
        large = mx.sym.relu(mx.sym.abs(data) - limit)
        return mx.sym.broadcast_add(mx.sym.FullyConnected(data, num_hidden=3), mx.sym.sum(large)), (4,)

    model = load_model(networks.save(mixing, tmp_path))
    assert not is_invariant(MXNetExecutor(model, ("cpu", 0), 16))


def test_the_probes_rows_are_of_all_kinds(mlp: Path) -> None:
    rows = probe_rows(144, 784)
    whole = [row for row in rows if np.array_equal(row, np.round(row))]
    assert {row.max() <= 1 for row in whole} == {True, False}
    assert any(not row.any() for row in rows)
    assert len({row.tobytes() for row in rows}) < len(rows)  # some are there again
    magnitudes = [np.abs(row).max() for row in rows if row.any()]
    assert min(magnitudes) < 1e-3
    assert max(magnitudes) > 100
    executor = MXNetExecutor(load_model(mlp), ("cpu", 0), 12)
    assert [each.shape for each in probe_inputs(executor)] == [(12, 784)]


def test_few_values_that_agree_by_chance_are_not_enough(tmp_path: Path) -> None:
    def words() -> tuple[networks.Any, tuple[int, ...]]:
        layer = mx.sym.Flatten(mx.sym.Embedding(mx.sym.var("data"), input_dim=300, output_dim=3))
        layer = mx.sym.FullyConnected(layer, num_hidden=units)
        return mx.sym.FullyConnected(layer, num_hidden=1), (20,)

    rows = np.random.RandomState(3).randint(0, 300, (210, 20)).astype(np.float32)
    for units in (8, 64, 100):
        model = load_model(networks.save(words, tmp_path / str(units)))

        def bind(size: int, dense: DenseLayers = AS_IT_IS, model: Model = model) -> MXNetExecutor:
            return MXNetExecutor(model, ("cpu", 0), size, dense=dense)

        for size in (2, 3, 5):
            found = find_sizes(bind, [size], (1, 2))
            assert found is not None
            expected = run(bind(size), rows)
            for smaller in found.sizes:
                assert run(bind(smaller), rows).tobytes() == expected.tobytes()


def test_more_batches_are_compared_where_each_gives_few_values(tmp_path: Path, mlp: Path) -> None:
    one = load_model(networks.save(networks.linear, tmp_path))
    found = [
        [len(rows[0]) for rows in probe_batches(MXNetExecutor(model, ("cpu", 0), size))]
        for model, size in [(one, 7), (one, 144), (load_model(mlp), 12)]
    ]
    assert found == [[7] * 21, [144], [12] * 9]  # 144 rows; 103 with ten values each


def test_sizes_that_differ_in_one_value_of_a_thousand_are_told_apart(tmp_path: Path) -> None:
    """Small inputs beside a large bias: the order of the sums seldom reaches the last bit."""
    rows = np.random.RandomState(5).uniform(-5, 9, (144 * 20, 3)).astype(np.float32)
    layer = mx.sym.L2Normalization(mx.sym.var("data")) * 1e-3
    model = load_model(networks.write(tmp_path, mx.sym.FullyConnected(layer, num_hidden=17), {"data": (3,)}))
    row_bytes = sum(load_runtime("mxnet").value_bytes(model))

    def bind(size: int, dense: DenseLayers = AS_IT_IS) -> MXNetExecutor:
        return MXNetExecutor(model, ("cpu", 0), size, dense=dense)

    found = find_sizes(bind, [144], (1, 2, 16), row_bytes=row_bytes)
    assert found is not None
    expected = run(bind(144), rows).tobytes()
    assert [size for size in found.sizes if run(bind(size), rows).tobytes() != expected] == []
