"""``fastinfer doctor``: the report, and what forces an instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fastinfer import kernels
from fastinfer.commands import doctor


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastinfer", "doctor", *arguments],
        env={**{name: value for name, value in os.environ.items() if name != "FASTINFER_ISA"}, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_report_names_the_machine_and_the_best_instruction_set() -> None:
    result = run("--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["isa"] == report["isas"][0] == kernels.available_isas()[0]
    assert report["isas"][-1] == "scalar"
    assert report["cores"] >= 1
    assert report["memory_bytes"] > 2**20
    assert report["versions"]["mxnet"].startswith("1.9")
    assert "CPU_SSE" in report["mxnet"]["features"] or "BLAS_OPEN" in report["mxnet"]["features"]
    assert "BLAS_OPEN" not in report["mxnet"]["features"] or report["mxnet"]["blas"]
    assert report["mxnet"]["gpus"] == 0 or "CUDA" in report["mxnet"]["features"]


def test_what_is_missing_is_named_with_its_use_and_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name == "aiohttp":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    assert doctor.main([]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "aiohttp" in line]
    assert lines == [
        "aiohttp        not installed",
        "missing        aiohttp, for fastinfer serve: pip install 'aiohttp>=3.9,<4'",
    ]


def test_an_instruction_set_can_be_forced() -> None:
    result = run(FASTINFER_ISA="scalar")
    assert result.returncode == 0
    assert "scalar (by FASTINFER_ISA)" in result.stdout


def test_an_unknown_instruction_set_is_reported() -> None:
    result = run(FASTINFER_ISA="mmx")
    assert result.returncode == 2
    assert "'mmx' is not an instruction set that this build has" in result.stdout
    assert "Traceback" not in result.stderr


def test_an_unknown_instruction_set_is_an_error_of_the_kernels_and_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n")
    for arguments, code in (
        (["-c", "from fastinfer import kernels; kernels.count_lines(b'')"], 1),
        (["-m", "fastinfer.transform", str(tmp_path), str(tmp_path / "out")], 2),
    ):
        result = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "FASTINFER_ISA": "mmx"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code
        assert "'mmx' is not an instruction set" in result.stderr
        assert "scalar" in result.stderr
