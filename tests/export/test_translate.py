"""Whole networks: what is translated, and what is refused by name."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from fastinfer.errors import ModelError
from fastinfer.export.translate import TRANSLATIONS
from fastinfer.models.operators import OPERATORS
from tests import networks
from tests.export.comparing import check, load, translated
from tests.networks import mx


@pytest.mark.parametrize(
    "network", [networks.mlp, networks.convolution, networks.linear, networks.scalar, networks.segmentation]
)
def test_networks_give_what_mxnet_gives(network: Any) -> None:
    check(*network(), tolerance=1e-5)


def test_an_operator_without_translation_is_named_with_its_node() -> None:
    symbol = mx.sym.gamma(mx.sym.abs(mx.sym.var("data")) + 1, name="strange")
    with pytest.raises(ModelError, match=r"'strange' [(]gamma[)].*no translation") as caught:
        translated(load(symbol, (3,)))
    assert caught.value.code == "no_translation"


def test_an_output_that_inference_does_not_have_is_refused() -> None:
    norm = mx.sym.BatchNorm(mx.sym.var("data"), output_mean_var=True, name="norm")
    total = mx.sym.broadcast_add(norm[0], mx.sym.expand_dims(norm[1], axis=0))
    with pytest.raises(ModelError, match=r"norm.*output 1"):
        translated(load(total, (3,)))


def test_every_translation_is_of_an_operator_that_is_served() -> None:
    assert TRANSLATIONS.keys() <= OPERATORS
    assert len(TRANSLATIONS) > 200


def test_a_translated_model_takes_and_gives_what_the_saved_one_does() -> None:
    content = translated(load(*networks.mlp())).build(metadata={"a": "b"})
    model = onnx.load_from_string(content)
    assert [each.name for each in model.graph.input] == ["data"]
    assert [each.name for each in model.graph.output] == ["softmax_output"]
    assert "softmax_label" not in {name for node in model.graph.node for name in node.input}


def test_the_same_model_gives_the_same_bytes() -> None:
    model = load(*networks.convolution())
    assert translated(model).build() == translated(model).build()


def test_the_outputs_of_inner_nodes() -> None:
    found = translated(load(*networks.mlp()))
    entries = [(n, 0) for n, node in enumerate(found.network.nodes) if node.operator == "Activation"]
    model = onnx.load_from_string(found.build(entries))
    assert [each.name for each in model.graph.output] == ["value 0", "value 1"]
