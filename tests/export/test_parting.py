"""The first node that differs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fastinfer.export.parting import FUSION_VARIABLE, find_parting, inner_entries, inner_onnx, inner_reference
from fastinfer.runtimes import load_runtime
from tests import networks
from tests.export.comparing import load, translated

pytest.importorskip("onnxruntime")


def test_nothing_parts_where_all_is_within_the_tolerance() -> None:
    model = load(*networks.convolution())
    found = translated(model)
    rows = np.random.RandomState(1).uniform(-1, 1, (2, model.row_values)).astype(np.float32)
    reference = inner_reference(model, found.network, load_runtime("mxnet"))
    other = inner_onnx(found, model.path, load_runtime("onnx"), 1)
    assert find_parting(found.network, reference, other, rows, 1e-4) is None
    assert FUSION_VARIABLE not in os.environ
    parting = find_parting(found.network, reference, other, rows, 0)
    assert parting is not None
    assert parting.difference.relative > 0
    assert parting.node in {node.name for node in found.network.nodes}


def test_the_operators_in_order() -> None:
    network = translated(load(*networks.mlp())).network
    operators = [network.nodes[number].operator for number, _ in inner_entries(network)]
    assert operators[0] == "Flatten"
    assert operators[-1] == "SoftmaxOutput"
