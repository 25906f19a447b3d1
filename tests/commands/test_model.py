"""`fastinfer model` shows a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.commands.model import main
from tests.networks import mx, parameters, write


def test_the_files_are_shown_without_mxnet(linear: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(linear), "--files-only"]) == 0
    printed, said = capsys.readouterr()
    assert said == ""
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert lines[:7] == [
        ["model", str(linear)],
        ["files", "model-symbol.json, model-0000.params (epoch 0), model-shapes.json"],
        ["saved", "by    MXNet 1.9.1"],
        ["input", "data, 2"],
        ["record", "2 values"],
        ["output", "regression_output"],
        ["parameters", "2 arrays, 3 values, 12 bytes"],
    ]
    assert lines[-2:] == [["zeros", "regression_label"], ["operators", "FullyConnected 1, LinearRegressionOutput 1"]]


def test_the_description_is_also_json(linear: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(linear), "--json", "--files-only"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["inputs"], found["records"]) == ([{"name": "data", "shape": [2]}], None)


def test_what_is_not_known_is_asked_for_in_words_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = mx.sym.var("data")
    symbol = mx.sym.Group([mx.sym.relu(data, name="a"), data])
    mx.model.save_checkpoint(str(tmp_path / "net"), 3, symbol, {}, {})
    assert main([str(tmp_path), "--files-only"]) == 0
    printed, said = capsys.readouterr()
    assert said == ""
    for line in (
        "files       net-symbol.json, net-0003.params (epoch 3)",
        "input       data, of a shape that is not known",
        "record      not known",
        "output      a_output",
        "output      data",
        "operators   relu 1",
        "to choose   the model has 2 outputs: a_output, data; --output NAME gives one, --output all each by its name",
    ):
        assert line in printed.splitlines()
    assert "to choose   the shape of the input 'data' is not known" in printed
    assert main([str(tmp_path), "--json"]) == 3
    printed, said = capsys.readouterr()
    assert [each["code"] for each in json.loads(printed)["undecided"]] == ["no_such_output", "unknown_shape"]
    assert "--output NAME gives one, --output all each by its name" in said
    assert main([str(tmp_path), "--output", "a"]) == 3
    assert "--input-shape gives the shape of one record" in capsys.readouterr().err
    assert main([str(tmp_path), "--output", "a", "--input-shape", "2,3", "--files-only"]) == 0
    assert "net-0003.params (epoch 3)" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 3
    assert "Hint: name a folder, a model.tar.gz or a model.onnx" in capsys.readouterr().err


def test_a_model_in_onnx_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.models.test_onnx import SIMPLE

    path = tmp_path / "model.onnx"
    path.write_bytes(SIMPLE)
    for place in (path, tmp_path):
        assert main([str(place)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"model       {path}",
            "format      ONNX, IR version 8, operators of ONNX 17",
            "saved by    unknown",
            "certificate no certificate",
            "input       x, float32 3 x 4",
            "record      12 values",
            "output      y, float32 3 x 4",
            "parameters  0 arrays, 0 values, 0 bytes",
            "operators   Relu 1",
            "computed    in batches, by ONNX Runtime",
        ]
    assert main([str(path), "--files-only", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["operators"], found["outputs"], found["records"]) == ({"Relu": 1}, [{"name": "y"}], None)
    from tests.models.test_onnx import info, make

    (tmp_path / "open.onnx").write_bytes(make([info("x", ["n", 3, "h"])], [info("y", ["n", 3, "h"]), info("z", ["n"])]))
    assert main([str(tmp_path / "open.onnx"), "--files-only"]) == 0
    printed = capsys.readouterr().out
    assert "input       x, float32 3 x ?" in printed.splitlines()
    assert "to choose   the model has 2 outputs: y, z; " in printed
    assert "in which more than the batch is open; --input-shape gives" in printed
    assert main([str(path), "--epoch", "3"]) == 2
    assert "a model in ONNX has none" in capsys.readouterr().err


def test_a_model_that_fails_when_it_computes_is_not_said_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = mx.sym.FullyConnected(mx.sym.Cast(mx.sym.var("data"), dtype="float16"), num_hidden=3, name="fc")
    symbol = mx.sym.Cast(half, dtype="float32")
    write(tmp_path, symbol, {"data": (4,)}, parameters(symbol, {"data": (4,)}, "float16"))
    assert main([str(tmp_path)]) == 3  # MXNet has no such layer on CPUs, and says so only then
    printed, said = capsys.readouterr()
    assert "fc_weight, float16 3 x 4" in printed
    assert "computed" not in printed
    assert "error: " in said
    assert "MXNet cannot run it" in said
    assert "refused     a record of zeros: MXNet cannot run it" in printed


def test_a_model_that_refuses_zeros_is_shown_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = mx.sym.reshape(mx.sym.var("data"), shape=(-1, 2, 2))
    write(tmp_path, mx.sym.linalg_potrf(matrix, name="root"), {"data": (4,)})
    assert main([str(tmp_path)]) == 0
    printed, said = capsys.readouterr()
    assert said == ""
    lines = printed.splitlines()
    assert "output      root_output, float32 2 x 2" in lines
    assert lines[-2] == "computed    one by one: an operator refuses some records"
    assert lines[-1].startswith("refused     a record of zeros: MXNet cannot run it: ")
    assert "potrf failed" in lines[-1]
    assert main([str(tmp_path), "--json"]) == 0
    assert "potrf failed" in json.loads(capsys.readouterr().out)["refused"]
    # Lengths of zero are refused as well, but say nothing of how others are computed.
    steps = mx.sym.transpose(mx.sym.var("data"), axes=(1, 0, 2))
    lengths = mx.sym.reshape(mx.sym.var("lengths"), shape=(-1,))
    last = mx.sym.SequenceLast(steps, lengths, use_sequence_length=True)
    write(tmp_path / "last", last, {"data": (5, 3), "lengths": (1,)})
    assert main([str(tmp_path / "last")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("computed    in batches; ")
    # The same in a graph that holds a batch size.
    held = mx.sym.reshape(mx.sym.var("data"), shape=(3, 2, 2))
    write(tmp_path / "held", mx.sym.linalg_potrf(held, name="root"), {"data": (4,)}, batch=3)
    assert main([str(tmp_path / "held")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("computed    3 at a time: ")
    assert lines[-1].startswith("refused     a record of zeros: ")
