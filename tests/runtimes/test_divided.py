"""Operators divided among threads: with the bits of one thread, beside graphs of one thread, and only where that is so."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer import Predictor, machine
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.runtimes import divided, load_runtime
from fastinfer.runtimes.batch_size import Batching, bind_ladder
from fastinfer.runtimes.divided import Divided, bind_divided, gives_the_same
from fastinfer.runtimes.ladder import Ladder
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS
from fastinfer.runtimes.views import rows_of
from tests import networks
from tests.networks import mx

THREADS = 3
SAVED: dict[str, Callable[[Path], Path]] = {
    "mlp": lambda folder: networks.save(networks.mlp, folder),
    "convolution": lambda folder: networks.save(networks.convolution, folder),
    "lenet": lambda folder: networks.save(_lenet, folder),
    "segmentation": lambda folder: networks.save(networks.segmentation, folder),
    "lstm": networks.SERVED["lstm"],
    "words": networks.SERVED["int32"],
}


def _lenet() -> tuple[Any, tuple[int, ...]]:
    """Channels that fill no vector: oneDNN's pooling copies its input to memory that it has for each thread."""
    layer = mx.sym.var("data")
    for filters in (20, 50):
        layer = mx.sym.Activation(mx.sym.Convolution(layer, kernel=(5, 5), num_filter=filters), act_type="tanh")
        layer = mx.sym.Pooling(layer, pool_type="max", kernel=(2, 2), stride=(2, 2))
    return mx.sym.softmax(mx.sym.FullyConnected(layer, num_hidden=10)), (1, 28, 28)


def _pointwise() -> tuple[Any, tuple[int, ...]]:
    """A convolution for which oneDNN takes another kernel, with other bits, for two threads on AVX-512."""
    return mx.sym.Convolution(mx.sym.var("data"), num_filter=512, kernel=(1, 1)), (64, 14, 14)


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small models too, the divided graph is used where the bits are the same, however long it takes."""
    monkeypatch.setattr(machine, "cores", lambda: THREADS)
    monkeypatch.setattr(divided, "LARGE_BYTES", 0)
    monkeypatch.setattr(divided, "time_both", lambda *_: (1e9, 1.0))


@pytest.fixture(scope="module", params=SAVED)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVED[request.param](tmp_path_factory.mktemp(request.param) / "model")


def rows_for(predictor: Predictor, count: int) -> Any:
    rows = np.random.RandomState(4).randint(0, 9, (count, *predictor.model.row_shape)).astype(np.float32)
    rows[::3] /= 9  # words are cut to whole numbers
    return rows


@pytest.mark.parametrize("exact", [False, True])
def test_lone_requests_have_the_bits_of_one_thread_also_beside_others(folder: Path, exact: bool) -> None:
    usual, predictor = Predictor(folder, exact=exact), Predictor(folder, exact=exact, threads=THREADS)
    assert usual.operator_threads == 1
    if predictor.operator_threads == 1:
        pytest.skip("this processor has other bits for so many threads")
    rows = rows_for(usual, 24)
    expected = [usual.predict(rows[number : number + 1]).tobytes() for number in range(len(rows))]
    passes: list[float] = []
    graphs: Any = predictor._graphs
    graphs._divided.took = passes.append  # slow passes do not put it aside

    def ask() -> list[bytes]:
        return [predictor.predict(rows[number : number + 1]).tobytes() for number in range(len(rows))]

    assert ask() == expected
    assert len(passes) == len(rows)
    assert predictor.predict(rows).tobytes() == usual.predict(rows).tobytes()  # too many rows for it
    assert predictor.predict(rows[:2]).tobytes() == b"".join(expected[:2])
    assert len(passes) == len(rows) + 1
    answers: list[list[bytes]] = []
    together = [threading.Thread(target=lambda: answers.extend(ask() for _ in range(3))) for _ in range(THREADS)]
    for each in together:
        each.start()
    for each in together:
        each.join()
    assert answers == [expected] * 3 * THREADS


def test_operators_are_not_divided_where_that_changes_bits(tmp_path: Path) -> None:
    model = load_model(networks.save(_pointwise, tmp_path / "model"))
    runtime = load_runtime()
    usual, threaded = (runtime.bind(model, ("cpu", 0), 1, threads=threads) for threads in (1, 2))
    row = np.random.RandomState(5).uniform(-1, 1, model.row_values).astype(np.float32)
    found = []
    for executor in (usual, threaded):
        rows_of(executor)[:] = row
        found.append(executor.forward()[0].tobytes())
    for exact in (False, True):
        predictor = Predictor(model, exact=exact, threads=2)
        assert predictor.operator_threads == (2 if found[0] == found[1] else 1)


def test_another_bit_is_found(tmp_path: Path) -> None:
    folder = networks.save(networks.mlp, tmp_path / "model")
    model, runtime = load_model(folder), load_runtime()
    usual = bind_ladder(runtime, model, ("cpu", 0), Batching(1, row_wise=True, invariant=True))

    def nudge(saved: dict[str, Any]) -> None:
        (bias,) = (name for name in saved if saved[name].shape == (10,))
        saved[bias] = mx.nd.array(np.nextafter(saved[bias].asnumpy(), np.float32(9)))

    networks.edit(folder, nudge)
    for each, same in ((model, True), (load_model(folder), False)):
        executor = runtime.bind(each, ("cpu", 0), 1, row_wise=True, threads=2)
        assert gives_the_same(usual, Ladder(lambda _, executor=executor: executor, (1,))) == same  # type: ignore[misc]


def test_of_a_slow_model_fewer_records_are_compared(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, runtime = load_model(mlp), load_runtime()
    usual = bind_ladder(runtime, model, ("cpu", 0), Batching(1, row_wise=True, invariant=True))
    executor = runtime.bind(model, ("cpu", 0), 1, row_wise=True, threads=2)

    class Counting(Ladder):
        passes = 0

        def forward(self, count: int, **settings: Any) -> Any:
            self.passes += 1
            return super().forward(count, **settings)

    # Rows of ten values each; the first ones again in the other order.
    for seconds, expected in ((1e9, 52 + 6), (0.0, 6 + 6)):
        monkeypatch.setattr(divided, "COMPARED_S", seconds)
        ladder = Counting(lambda _: executor, (1,))
        assert gives_the_same(usual, ladder)
        assert ladder.passes == expected


def test_nothing_is_divided_without_use_or_proof(mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, runtime = load_model(mlp), load_runtime()
    options = Options(workers=THREADS, exact=True)
    batching = Batching(1, row_wise=True, invariant=True)
    usual = bind_ladder(runtime, model, ("cpu", 0), batching)

    def threads(batching: Batching = batching, options: Options = options, usual: Any = usual) -> int:
        found = bind_divided(runtime, model, batching, usual, options)
        return 1 if found is None else found.threads

    assert threads() == THREADS
    assert threads(options=Options(workers=2)) == 2
    assert threads(options=Options(workers=1)) == 1
    assert threads(batching._replace(invariant=False)) == 1
    number = load_model(networks.SERVED["class_number"](tmp_path / "number"))
    with monkeypatch.context() as patch:
        patch.setattr(usual, "outputs", tuple(each._replace(dtype="int32") for each in usual.outputs))
        assert threads() == 1
    assert Predictor(number, threads=2).operator_threads == 1
    assert Predictor(model, threads=2, divide=False).operator_threads == 1
    limits: dict[str, Any] = {"LARGE_BYTES": 1 << 20, "MOST_COPIED_BYTES": 1000, "time_both": lambda *_: (1.0, 0.9)}
    for limit, changed in limits.items():
        with monkeypatch.context() as patch:
            patch.setattr(divided, limit, changed)
            assert threads() == 1
    with monkeypatch.context() as patch:
        patch.setattr(machine, "cores", lambda: 1)
        assert threads() == 1
    # The user's own numbers of threads, and what else may make them fewer.
    for name, value in (("OMP_NUM_THREADS", "4"), ("OMP_THREAD_LIMIT", "1"), ("MXNET_ENGINE_TYPE", "ThreadedEngine")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not load_runtime().divides
    assert load_runtime().divides


def test_the_bits_are_compared_once(mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Predictor(mlp, exact=True, threads=2).operator_threads == 2
    monkeypatch.setattr(divided, "gives_the_same", lambda *_: pytest.fail("compared again"))
    assert Predictor(mlp, exact=True, threads=2).operator_threads == 2


def test_where_no_thread_can_be_started_the_usual_graph_answers(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    predictor = Predictor(mlp, exact=True, threads=2)
    assert predictor.operator_threads == 1
    assert predictor.predict(rows_for(predictor, 1)).shape == (1, 10)


def test_a_slow_graph_is_passed_by_and_tried_again() -> None:
    graph = Divided(None, 4, 1.0)  # type: ignore[arg-type]
    assert [graph.takes(records) for records in (1, 3, 4)] == [True, True, False]
    for passed_by in (2, 4, 8, 16, 32, 64, 64):
        graph.took(1.5)
        assert [graph.takes(1) for _ in range(passed_by + 1)] == [False] * passed_by + [True]
    graph.took(0.5)
    assert [graph.takes(1) for _ in range(3)] == [True] * 3


def test_a_forked_process_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Divided(None, 4, 1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not graph.takes(1)


def test_both_are_timed_in_turns_each_by_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    now = [0.0, 0.0]
    passes: list[int] = []

    class Taking:
        """A graph whose passes take so long by its own clock."""

        def __init__(self, which: int, seconds: list[float]) -> None:
            self.which, self.seconds = which, iter(seconds)

        def forward(self, _: int) -> None:
            passes.append(self.which)
            now[self.which] += next(self.seconds)

    # The first pass is not counted, nor is what another program has made longer.
    usual: Any = Taking(0, [0.25, 4, 2, 8])
    other: Any = Taking(1, [0.25, 1, 16, 1])
    assert divided.time_both((usual, lambda: now[0]), (other, lambda: now[1])) == (2, 1)
    assert passes == [0, 1] * (divided.TIMED_PASSES + 1)


def test_what_counts_is_the_processor_time_of_the_thread_that_computes(
    mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the time for which it waits, as for a core that another program has."""
    clocks: list[Callable[[], float]] = []

    def time_both(*graphs: Any) -> tuple[float, float]:
        for ladder, clock in graphs:
            before = clock()
            ladder.forward(1)
            clocks.append(clock)
            assert 0 < clock() - before < 1
        return 1e9, 1.0

    monkeypatch.setattr(divided, "time_both", time_both)
    assert Predictor(mlp, exact=True, threads=2).operator_threads == 2
    before = [clock() for clock in clocks]
    threading.Event().wait(0.1)
    assert all(clock() - first < 0.05 for clock, first in zip(clocks, before))
    # That of the divided graph is another thread's.
    own = clocks[1]()
    while clocks[0]() - before[0] < 0.05:
        pass
    assert clocks[1]() - own < 0.02


def test_settings_of_the_environment_are_those_that_dividing_needs() -> None:
    assert INFERENCE_SETTINGS["OMP_NUM_THREADS"] == INFERENCE_SETTINGS["OPENBLAS_NUM_THREADS"] == "1"
    assert INFERENCE_SETTINGS["OMP_WAIT_POLICY"] == "PASSIVE"
