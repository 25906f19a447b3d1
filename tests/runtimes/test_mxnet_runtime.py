"""MXNet as a runtime: the settings it starts with, what it refuses, what it advises."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastinfer import machine
from fastinfer.errors import ConfigError, ModelError
from fastinfer.models.module import load_model
from fastinfer.runtimes.base import DenseLayers
from fastinfer.runtimes.mxnet import graph
from fastinfer.runtimes.mxnet import runtime as runtime_module
from fastinfer.runtimes.mxnet.libmxnet import blas, build, load_libmxnet
from fastinfer.runtimes.mxnet.runtime import MXNetRuntime
from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS, pinned
from fastinfer.runtimes.views import predict_rows, rows_of
from tests import networks
from tests.conftest import read_tree
from tests.networks import mx
from tests.runs import transform

ISA = "DNNL_MAX_CPU_ISA"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """MXNet is as if a program had imported it, with none of its settings made."""
    load_libmxnet(INFERENCE_SETTINGS)
    monkeypatch.setitem(sys.modules, "mxnet", SimpleNamespace())
    for name in (*INFERENCE_SETTINGS, ISA):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """MXNet is as if nothing had imported it; the settings with which it is then started."""
    calls: list[dict[str, str]] = []
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    for name in (*INFERENCE_SETTINGS, ISA):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime_module, "is_started", lambda: False)
    monkeypatch.setattr(runtime_module, "load_libmxnet", calls.append)
    monkeypatch.setattr(runtime_module, "blas", lambda: None)
    return calls


def test_mxnet_starts_with_the_settings_of_inference_and_nothing_makes_it_slow(
    started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MXNetRuntime().advice is None
    assert MXNetRuntime("AVX2").advice is None
    # A variable that says the same is no contradiction.
    monkeypatch.setenv(ISA, "AVX2")
    MXNetRuntime("AVX2")
    settings = {**INFERENCE_SETTINGS, **pinned("AVX2")}
    assert started == [INFERENCE_SETTINGS, settings, settings]


def test_an_instruction_set_other_than_the_environments_is_refused_before_mxnet_starts(
    started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA, "SSE41")
    with pytest.raises(ConfigError) as caught:
        MXNetRuntime("AVX2")
    assert str(caught.value) == (
        "the instruction set cannot be AVX2: MXNet was started with SSE41. "
        "Hint: set DNNL_MAX_CPU_ISA=AVX2 before the program starts"
    )
    assert started == []


@pytest.mark.usefixtures("imported")
def test_an_instruction_set_is_refused_where_mxnet_runs_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be AVX2: MXNet was started with what the CPU has"):
        MXNetRuntime("AVX2")
    monkeypatch.setenv(ISA, "SSE41")
    with pytest.raises(ConfigError, match="cannot be AVX2: MXNet was started with SSE41"):
        MXNetRuntime("AVX2")
    monkeypatch.setattr(runtime_module, "blas", lambda: "Haswell")
    with pytest.raises(ConfigError, match=r"SSE41: OpenBLAS was started with code for Haswell\. .*CORETYPE=Pres"):
        MXNetRuntime("SSE41")
    monkeypatch.setattr(runtime_module, "blas", lambda: "Prescott")
    assert MXNetRuntime("SSE41").identity()["environment"] == {ISA: "SSE41"}
    assert os.environ[ISA] == "SSE41"


@pytest.mark.usefixtures("imported")
def test_the_advice_names_what_was_not_set_when_mxnet_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    advice = MXNetRuntime().advice
    assert advice is not None
    assert advice.startswith(
        "mxnet was imported before OMP_NUM_THREADS=1 and MXNET_ENGINE_TYPE=NaiveEngine could be set"
    )
    # Too late: nothing is set for what has started.
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # the user's own
    advice = MXNetRuntime().advice
    assert advice is not None
    assert advice.startswith("mxnet was imported before MXNET_ENGINE_TYPE=NaiveEngine could be set")
    monkeypatch.setenv("MXNET_ENGINE_TYPE", "ThreadedEngine")
    assert MXNetRuntime().advice is None


@pytest.mark.usefixtures("imported")
def test_the_identity_is_the_version_and_the_variables_that_choose_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("DNNL_", "MKLDNN_", "OPENBLAS_", "MXNET_", "OMP_"))]:
        monkeypatch.delenv(name)
    libraries = {"libmxnet": build(), "blas": blas(), "c_library": machine.c_library()}
    assert MXNetRuntime().identity() == {"mxnet": "1.9.1", **libraries, "environment": {}}
    numeric = {"DNNL_MAX_CPU_ISA": "AVX2", "MXNET_SUBGRAPH_BACKEND": "MKLDNN", "OMP_NUM_THREADS": "3"}
    for name, value in {"MXNET_ENGINE_TYPE": "NaiveEngine", "HOMEWORK": "1", **numeric}.items():
        monkeypatch.setenv(name, value)
    identity = MXNetRuntime().identity()
    assert identity["environment"] == numeric
    assert json.loads(json.dumps(identity)) == identity  # it is written into the run's record


def test_a_model_that_is_bound_has_its_rows_and_the_device(linear: Path) -> None:
    executor = MXNetRuntime().bind(load_model(linear), ("cpu", 1), 3, row_wise=True)
    assert (executor.batch_size, rows_of(executor).shape, executor.outputs[0].shape) == (3, (3, 2), (1,))
    with pytest.raises(ConfigError, match="there is no gpu:99"):
        MXNetRuntime().bind(load_model(linear), ("gpu", 99), 3)


def test_an_operator_that_fails_on_its_input_is_an_error_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decomposed() -> tuple[Any, tuple[int, ...]]:
        matrix = mx.sym.broadcast_add(mx.sym.var("data"), mx.sym.var("zero", shape=(1, 4)))
        return mx.sym.linalg_potrf(mx.sym.reshape(matrix, shape=(-1, 2, 2))), (4,)

    folder = networks.save(decomposed, tmp_path)
    networks.edit(folder, lambda saved: [array.__imul__(0) for array in saved.values()])
    executor = MXNetRuntime().bind(load_model(folder), ("cpu", 0), 1)
    rows = rows_of(executor)
    rows[:] = [4, 0, 0, 9]
    assert predict_rows(executor).tolist() == [[2, 0, 0, 3]]
    monkeypatch.delattr(graph, "load_symbol")  # what is bound again is not found out again
    for _ in range(2):
        rows[:] = 0  # not positive definite: it has no Cholesky decomposition
        with pytest.raises(ModelError, match=r"MXNet cannot run it: .*potrf failed") as caught:
            executor.forward()
        assert (caught.value.path, "\n" in str(caught.value)) == (str(folder), False)
        # It is bound again, to the same memory.
        rows[:] = [9, 0, 0, 4]
        assert predict_rows(executor).tolist() == [[3, 0, 0, 2]]


@pytest.mark.parametrize("how", [{"dense": DenseLayers(4)}, {"row_wise": True}])
def test_a_graph_that_is_bound_again_gives_the_bits_that_it_gave(how: dict[str, Any], tmp_path: Path) -> None:
    def decomposed() -> tuple[Any, tuple[int, ...]]:
        data = mx.sym.var("data")
        hidden = mx.sym.FullyConnected(mx.sym.FullyConnected(data, num_hidden=64), num_hidden=4)
        return mx.sym.linalg_potrf(mx.sym.reshape(hidden * data, shape=(-1, 2, 2))), (4,)

    executor = MXNetRuntime().bind(load_model(networks.save(decomposed, tmp_path)), ("cpu", 0), 2, **how)
    rows, found = rows_of(executor), []
    for row in np.random.default_rng(5).normal(size=(100, 4)) * [9, 1, 1, 9]:
        rows[:] = row
        with contextlib.suppress(ModelError):
            found.append((row, predict_rows(executor).tobytes()))
    assert 10 < len(found) < 90
    for row, wanted in found:
        rows[:] = row
        assert predict_rows(executor).tobytes() == wanted


# Programs


IMPORTED_BEFORE = """
import sys, warnings
from fastinfer.runtimes.mxnet.library import load_mxnet
load_mxnet()  # as a program imports mxnet that knows nothing of fastinfer
import fastinfer
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", RuntimeWarning)
    fastinfer.Transformer(sys.argv[1], workers=2).transform(sys.argv[2], sys.argv[3]).wait()
print([str(warning.message) for warning in caught if "mxnet was imported before" in str(warning.message)])
"""


@pytest.mark.parametrize("preset", [False, True])
def test_a_program_that_imported_mxnet_first_is_warned_of_the_cost(
    preset: bool, samples: Path, mlp: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in INFERENCE_SETTINGS}
    if preset:
        environment.update(INFERENCE_SETTINGS)
    arguments = [str(mlp), str(samples), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_BEFORE, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    if preset:
        assert done.stdout == "[]\n"
    else:
        assert "before OMP_NUM_THREADS=1 and MXNET_ENGINE_TYPE=NaiveEngine could be set" in done.stdout
    transform(mlp, samples, tmp_path / "expected")
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "expected")


@pytest.mark.parametrize("isa", ["SSE41", "AVX2"])
def test_the_instruction_set_can_be_pinned(isa: str, samples: Path, mlp: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "fastinfer.transform", str(samples), "--model", str(mlp), "--quiet"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DNNL_MAX_CPU_ISA", "OPENBLAS_CORETYPE")
    }
    subprocess.run([*arguments, str(tmp_path / "a"), "--cpu-isa", isa], env=environment, check=True)
    subprocess.run([*arguments, str(tmp_path / "b")], env={**environment, "DNNL_MAX_CPU_ISA": isa}, check=True)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    record = json.loads((tmp_path / "a" / "_run.json").read_text())["depends_on"]
    assert (record["cpu_isa"], record["blas"]) == (isa, pinned(isa)["OPENBLAS_CORETYPE"])
    refused = subprocess.run(
        [*arguments, str(tmp_path / "c"), "--cpu-isa", "AVX"],
        env={**environment, "DNNL_MAX_CPU_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert isa in refused.stderr
