"""MXNet as a runtime: the settings it starts with, what it refuses, what it advises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.runtimes.mxnet.library import INFERENCE_SETTINGS
from tests.conftest import read_tree
from tests.runs import transform

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
    environment = {name: value for name, value in os.environ.items() if name != "DNNL_MAX_CPU_ISA"}
    subprocess.run([*arguments, str(tmp_path / "a"), "--cpu-isa", isa], env=environment, check=True)
    subprocess.run([*arguments, str(tmp_path / "b")], env={**environment, "DNNL_MAX_CPU_ISA": isa}, check=True)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "_run.json").read_text())["depends_on"]["cpu_isa"] == isa
    refused = subprocess.run(
        [*arguments, str(tmp_path / "c"), "--cpu-isa", "AVX"],
        env={**environment, "DNNL_MAX_CPU_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert isa in refused.stderr
