"""A graph with a thread of its own: its passes, its errors, its end."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ModelError
from fastinfer.models.module import load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.mxnet.threaded import ThreadedExecutor
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.networks import mx

NAME = "fastinfer-operators"


def own_threads() -> int:
    return sum(each.name == NAME for each in threading.enumerate())


def test_its_thread_ends_with_it(mlp: Path) -> None:
    model, runtime = load_model(mlp), load_runtime()
    before = own_threads()
    executor = runtime.bind(model, ("cpu", 0), 2, threads=2)
    usual = runtime.bind(model, ("cpu", 0), 2)
    assert own_threads() == before + 1
    rows_of(executor)[:] = rows_of(usual)[:] = np.random.RandomState(3).rand(2, 784)
    assert predict_rows(executor).tobytes() == predict_rows(usual).tobytes()
    assert (executor.batch_size, executor.outputs, executor.gives_a_row_each) == (2, usual.outputs, True)
    del executor
    gc.collect()
    ends_at = time.monotonic() + 20
    while own_threads() > before and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert own_threads() == before


def test_a_failed_pass_is_an_error_and_the_next_one_is_computed(tmp_path: Path) -> None:
    words = mx.sym.take(mx.sym.var("table", shape=(10, 2), dtype="float32"), mx.sym.var("data"), mode="raise")
    saved = {"arg:table": mx.nd.array(np.arange(20).reshape(10, 2))}
    model = load_model(networks.write(tmp_path / "model", words, {"data": (3,)}, saved))
    executor = load_runtime().bind(model, ("cpu", 0), 1, threads=2)
    for _ in range(2):
        rows_of(executor)[:] = 10
        with pytest.raises(ModelError) as found:
            executor.forward()
        assert found.value.code == "failed_pass"
        rows_of(executor)[:] = [[1, 2, 9]]
        assert executor.forward()[0].tolist() == [2, 3, 4, 5, 18, 19]


def test_the_answer_of_a_pass_that_was_interrupted_is_not_the_next_ones(mlp: Path) -> None:
    executor = load_runtime().bind(load_model(mlp), ("cpu", 0), 1, threads=2)
    answers = []
    rows = np.random.RandomState(3).rand(2, 784).astype(np.float32)
    for row in rows:
        rows_of(executor)[:] = row
        answers.append(predict_rows(executor).tobytes())
    assert answers[0] != answers[1]
    given: Any = executor._given  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_wait", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        rows_of(executor)[:] = rows[0]
        with pytest.raises(KeyboardInterrupt):
            executor.forward()
    given.put(given.get())  # it is there
    rows_of(executor)[:] = rows[1]
    assert predict_rows(executor).tobytes() == answers[1]


def test_an_error_of_binding_is_the_callers() -> None:
    def bind() -> None:
        raise ModelError("no such graph")

    with pytest.raises(ModelError, match="no such graph"):
        ThreadedExecutor(bind, 2)  # type: ignore[arg-type]


def test_more_threads_than_the_system_gives_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ModelError, match="cannot have 3 threads more: can't start new thread"):
        ThreadedExecutor(lambda: pytest.fail("bound"), 3)
