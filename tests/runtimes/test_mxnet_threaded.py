"""A graph whose operators are divided: its passes and its errors."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ModelError
from fastinfer.models.module import load_model
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.mxnet.resources import Resources
from fastinfer.runtimes.mxnet.threaded import ThreadedExecutor
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.networks import mx


def test_it_computes_what_another_one_does(mlp: Path) -> None:
    model, runtime = load_model(mlp), load_runtime()
    executor = runtime.bind(model, ("cpu", 0), 2, threads=2)
    usual = runtime.bind(model, ("cpu", 0), 2)
    rows_of(executor)[:] = rows_of(usual)[:] = np.random.RandomState(3).rand(2, 784)
    assert predict_rows(executor).tobytes() == predict_rows(usual).tobytes()
    assert (executor.batch_size, executor.outputs, executor.gives_a_row_each) == (2, usual.outputs, True)


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


def test_an_error_of_binding_is_the_callers() -> None:
    def bind(_: Resources) -> None:
        raise ModelError("no such graph")

    with pytest.raises(ModelError, match="no such graph"):
        ThreadedExecutor(bind, 2)  # type: ignore[arg-type]


def test_more_threads_than_the_system_gives_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ModelError, match="cannot have 3 threads more: can't start new thread"):
        ThreadedExecutor(lambda _: pytest.fail("bound"), 3)
