"""How many rows a model computes for those it is asked for: batches that are not full must not cost a whole one.

Counted, not timed: of each pass, its rows. What a pass costs is said here, so that no clock decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.commands.serve import describe_handler, make_parser, make_settings
from fastinfer.handlers.hooks import load_handler
from fastinfer.options import Limits, Options
from fastinfer.runtimes import invariance, ladder, probe_cache
from fastinfer.runtimes.base import Executor
from fastinfer.runtimes.batch_size import FEW_ROWS
from fastinfer.runtimes.ladder import Ladder
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from tests import networks
from tests.conftest import csv
from tests.networks import mx
from tests.runs import transform


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution net, small as it is: the rule takes it for one with costly rows."""

    def convolutions() -> tuple[Any, tuple[int, ...]]:
        layer = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), pad=(1, 1), num_filter=40)
        layer = mx.sym.Pooling(
            mx.sym.Activation(layer, act_type="relu"), global_pool=True, pool_type="avg", kernel=(1, 1)
        )
        return mx.sym.softmax(mx.sym.FullyConnected(layer, num_hidden=5)), (1, 16, 16)

    return networks.save(convolutions, tmp_path_factory.mktemp("costly"))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each pass from now on; a pass costs its rows and a tenth of one, a graph nothing to bind."""
    found: list[int] = []
    forward, start = MXNetExecutor.forward, Ladder.__init__

    def counted(self: MXNetExecutor) -> tuple[memoryview, ...]:
        found.append(self.batch_size)
        return forward(self)

    def known(self: Ladder, *arguments: Any) -> None:
        start(self, *arguments)
        self._bind_s, self._unit_s = 0.0, 1.0

    def cost(executor: Executor, _: object) -> float:
        return executor.batch_size + 0.1

    monkeypatch.setattr(invariance, "time_pass", cost)
    monkeypatch.setattr(invariance, "WORTH", float("inf"))
    monkeypatch.setattr(ladder, "PASS_ROWS", 0.1)
    monkeypatch.setattr(Ladder, "__init__", known)
    monkeypatch.setattr(MXNetExecutor, "forward", counted)
    return found


# The first batch of a process is compared with itself, by two of its rows.
COMPARED = 2
FILES = {
    "one row": [1],
    "a few rows": [7],
    "a row more than a batch": [13],
    "one less than two batches": [23],
    "one file": [250],
    "many small files": [1] * 90,
    "files of several rows": [5, 11, 2, 64, 1, 7],
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [None, 64])
@pytest.mark.parametrize("name", FILES)
def test_hardly_more_rows_are_computed_than_are_asked_for(
    name: str, size: int | None, exact: bool, network: Path, passes: list[int], tmp_path: Path
) -> None:
    counts = FILES[name]
    source = tmp_path / "in"
    source.mkdir()
    rows = np.random.RandomState(3).randint(0, 256, (sum(counts), 256))
    for number, first in enumerate(np.cumsum([0, *counts[:-1]])):
        (source / f"{number:03}.csv").write_bytes(csv(rows[first : first + counts[number]], "integers"))
    # Shards of about 30 rows, so that many end within a batch; and two workers, each with a batch of its own.
    limits = Limits(shard_bytes=24_000)
    options = Options(exact=exact, batch_size=size, workers=2)
    transform(network, source, tmp_path / "warm", options, limits=limits)  # what the probe computes is not counted
    passes.clear()
    summary = transform(network, source, tmp_path / "out", options, limits=limits)
    assert summary.records == sum(counts)
    assert sum(passes) <= 1.05 * sum(counts) + (0 if exact else COMPARED)


def test_the_batch_size_that_is_told_is_the_one_that_is_bound(
    network: Path, passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows of a large batch cost most, as where their values do not fit into a cache.
    monkeypatch.setattr(invariance, "time_pass", lambda executor, _: executor.batch_size**1.5)
    monkeypatch.setattr(probe_cache, "cached", lambda _, find: find())
    (tmp_path / "a.csv").write_bytes(csv(np.zeros((40, 256), np.int64), "integers"))
    handler = load_handler(network)
    passes.clear()
    summary = transform(network, tmp_path / "a.csv", tmp_path / "out", Options(workers=1))
    assert handler.predictor is not None
    used = max(passes[-40:])
    assert used < FEW_ROWS
    assert summary.batch_size == handler.predictor.batch_size == used
    assert describe_handler(handler, make_settings(make_parser().parse_args([]), network)).startswith(
        f"batches of {used}, "
    )
