"""The probe: which batch sizes make a row's bits a function of the row alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import (
    CANDIDATES,
    cached,
    find_batch_size,
    find_smaller,
    is_invariant,
    probe_rows,
)
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
    assert find_batch_size(lambda size: MXNetExecutor(model, ("cpu", 0), size), model.row_values) is None


def test_a_network_of_the_batchs_mean_is_detected_and_run_row_by_row(tmp_path: Path) -> None:
    def mean() -> tuple[networks.Any, tuple[int, ...]]:
        return mx.sym.mean(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), axis=0, keepdims=True), (4,)

    model = load_model(networks.save(mean, tmp_path))
    assert find_batch_size(lambda size: MXNetExecutor(model, ("cpu", 0), size), model.row_values) is None
    rows = probe_rows(40, 4)
    single = run(MXNetExecutor(model, ("cpu", 0), 1), rows)
    assert run(MXNetExecutor(model, ("cpu", 0), 8, row_wise=True), rows).tobytes() == single.tobytes()


def test_a_smaller_graph_is_used_only_if_it_gives_the_same_bits(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    def sized() -> tuple[networks.Any, tuple[int, ...]]:
        layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)
        size = mx.sym.sum(mx.sym.ones_like(layer), axis=0, keepdims=True)
        return mx.sym.broadcast_add(layer, size), (4,)

    bound = {}

    def bind_sized(size: int) -> MXNetExecutor:
        return bound.setdefault(size, MXNetExecutor(load_model(sized_model), ("cpu", 0), size))

    sized_model = networks.save(sized, tmp_path)
    # At each size all rows are computed alike, but at no two sizes.
    assert all(is_invariant(bind_sized(size)) for size in CANDIDATES)
    assert find_smaller(bind_sized, bind_sized(480)) is None

    def bind(size: int) -> MXNetExecutor:
        return MXNetExecutor(load_model(mlp), ("cpu", 0), size)

    size = find_smaller(bind, bind(480))
    rows = digits[:480].astype(np.float32) / 255
    if size is not None:  # a matter of the CPU
        assert run(bind(size), rows).tobytes() == run(bind(480), rows).tobytes()


def test_large_records_get_small_batches(tmp_path: Path) -> None:
    def wide() -> tuple[networks.Any, tuple[int, ...]]:
        return mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1), (300_000,)

    model = load_model(networks.save(wide, tmp_path))
    tried = []

    def bind(size: int) -> MXNetExecutor:
        tried.append(size)
        return MXNetExecutor(model, ("cpu", 0), size)

    find_batch_size(bind, model.row_values)
    assert set(tried) <= {CANDIDATES[-1]}


def test_the_probes_answer_is_kept_for_what_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answers = iter([480, None, 96, 48])

    def find() -> int | None:
        return next(answers)

    assert [cached({"cpu": "a"}, find) for _ in range(3)] == [480] * 3
    assert [cached({"cpu": "b"}, find) for _ in range(3)] == [None] * 3
    for path in tmp_path.rglob("*.json"):
        path.write_text('{"batch_size"')
    assert cached({"cpu": "a"}, find) == 96
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert cached({"cpu": "a"}, find) == 48
