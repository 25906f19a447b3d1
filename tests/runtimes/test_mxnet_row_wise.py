"""The row-wise graph computes every row as at batch size 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.models.module import load_model
from fastinfer.runtimes.invariance import (
    probe_rows,
)
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.row_wise import repeat_rows
from tests import networks
from tests.networks import mx
from tests.runtimes.test_mxnet_graph import run


@pytest.mark.parametrize("network", [networks.mlp, networks.convolution, networks.linear])
@pytest.mark.parametrize("copies", [2, 16, 33])
def test_row_wise_graphs_compute_as_batch_size_one(network: networks.Any, copies: int, tmp_path: Path) -> None:
    model = load_model(networks.save(network, tmp_path))
    rows = probe_rows(40, model.row_values)
    single = run(MXNetExecutor(model, ("cpu", 0), 1), rows)
    repeated = run(MXNetExecutor(model, ("cpu", 0), copies, row_wise=True), rows)
    assert repeated.tobytes() == single.tobytes()


def test_copies_share_the_parameters(mlp: Path) -> None:
    model = load_model(mlp)
    repeated = json.loads(repeat_rows(mx.sym.load_json(model.symbol).tojson(), [model.data_name], 3))
    names = [node["name"] for node in repeated["nodes"] if node["op"] == "null"]
    assert sorted(names) == sorted(mx.sym.load_json(model.symbol).list_arguments())
    assert len({node["name"] for node in repeated["nodes"]}) == len(repeated["nodes"])
