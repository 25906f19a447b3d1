"""Outputs that MXNet would not compute, because nobody reads another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer import load_model
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.unread import read_first_outputs
from fastinfer.runtimes.views import predict_all, rows_of
from tests import networks
from tests.networks import mx

ROWS, CHANNELS, WIDTH = 3, 4, 7
NETWORKS: dict[str, Callable[[Any], Any]] = {
    "moments": lambda data: mx.sym.moments(data, axes=(1,)),
    "moments of two axes": lambda data: mx.sym.moments(data, axes=(1, 2), keepdims=True),
    "LayerNorm": lambda data: mx.sym.LayerNorm(data, output_mean_var=True, name="norm"),
    "GroupNorm": lambda data: mx.sym.GroupNorm(data, num_groups=2, output_mean_var=True, name="norm"),
}


@pytest.mark.parametrize("row_wise", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_output_is_what_it_is_beside_the_others(name: str, row_wise: bool, tmp_path: Path) -> None:
    network = NETWORKS[name](mx.sym.var("data"))
    shapes = {"data": (CHANNELS, WIDTH)}
    rows = np.random.RandomState(2).uniform(-1, 1, (ROWS, CHANNELS * WIDTH)).astype(np.float32)

    def answer(network: Any, folder: str) -> list[Any]:
        model = load_model(networks.write(tmp_path / folder, network, shapes), output="all")
        answers = []
        for _ in range(3):
            executor = MXNetExecutor(model, ("cpu", 0), ROWS, row_wise=row_wise)
            rows_of(executor)[:] = rows
            old = [mx.nd.array(np.full(size, np.nan)) for size in (3, 4, 7, 12, 21, 84) for _ in range(8)]
            del old  # so that memory which is not written is seen
            answers.append([each.copy() for each in predict_all(executor)])
        return answers

    expected = answer(mx.sym.Group(list(network)), "all")[0]
    for number in range(1, len(expected)):
        for (found,) in answer(network[number], f"{number}"):
            assert found.tobytes() == expected[number].tobytes()
    if len(expected) == 3:
        for found, other in answer(mx.sym.Group([network[2], network[1]]), "both"):
            assert [found.tobytes(), other.tobytes()] == [expected[2].tobytes(), expected[1].tobytes()]


def test_other_graphs_are_left_as_they_are() -> None:
    mean, variance = mx.sym.moments(mx.sym.var("data"), axes=(1,))
    for network in (mean, mx.sym.Group([mean, variance]), mx.sym.topk(mx.sym.var("data"), ret_typ="both")[1]):
        assert read_first_outputs(network.tojson()) == network.tojson()
