"""What a prediction's bits depend on changes with the model, the machine and the options that they depend on alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastinfer import machine
from fastinfer._version import __version__
from fastinfer.models.module import Model, load_model
from fastinfer.options import Options
from fastinfer.runtimes import provenance


@pytest.fixture
def model(linear: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(machine, "cpu_name", lambda: "a CPU")
    monkeypatch.setattr(machine, "cpu_features", lambda: ["avx"])
    monkeypatch.setattr(machine, "cache_sizes", lambda: [32768, 1048576, 0])
    return load_model(linear)


def test_all_that_bits_depend_on_is_in_it(model: Model) -> None:
    assert provenance.of_model(model, Options()) == {
        "fastinfer": __version__,
        **model.identity,
        "device": "cpu",
        "cpu": "a CPU",
        "cpu_features": ["avx"],
        "cpu_caches": [32768, 1048576, 0],
        "cpu_isa": None,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 7},
        {"batch_size": 3},
        {"exact": True},
        {"comment": "#"},
        {"missing": 0.0},
        {"skip_header": True},
        {"backend": "processes"},
        {"on_error": "quarantine"},
        {"durable": True},
        {"overwrite": True},
        {"device": "cpu:1"},
    ],
)
def test_what_the_model_does_not_see_is_not_in_it(options: dict[str, Any], model: Model) -> None:
    assert provenance.of_model(model, Options(**options)) == provenance.of_model(model, Options())


def test_devices_count_by_their_kind(model: Model) -> None:
    found = [provenance.of_model(model, Options(device=device))["device"] for device in ("gpu", "gpu:1,0", "cpu:3")]
    assert found == ["gpu", "gpu", "cpu"]


def test_another_model_or_processor_is_another_provenance(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.of_model(model, Options())
    other = replace(model, params=model.params + b"x")
    assert provenance.of_model(other, Options())["model"] != before["model"]
    monkeypatch.setattr(machine, "cpu_features", lambda: ["avx", "avx2"])
    assert provenance.of_model(model, Options()) == {**before, "cpu_features": ["avx", "avx2"]}
    monkeypatch.setattr(machine, "cache_sizes", lambda: [49152, 1048576, 0])
    assert provenance.of_model(model, Options())["cpu_caches"] == [49152, 1048576, 0]
    monkeypatch.setattr(machine, "cpu_name", lambda: "another CPU")
    assert provenance.of_model(model, Options())["cpu"] == "another CPU"


def test_the_instruction_set_is_the_options_else_the_environments(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance.of_model(model, Options(cpu_isa="AVX2"))["cpu_isa"] == "AVX2"
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "SSE41")
    assert provenance.of_model(model, Options())["cpu_isa"] == "SSE41"
    assert provenance.of_model(model, Options(cpu_isa="AVX2"))["cpu_isa"] == "AVX2"
