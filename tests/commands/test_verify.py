"""``fastinfer verify model.onnx``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastinfer.commands.export import main as export
from fastinfer.commands.verify import main
from tests import networks

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    model = networks.save(networks.mlp, folder / "model")
    assert export([str(model), str(folder / "model.onnx"), "--quiet"]) == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_a_certificate_that_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "model.onnx"), "--json"]) == 0
    shown = capsys.readouterr()
    assert "the certificate holds: MXNet and onnxruntime ran again on 512 rows" in shown.err
    assert json.loads(shown.out) == {"holds": True, "reasons": [], "rows": 512, "mxnet": True}


def test_without_the_model_stored_answers_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = folder / "model.onnx.json"
    facts = json.loads(certificate.read_text())
    facts["model"]["path"] = str(folder / "gone")
    certificate.write_text(json.dumps(facts))
    assert main([str(folder / "model.onnx")]) == 0
    assert "onnxruntime gives MXNet's stored answers" in capsys.readouterr().err
    assert main([str(folder / "model.onnx"), "--model", str(folder / "gone")]) == 3


def test_a_model_that_was_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.edit(folder / "model", lambda saved: saved.update({"arg:extra": networks.mx.nd.zeros((1,))}))
    assert main([str(folder / "model.onnx"), "--model", str(folder / "model")]) == 1
    assert "another model than the one that was exported" in capsys.readouterr().err


def test_what_is_no_model_in_onnx(tmp_path: Path) -> None:
    assert main([str(tmp_path / "model.tar.gz")]) == 2
    assert main([str(tmp_path / "model.onnx")]) == 3
