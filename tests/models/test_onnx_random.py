"""Operators of a model in ONNX that draw random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.models.onnx import load_onnx
from fastinfer.models.onnx_random import random_nodes
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.batch_size import choose_batching
from tests.models.test_onnx import SIMPLE, info, make

onnx = pytest.importorskip("onnx")
INPUT, OUTPUT = info("x", ["n", 4]), info("y", ["n", 4])


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, list(inputs) or ["x"], ["y"], name=f"a {operator}", **attributes)


def saved(name: str, value: Any) -> Any:
    return onnx.numpy_helper.from_array(np.array(value), name)


def test_samplers_are_named_also_within_nodes() -> None:
    inner = onnx.helper.make_graph([node("Bernoulli")], "inner", [], [OUTPUT])
    nodes = [node("RandomNormalLike"), node("Relu"), node("If", "choice", then_branch=inner, else_branch=inner)]
    assert random_nodes(make([INPUT], [OUTPUT], nodes)) == ("a RandomNormalLike", "a Bernoulli", "a Bernoulli")
    assert random_nodes(SIMPLE) == ()


@pytest.mark.parametrize(
    ("training", "draws"),
    [
        (saved("t", True), True),
        (saved("t", False), False),
        (onnx.helper.make_tensor("t", 9, [], [False]), False),
        (onnx.TensorProto(name="t", data_type=9), True),  # without its value
    ],
)
@pytest.mark.parametrize("as_node", [True, False])
def test_a_dropout_draws_in_training(training: Any, draws: bool, as_node: bool) -> None:
    nodes = [node("Dropout", "x", "ratio", "t")]
    if as_node:
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["t"], value=training))
    content = make([INPUT], [OUTPUT], nodes, [saved("ratio", np.float32(0.5)), *([] if as_node else [training])])
    assert random_nodes(content) == (("a Dropout",) if draws else ())


def test_what_is_false_is_so_in_its_own_graph_alone() -> None:
    """Also where a function has an output, whose names are in the field in which a graph has its saved values."""
    constant = onnx.helper.make_node("Constant", [], ["t"], value=saved("t", False))
    relu = onnx.helper.make_node("Relu", ["a"], ["b"])
    function = onnx.helper.make_function("own", "f", ["a"], ["b"], [constant, relu], [onnx.helper.make_opsetid("", 17)])
    training = [saved("ratio", np.float32(0.5)), saved("t", True)]
    model = onnx.load_from_string(make([INPUT], [OUTPUT], [node("Dropout", "x", "ratio", "t")], training))
    model.functions.append(function)
    assert random_nodes(model.SerializeToString()) == ("a Dropout",)
    inner = onnx.helper.make_graph([node("Dropout", "x", "ratio", "t")], "inner", [], [OUTPUT])
    nodes = [node("If", "choice", then_branch=inner, else_branch=inner)]
    assert random_nodes(make([INPUT], [OUTPUT], nodes, [saved("t", False)])) == ()
    assert random_nodes(make([INPUT], [OUTPUT], nodes, [saved("t", True)])) == ("a Dropout", "a Dropout")


def test_a_dropout_that_does_not_say_draws_only_where_an_input_decides() -> None:
    assert random_nodes(make([INPUT], [OUTPUT], [node("Dropout")])) == ()
    assert random_nodes(make([INPUT], [OUTPUT], [node("Dropout", "x", "", "t")])) == ("a Dropout",)


def test_it_is_said_when_a_run_starts(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(make([INPUT], [OUTPUT], [node("RandomUniformLike")]))
    with pytest.warns(RuntimeWarning, match="outputs vary by design: a RandomUniformLike draw random numbers"):
        batching = choose_batching(load_runtime("onnx"), load_onnx(tmp_path / "model.onnx"), Options())
    assert (batching.varies, batching.invariant, batching.row_wise) == (("a RandomUniformLike",), False, False)
