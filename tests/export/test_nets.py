"""Whole networks are certified: 48 symbol networks, the zoo's among them, and nets that Gluon itself exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.export.certificate import PROBE, Rows
from fastinfer.export.convert import export_model
from fastinfer.export.probe import make_rows
from fastinfer.export.reference import read_network
from fastinfer.models.module import Model, load_model
from tests.export.comparing import load
from tests.export.nets import NETS
from tests.networks import SERVED, mx

pytest.importorskip("onnxruntime")
ROWS = 40


# Some versions of onnxruntime add up in another order at other batch sizes; a run finds a size where it does not matter.
DEPENDS_ON_ITS_BATCH = {"attention", "instance norm", "l2 normalization"}


def is_certified(model: Model, rows: int = ROWS, *, depends: bool = False) -> None:
    found = export_model(model, "model.onnx", Rows(PROBE, make_rows(read_network(model), rows)))
    assert found.reasons == ()
    assert found.certificate is not None
    assert depends or found.certificate.facts["batches"]["other_bits"] == []


@pytest.mark.parametrize("name", NETS)
def test_symbol_networks_are_certified(name: str) -> None:
    is_certified(load(*NETS[name]()), depends=name in DEPENDS_ON_ITS_BATCH)


@pytest.mark.parametrize("name", ["mobilenet0.25", "mobilenetv2_0.25"])
def test_nets_of_the_zoo_are_certified(name: str, tmp_path: Path) -> None:
    mx.random.seed(3)
    net = mx.gluon.model_zoo.vision.get_model(name, classes=10)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.export(str(tmp_path / "net"))
    is_certified(load_model(tmp_path, input_shape=(3, 32, 32)), 4)


@pytest.mark.parametrize("kind", ["uint8", "int32", "steps", "lstm", "topk", "class_number", "own_loss", "names"])
def test_other_kinds_of_networks_are_certified(kind: str, tmp_path: Path) -> None:
    """Among them such whose states or labels are not saved, and are declared for one record."""
    is_certified(load_model(SERVED[kind](tmp_path)))


def test_a_quantized_model_is_refused_by_its_first_operator(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'data_quantize' \(_contrib_quantize_v2\) cannot be written as ONNX"
    ) as caught:
        export_model(load_model(SERVED["int8"](tmp_path)), "model.onnx")
    assert (caught.value.code, caught.value.hint) == (
        "no_translation",
        "export the model as it was before it was quantized",
    )
