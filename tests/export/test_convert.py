"""Export and certificate: what holds is written, every planted fault is caught, and the node that is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer.commands.export import PLACES
from fastinfer.errors import ConfigError, ModelError
from fastinfer.export.call import Call
from fastinfer.export.certificate import Rows
from fastinfer.export.convert import Exported, check_absent, export_model, verify_model, write_model
from fastinfer.export.translate import TRANSLATIONS
from fastinfer.models.certificate import Certificate
from fastinfer.models.module import Model, load_model
from tests import networks
from tests.export.comparing import load
from tests.networks import mx

pytest.importorskip("onnxruntime")
CERTIFIED = [networks.mlp, networks.convolution, networks.linear, networks.scalar, networks.segmentation]


def data() -> Any:
    return mx.sym.var("data")


@pytest.fixture(scope="module")
def mlp() -> Model:
    return load(*networks.mlp())


@pytest.fixture(scope="module")
def exported(mlp: Model) -> Exported:
    return export_model(mlp, "model.onnx")


@pytest.fixture
def written(exported: Exported, tmp_path: Path) -> str:
    path = str(tmp_path / "new" / "model.onnx")
    write_model(exported, path)
    return path


@pytest.mark.parametrize("network", CERTIFIED)
def test_networks_are_certified(network: Any) -> None:
    found = export_model(load(*network()), "model.onnx")
    assert found.reasons == ()
    assert found.certificate is not None


def test_what_a_certificate_says(exported: Exported, mlp: Model) -> None:
    assert exported.certificate is not None
    facts = exported.certificate.facts
    assert facts["onnx"]["sha256"] == exported.onnx.content_digest
    assert facts["model"]["digest"] == mlp.digest
    assert facts["rows"]["records"] == facts["outputs"][0]["labels"] == 512
    assert 0 < facts["outputs"][0]["relative"] <= facts["tolerance"] == 1e-5
    assert facts["outputs"][0]["ulp"] > 0
    assert {"batch_size": 17, "first_record_at": [0, 1, 8, 16]} in facts["batches"]["same_bits_as_alone"]
    assert {"mxnet", "onnx", "onnxruntime", "fastinfer", "python", "numpy"} == set(facts["versions"])
    assert json.loads(exported.certificate.as_text()) == facts


def test_the_users_rows_are_compared(mlp: Model) -> None:
    rows = Rows("mine.csv", np.eye(3, 784, dtype=np.float32))
    found = export_model(mlp, "model.onnx", rows).certificate
    assert found is not None
    assert (found.facts["rows"]["source"], found.facts["rows"]["records"]) == ("mine.csv", 3)


# Planted faults: what converters do wrong without a word.


def saved_gamma(call: Call) -> str:
    """Ignores fix_gamma."""
    return call.emit("BatchNormalization", *call.inputs(), epsilon=call.attributes.number("eps"))


def wrong_default(call: Call) -> str:
    """A default of its own for what the graph leaves out: the epsilon."""
    inputs = [call.input(), call.filled(call.shape(1), 1, "float32"), *(call.input(n) for n in (2, 3, 4))]
    return call.emit("BatchNormalization", *inputs, epsilon=1e-5)


def transposed_weight(call: Call) -> str:
    return call.emit("MatMul", call.input(), call.input(1))


def slope_along_the_last_axis(call: Call) -> str:
    """The slopes of channels, broadcast from the end: it runs, because the width is the number of channels."""
    return call.emit("PRelu", call.input(), call.input(1))


def normal(call: Any) -> Any:
    return mx.sym.BatchNorm(call, name="wrong")


FAULTS: dict[str, tuple[str, Callable[[Call], str], Any, tuple[int, ...]]] = {
    "fix_gamma": ("BatchNorm", saved_gamma, lambda x: mx.sym.BatchNorm(x, name="wrong"), (3, 4, 4)),
    "default": ("BatchNorm", wrong_default, lambda x: mx.sym.BatchNorm(x, name="wrong"), (3, 4, 4)),
    "transposed": (
        "FullyConnected",
        transposed_weight,
        lambda x: mx.sym.FullyConnected(x, num_hidden=6, no_bias=True, name="wrong"),
        (6,),
    ),
    "slope": (
        "LeakyReLU",
        slope_along_the_last_axis,
        lambda x: mx.sym.LeakyReLU(x, act_type="prelu", name="wrong"),
        (4, 5, 4),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_its_node_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, wrong, layer, row_shape = FAULTS[fault]
    symbol = mx.sym.softmax(mx.sym.flatten(mx.sym.sigmoid(layer(mx.sym.Activation(data(), act_type="tanh")))))
    model = load(symbol, row_shape)
    assert export_model(model, "model.onnx").certificate is not None
    monkeypatch.setitem(TRANSLATIONS, operator, wrong)
    found = export_model(model, "model.onnx")
    assert found.certificate is None
    assert found.reasons
    assert found.parting is not None
    assert (found.parting.node, found.parting.operator) == ("wrong", operator)
    assert found.parting.before < 1e-5 < found.parting.difference.relative


def test_a_node_is_found_where_values_have_the_time_first(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = mx.sym.FullyConnected(mx.sym.transpose(data(), axes=(1, 0, 2)), num_hidden=4, flatten=False)
    layer = mx.sym.sin(mx.sym.tanh(layer), name="wrong")
    model = load(mx.sym.softmax(mx.sym.SequenceLast(layer)), (5, 3))
    monkeypatch.setitem(TRANSLATIONS, "sin", lambda call: call.emit("Cos", call.input()))
    parting = export_model(model, "model.onnx").parting
    assert parting is not None
    assert parting.node == "wrong"


def test_a_changed_label_is_refused_whatever_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(mx.sym.FullyConnected(data(), num_hidden=4, name="wrong"), (4,))
    monkeypatch.setitem(TRANSLATIONS, "FullyConnected", transposed_weight)
    found = export_model(model, "model.onnx", tolerance=0.99)
    assert found.certificate is None
    assert any("another label" in reason for reason in found.reasons)
    for wrong in (1.0, -1e-9, float("nan")):
        with pytest.raises(ConfigError, match="the tolerance must be from 0 to less than 1"):
            export_model(model, "model.onnx", tolerance=wrong)


def test_half_precision_is_certified_only_where_it_holds() -> None:
    half = mx.sym.Cast(data(), dtype="float16")
    assert export_model(load(mx.sym.Cast(half, dtype="float32"), (1,)), "m.onnx").certificate is not None
    # onnxruntime leaves out the rounding between two operators.
    tripled = mx.sym.Cast(half * 3, dtype="float32")
    assert export_model(load(tripled, (1,)), "m.onnx").certificate is None
    assert export_model(load(tripled, (1,)), "m.onnx", tolerance=1e-3).certificate is not None


def test_what_mxnet_cannot_compute_here_is_named() -> None:
    half = mx.sym.Cast(mx.sym.Activation(data(), act_type="tanh"), dtype="float16")
    layer = mx.sym.Convolution(half, kernel=(2, 2), num_filter=3, name="halved")
    model = load(mx.sym.Cast(mx.sym.Activation(layer, act_type="relu"), dtype="float32"), (2, 4, 4))
    with pytest.raises(
        ModelError, match=r"'halved' \(Convolution, float16\) cannot be compared: MXNet cannot run it"
    ) as caught:
        export_model(model, "m.onnx", tolerance=1e-2)
    assert caught.value.hint == "MXNet computes it on GPUs only; save the model in float32"


def last_of_lengths() -> Any:
    """The last of five steps of two values, by a length that is the first of them."""
    rows = data()
    lengths = mx.sym.reshape(mx.sym.slice_axis(rows, axis=1, begin=0, end=1), shape=(-1,))
    return mx.sym.SequenceLast(mx.sym.reshape(rows, shape=(0, 5, 2)), lengths, use_sequence_length=True, axis=1)


def test_rows_of_a_graph_that_refuses_zeros_need_not_fill_its_batches() -> None:
    rows = np.arange(90, dtype=np.float32).reshape(9, 10)
    rows[:, 0] = [5, 2, 1] * 3
    assert export_model(load(last_of_lengths(), (10,)), "m.onnx", Rows("rows", rows)).reasons == ()


def test_a_graph_that_refuses_rows_made_up_asks_for_others() -> None:
    with pytest.raises(ModelError, match=r"\(SequenceLast, float32\) cannot be compared: SequenceLast") as caught:
        export_model(load(last_of_lengths(), (10,)), "m.onnx")
    assert caught.value.hint == "it refuses one of the rows made up; name rows of your own"


def test_what_onnxruntime_cannot_compute_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = mx.sym.tanh(mx.sym.FullyConnected(data(), num_hidden=3, name="fc"), name="wrong")
    model = load(mx.sym.softmax(layer), (4,))

    def beyond(call: Call) -> str:
        return call.emit(
            "GatherElements", call.input(), call.cast(call.emit("Add", call.input(), call.constant(7)), "int64")
        )

    monkeypatch.setitem(TRANSLATIONS, "tanh", beyond)
    with pytest.raises(
        ModelError,
        match=r"'wrong' \(tanh, float32\) was translated, and onnxruntime cannot compute it: onnxruntime cannot run it",
    ):
        export_model(model, "m.onnx")


def test_records_that_influence_each_other_are_refused() -> None:
    layer = mx.sym.FullyConnected(data(), num_hidden=3, name="fc")
    mixed = mx.sym.broadcast_sub(layer, mx.sym.mean(layer, axis=0, keepdims=True), name="mixed")
    found = export_model(load(mx.sym.tanh(mixed), (4,)), "m.onnx")
    assert found.certificate is None
    assert found.reasons[0].startswith("in a batch of 2 records influence each other")
    assert found.reasons[0].endswith("first at mixed (broadcast_sub)")


def test_a_product_of_the_records_of_a_batch_is_refused() -> None:
    row = data()
    found = export_model(load(mx.sym.dot(row, row, transpose_b=True), (4,)), "m.onnx")
    assert found.certificate is None
    assert "does not give a row for each record" in found.reasons[-1]


def test_parameters_that_are_saved_in_half_precision_are_certified(tmp_path: Path) -> None:
    networks.save(networks.convolution, tmp_path)
    path = str(tmp_path / "model-0000.params")
    mx.nd.save(path, {name: array.astype("float16") for name, array in mx.nd.load(path).items()})
    assert export_model(load_model(tmp_path), "m.onnx").certificate is not None


# Checking again.


def test_a_certificate_holds(written: str, mlp: Model) -> None:
    found = verify_model(written, mlp)
    assert (found.reasons, found.rows, found.with_mxnet) == ((), 512, True)


def test_without_mxnet_its_stored_answers_are_compared(written: str) -> None:
    found = verify_model(written, None)
    assert (found.reasons, found.with_mxnet) == ((), False)
    assert found.rows > 10


def test_another_file_or_model_is_seen(written: str, mlp: Model) -> None:
    (reason,) = verify_model(written, load(*networks.convolution())).reasons
    assert "another model" in reason
    other = export_model(load(*networks.linear()), "model.onnx").onnx
    Path(written).write_bytes(other.content)
    (reason,) = verify_model(written, mlp).reasons
    assert "another file" in reason


def test_answers_that_differ_are_seen(written: str) -> None:
    path = Path(f"{written}.json")
    facts = json.loads(path.read_text())
    facts["tolerance"] = 1e-12
    path.write_text(json.dumps(facts))
    assert "1e-12 is allowed" in verify_model(written, None).reasons[0]


@pytest.mark.parametrize(
    ("part", "words"), [("outputs", "the stored answers have the shapes"), ("rows", "expected rows of the shape")]
)
def test_stored_arrays_of_another_shape_are_seen(part: str, words: str, written: str) -> None:
    """What is not there is not compared."""
    path = Path(f"{written}.json")
    facts = json.loads(path.read_text())
    array = {"dtype": "float32", "shape": [1, 1], "values": "HL5Mvw=="}
    facts["stored"][part] = [array] if part == "outputs" else array
    path.write_text(json.dumps(facts))
    (reason,) = verify_model(written, None).reasons
    assert words in reason


def test_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        verify_model(str(tmp_path / "model.onnx"), None)
    assert caught.value.code == "not_certified"


def test_a_file_that_is_there_is_not_replaced_unasked(written: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_absent(written)
    assert caught.value.code == "file_exists"
    assert Certificate.read(f"{written}.json").facts["rows"]["source"] == "probe"


ORDERED: dict[str, Callable[[], Any]] = {
    "argmax": lambda: mx.sym.argmax(data(), axis=1),
    "argmin": lambda: mx.sym.argmin(data(), axis=1),
    "the largest": lambda: mx.sym.topk(data(), k=1),
    "values": lambda: mx.sym.topk(data(), k=3, ret_typ="value"),
    "sort": lambda: mx.sym.sort(data()),
    "argsort of few": lambda: mx.sym.argsort(mx.sym.slice_axis(data(), axis=1, begin=0, end=16)),
}


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_the_same_of_equal_values_is_certified(name: str) -> None:
    found = export_model(load(ORDERED[name](), (40,)), "model.onnx")
    assert found.reasons == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: mx.sym.argsort(data()),
        lambda: mx.sym.topk(data(), k=3),
        lambda: mx.sym.topk(mx.sym.relu(data()), k=30, ret_typ="mask"),
    ],
)
def test_places_of_equal_values_that_differ_are_not_certified(make: Callable[[], Any]) -> None:
    model = load(make(), (40,))
    found = export_model(model, "model.onnx")
    assert found.certificate is None
    assert found.parting is not None
    assert found.parting.operator in PLACES
    different = np.random.RandomState(3).permutation(40 * 8).reshape(8, 40).astype(np.float32)
    assert export_model(model, "model.onnx", Rows("different values", different)).reasons == ()
