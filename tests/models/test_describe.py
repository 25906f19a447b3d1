"""A model's description says what its files say."""

from __future__ import annotations

import json
from pathlib import Path

from fastinfer.models.describe import describe, version_text
from fastinfer.models.module import load_model
from tests import networks


def test_the_description_has_what_the_files_say(linear: Path) -> None:
    found = describe(load_model(linear))
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "path": str(linear),
        "symbol": "model-symbol.json",
        "params": "model-0000.params",
        "shapes": "model-shapes.json",
        "epoch": 0,
        "mxnet": "1.9.1",
        "inputs": [{"name": "data", "shape": [2]}],
        "record_values": 2,
        "outputs": [{"name": "regression_output"}],
        "parameters": [
            {"name": found["parameters"][0]["name"], "shape": [1, 2], "type": "float32"},
            {"name": found["parameters"][1]["name"], "shape": [1], "type": "float32"},
        ],
        "values": 3,
        "bytes": 12,
        "unused": [],
        "zeros": ["regression_label"],
        "missing": [],
        "operators": {"FullyConnected": 1, "LinearRegressionOutput": 1},
        "has_code": False,
    }


def test_parameters_that_are_missing_or_not_used_are_named(tmp_path: Path) -> None:
    networks.save(networks.linear, tmp_path)

    def rename(saved: dict[str, object]) -> None:
        saved["arg:other"] = saved.pop(next(name for name in saved if name.endswith("bias")))

    networks.edit(tmp_path, rename)
    found = describe(load_model(tmp_path))
    assert found["unused"] == ["other"]
    assert [name.endswith("bias") for name in found["missing"]] == [True]


def test_versions_are_text() -> None:
    assert [version_text(number) for number in (10901, 10600, 905, None)] == ["1.9.1", "1.6.0", "0.9.5", None]
