"""Models in ONNX, read without a framework."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastinfer.errors import ConfigError, FastinferError, ModelError
from fastinfer.models.onnx import OnnxInput, load_onnx, read_onnx
from fastinfer.models.protobuf import BYTES, VARINT
from tests.fuzz.forms.binary import print_message

onnx = pytest.importorskip("onnx")
FLOAT, INT64, STRING = 1, 7, 8


def info(name: str, shape: list[Any] | None, kind: int = FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def make(inputs: list[Any], outputs: list[Any], nodes: list[Any] | None = None, initializers: Any = ()) -> bytes:
    nodes = nodes or [onnx.helper.make_node("Relu", [inputs[0].name], [each.name]) for each in outputs]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"flattens": "true"})
    return bytes(model.SerializeToString())


SIMPLE = make([info("x", ["batch", 3, 4])], [info("y", ["batch", 3, 4])])


def test_inputs_outputs_and_versions() -> None:
    model = read_onnx(SIMPLE, "m.onnx")
    assert model.graph_inputs == (OnnxInput("x", "float32", None, (3, 4)),)
    assert (model.output_names, model.opset, model.row_shape, model.row_values) == (("y",), 17, (3, 4), 12)
    assert model.metadata == {"flattens": "true"}
    assert model.batch is None


def test_a_model_without_operators_of_onnx_itself() -> None:
    """As decision trees are: of the set for them alone."""
    model = onnx.load_from_string(SIMPLE)
    model.opset_import[0].domain, model.opset_import[0].version = "ai.onnx.ml", 3
    assert read_onnx(model.SerializeToString(), "m.onnx").opset == 0
    del model.opset_import[:]
    with pytest.raises(ModelError, match="no version of its operators"):
        read_onnx(model.SerializeToString(), "m.onnx")


def test_a_fixed_batch_and_other_types() -> None:
    model = read_onnx(make([info("ids", [2, 5], INT64), info("x", [2, 3])], [info("y", [2, 5])]), "m.onnx")
    assert model.graph_inputs == (OnnxInput("ids", "int64", 2, (5,)), OnnxInput("x", "float32", 2, (3,)))
    assert (model.batch, model.row_shape, model.row_values) == (2, (8,), 8)


def test_parameters_that_old_files_list_as_inputs_are_none() -> None:
    weight = onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    nodes = [onnx.helper.make_node("Mul", ["x", "w"], ["y"])]
    content = make([info("w", [3, 4]), info("x", ["n", 3, 4])], [info("y", ["n", 3, 4])], nodes, [weight])
    assert [each.name for each in read_onnx(content, "m.onnx").graph_inputs] == ["x"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([info("x", ["n", 3], STRING)], "ONNX's type 8"),
        ([info("x", [])], "no batch dimension"),
        ([info("x", None)], "no batch dimension"),
        ([info("x", ["n", "width"])], "more than the batch is open"),
        ([info("x", [2, 3]), info("z", [4, 3])], "different numbers of records"),
    ],
)
def test_inputs_that_records_cannot_be_given_to(inputs: list[Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_onnx(make(inputs, [info("y", ["n", 3])]), "m.onnx")


def test_a_shape_that_is_open_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make([info("x", ["n", 3, "width"])], [info("y", None)]))
    assert load_onnx(path, shapes={"": (3, 7)}).row_shape == (3, 7)
    assert load_onnx(path, shapes={"x": (3, 7)}).row_shape == (3, 7)
    with pytest.raises(ConfigError, match="cannot have records"):
        load_onnx(path, shapes={"x": (4, 7)})
    with pytest.raises(ConfigError, match="no input"):
        load_onnx(path, shapes={"z": (3, 7)})


def test_which_output_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make([info("a", ["n", 2]), info("b", ["n", 3])], [info("y", ["n", 2]), info("z", ["n", 2])]))
    with pytest.raises(ModelError, match="2 outputs: y, z") as caught:
        load_onnx(path)
    assert caught.value.code == "no_such_output"
    assert load_onnx(path, output="z").output_names == ("z",)
    everything = load_onnx(path, output="all", columns={"b": 3, "a": 2})
    assert (everything.output_names, everything.all_outputs) == (("y", "z"), True)
    assert [each.name for each in everything.inputs] == ["b", "a"]
    assert everything.digest != load_onnx(path, output="all").digest
    with pytest.raises(ConfigError, match="2 columns are given"):
        load_onnx(path, output="y", columns={"b": 2, "a": 2})
    with pytest.raises(ConfigError, match="inputs are a, b"):
        load_onnx(path, output="y", columns={"c": 3})


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make([info("x", ["n", 2])], [info("y", ["n", 2])] * 2))
    for output in (None, "all", "y"):
        with pytest.raises(ModelError, match="several outputs have the name 'y'"):
            load_onnx(path, output=output)


def outside() -> Any:
    """Values in another file."""
    tensor = onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def test_values_in_other_files_are_refused() -> None:
    inputs, outputs = [info("x", ["n", 3, 4])], [info("y", ["n", 3, 4])]
    top = make(inputs, outputs, [onnx.helper.make_node("Mul", ["x", "w"], ["y"])], [outside()])
    constant = onnx.helper.make_node("Constant", [], ["w"], value=outside())
    product = onnx.helper.make_node("Mul", ["x", "w"], ["y"])
    inner = onnx.helper.make_graph([constant], "inner", [], [info("w", [3, 4])])
    condition = onnx.helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    places = onnx.numpy_helper.from_array(np.arange(12))
    sparse = onnx.helper.make_sparse_tensor(outside(), places, [3, 4])
    constant_sparse = onnx.helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    beside = onnx.load_from_string(make(inputs, outputs, [product]))
    beside.graph.sparse_initializer.append(sparse)
    function = onnx.load_from_string(make(inputs, outputs))
    default = function.functions.add(name="f", domain="own").attribute_proto.add(name="value", type=4)
    default.t.CopyFrom(outside())
    for content in (
        top,
        make(inputs, outputs, [constant, product]),
        make(inputs, outputs, [condition, product]),
        make(inputs, outputs, [constant_sparse, product]),
        beside.SerializeToString(),
        function.SerializeToString(),
    ):
        with pytest.raises(ModelError, match="in another file"):
            read_onnx(content, "m.onnx")


def test_a_graph_that_comes_in_pieces_is_refused() -> None:
    """Readers join them: what is in the first one would not have been seen."""
    first = onnx.ModelProto()
    first.graph.initializer.append(outside())
    content = first.SerializeToString() + SIMPLE
    assert [each.name for each in onnx.load_from_string(content).graph.initializer] == ["w"]
    with pytest.raises(ModelError, match="field 7 of the model is there again, at byte"):
        read_onnx(content, "m.onnx")


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        ([[1, VARINT, 3]], None),
        (
            [[1, VARINT, 3], [2, BYTES, b"n"]],
            "a dimension has two fields of which only one may be there",
        ),  # what is last counts
        ([[1, BYTES, b"3"]], "field 1 of a dimension has the wire type 2"),  # which is passed over
    ],
)
def test_what_readers_would_replace_or_pass_over_is_refused(dimension: list[Any], words: str | None) -> None:
    kind = [[1, VARINT, FLOAT], [2, BYTES, [[1, BYTES, []], [1, BYTES, dimension]]]]
    value = [[1, BYTES, b"x"], [2, BYTES, [[1, BYTES, kind]]]]
    graph = [[11, BYTES, value], [12, BYTES, [[1, BYTES, b"y"]]]]
    content = print_message([[8, BYTES, [[2, VARINT, 17]]], [7, BYTES, graph]])
    onnx.load_from_string(content)
    if words is None:
        assert read_onnx(content, "m.onnx").graph_inputs == (OnnxInput("x", "float32", None, (3,)),)
    else:
        with pytest.raises(ModelError, match=words):
            read_onnx(content, "m.onnx")


def test_what_an_input_stands_for_may_be_said() -> None:
    model = onnx.load_from_string(SIMPLE)
    model.graph.input[0].type.denotation = "IMAGE"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    assert read_onnx(model.SerializeToString(), "m.onnx").graph_inputs == read_onnx(SIMPLE, "m.onnx").graph_inputs


def test_a_tag_of_more_than_32_bits_is_refused() -> None:
    """onnxruntime drops the bits above, and joins another graph."""
    first = onnx.ModelProto()
    first.graph.initializer.append(outside())
    graph = first.graph.SerializeToString()
    tag = b"\xba\x80\x80\x80\x10"  # of field 7
    for content in (SIMPLE + tag + bytes([len(graph)]) + graph, tag + bytes([len(graph)]) + graph + SIMPLE):
        with pytest.raises(ModelError, match="has no number"):
            read_onnx(content, "m.onnx")


def test_onnxruntimes_own_format_is_refused() -> None:
    """It would be run instead of what was read here: its four bytes can be a part of a text."""
    rest = onnx.load_from_string(SIMPLE)
    rest.ClearField("producer_name")
    content = b"\x12\x06..ORTM" + rest.SerializeToString()
    assert content[4:8] == b"ORTM"
    assert onnx.load_from_string(content).producer_name == "..ORTM"
    with pytest.raises(ModelError, match="is in onnxruntime's own format"):
        read_onnx(content, "m.onnx")


def test_an_input_that_is_an_output_is_refused() -> None:
    """Its values would not be written where results are read."""
    with pytest.raises(ModelError, match="'x' is an input and an output"):
        read_onnx(make([info("x", ["n", 4])], [info("y", ["n", 4]), info("x", ["n", 4])]), "m.onnx")


def test_names_with_nul_are_refused() -> None:
    for name in ("y\0z", "\0"):
        with pytest.raises(ModelError, match="has NUL in it"):
            read_onnx(make([info("x", ["n", 4])], [info(name, ["n", 4])]), "m.onnx")


def test_more_dimensions_and_values_than_an_array_can_have_are_refused() -> None:
    with pytest.raises(ModelError, match="'x' has more than 32 dimensions"):
        read_onnx(make([info("x", ["n", *[1] * 40])], [info("y", ["n"])]), "m.onnx")
    with pytest.raises(ModelError, match="a record, or a batch of them, has more values"):
        read_onnx(make([info("x", [2**31 - 1, 2])], [info("y", ["n"])]), "m.onnx")


def test_what_is_not_there_or_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_onnx(tmp_path / "none.onnx")
    assert caught.value.code == "model_missing"
    for content in (b"", b"not a model", SIMPLE[:-5], b"\x08\x08"):
        with pytest.raises(ModelError, match="not a readable ONNX model"):
            read_onnx(content, "m.onnx")


@settings(max_examples=60)
@given(st.integers(0, len(SIMPLE) - 1), st.integers(0, 255))
def test_a_wrong_byte_is_a_model_or_an_error(place: int, byte: int) -> None:
    content = bytearray(SIMPLE)
    content[place] = byte
    with contextlib.suppress(FastinferError):
        read_onnx(bytes(content), "m.onnx")
