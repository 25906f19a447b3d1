"""Executors that run at the same time share nothing, and what MXNet keeps for a thread is used again."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer import InputError, ModelError, transform
from fastinfer.models.module import Model, load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.batch_size import Batching, bind_ladder
from fastinfer.runtimes.ladder import Ladder
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.libmxnet import binding
from fastinfer.runtimes.mxnet.library import load_mxnet
from fastinfer.runtimes.mxnet.resources import Resources
from fastinfer.runtimes.views import rows_of
from tests import networks
from tests.networks import mx


@pytest.fixture(scope="module")
def dilated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution that needs temporary space."""
    return networks.save(_dilated, tmp_path_factory.mktemp("dilated"))


def _dilated() -> tuple[Any, tuple[int, ...]]:
    sym = load_mxnet().sym
    return sym.Convolution(sym.var("data"), kernel=(3, 3), dilate=(2, 2), num_filter=16, name="c"), (3, 40, 40)


def _answers_beside_others(ladders: list[Ladder], passes: int) -> int:
    """How many answers are others than alone, of ladders that run at the same time, each on a thread."""
    expected = []
    for number, ladder in enumerate(ladders):
        rows_of(ladder)[:] = np.random.RandomState(number).rand(*rows_of(ladder).shape)
        expected.append(bytes(ladder.forward(ladder.batch_size)[0]))
    wrong = []

    def run(ladder: Ladder, answer: bytes) -> None:
        for _ in range(passes):
            if bytes(ladder.forward(ladder.batch_size)[0]) != answer:
                wrong.append(ladder)

    threads = [threading.Thread(target=run, args=each) for each in zip(ladders, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)


@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_graphs_that_one_thread_has_bound_may_run_at_the_same_time(dilated: Path, exact: bool) -> None:
    model, runtime = load_model(dilated), load_runtime()
    batching = Batching(4, row_wise=exact, invariant=False)
    # A thread has four temporary spaces, which it gives in turn.
    ladders = [bind_ladder(runtime, model, ("cpu", 0), batching) for _ in range(9)]
    assert _answers_beside_others(ladders[::4], 300) == 0


def test_threads_that_bind_are_used_again_when_their_graphs_are_gone(linear: Path) -> None:
    model, runtime = load_model(linear), load_runtime()
    gc.collect()
    before = threading.active_count()
    for _ in range(20):
        both = [runtime.bind(model, ("cpu", 0), 2) for _ in range(2)]
        del both
    assert threading.active_count() <= before + 2


def test_graphs_that_never_run_at_the_same_time_share_what_they_use(linear: Path) -> None:
    model, runtime = load_model(linear), load_runtime()
    gc.collect()
    before, resources = threading.active_count(), runtime.make_resources()
    kept = [runtime.bind(model, ("cpu", 0), size, resources=resources) for size in (1, 2, 3, 4)]
    assert len(kept) == 4
    assert threading.active_count() <= before + 1


def test_what_a_bound_graph_raises_is_raised_where_it_was_asked_for() -> None:
    resources, caller = Resources(), threading.get_ident()
    assert resources.call(threading.get_ident) != caller
    with pytest.raises(ZeroDivisionError):
        resources.call(lambda: 1 // 0)
    assert resources.call(lambda: 5) == 5


def test_a_call_ends_before_its_caller_is_interrupted() -> None:
    resources, ended = Resources(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def slow() -> str:
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.2)
        ended.set()
        return "slow"

    with pytest.raises(KeyboardInterrupt):
        resources.call(slow)
    assert ended.is_set()
    assert resources.call(lambda: "next") == "next"


def test_an_interruption_as_a_call_ends_loses_no_answer() -> None:
    resources, main = Resources(), threading.main_thread().ident
    assert main is not None
    for delay in [0, 0.0001] * 100:
        ended = threading.Event()

        def quick(delay: float = delay, ended: threading.Event = ended) -> None:
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(delay)
            ended.set()

        def call(quick: Callable[[], None] = quick) -> None:
            resources.call(quick)
            time.sleep(5)  # the interruption may be raised only now

        with pytest.raises(KeyboardInterrupt):
            call()
        assert ended.wait(5)
        assert resources.call(lambda: 5) == 5


@pytest.mark.parametrize("threads", [1, 2])
def test_a_thread_that_holds_the_lock_of_binding_may_bind_and_run(
    tmp_path_factory: pytest.TempPathFactory, threads: int
) -> None:
    words = mx.sym.take(mx.sym.var("table", shape=(10, 2), dtype="float32"), mx.sym.var("data"), mode="raise")
    saved = {"arg:table": mx.nd.array(np.arange(20).reshape(10, 2))}
    model = load_model(networks.write(tmp_path_factory.mktemp("model"), words, {"data": (3,)}, saved))
    with binding:
        executor = load_runtime().bind(model, ("cpu", 0), 1, threads=threads)
        rows_of(executor)[:] = 10
        with pytest.raises(ModelError):
            executor.forward()
        rows_of(executor)[:] = [[1, 2, 9]]
        assert executor.forward()[0].tolist() == [2, 3, 4, 5, 18, 19]


def test_threads_that_divide_operators_are_used_for_that_number_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastinfer.runtimes.mxnet.resources._idle", [])  # without those that other tests have left

    def name() -> int:
        return threading.get_ident()

    two = Resources(2)
    number = two.call(name)
    del two
    assert Resources(3).call(name) != number
    assert Resources().call(name) != number
    assert Resources(2).call(name) == number


def test_a_fork_binds_on_threads_of_its_own() -> None:
    resources = Resources()
    resources.call(os.getpid)
    process = os.fork()
    if not process:
        os._exit(resources.call(os.getpid) != os.getpid() or Resources().call(os.getpid) != os.getpid())
    assert os.waitpid(process, 0)[1] == 0


def test_runs_that_fail_leave_no_graph_behind(linear: Path, tmp_path: Path) -> None:
    def kept() -> list[Any]:
        return [each for each in gc.get_objects() if isinstance(each, (MXNetExecutor, Model))]

    (tmp_path / "bad.csv").write_text("1,2,3\n")
    gc.collect()
    gc.disable()  # what is left would be in cycles
    try:
        others = kept()  # by fixtures and other tests; held here, so that nothing new has their place
        with pytest.raises(InputError):
            transform(tmp_path / "bad.csv", tmp_path / "out", model=linear, workers=2)
        assert [each for each in kept() if all(each is not other for other in others)] == []
    finally:
        gc.enable()
