"""What is set before MXNet starts, and what of its output is dropped."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastinfer import machine
from fastinfer.runtimes.mxnet.settings import numeric_environment, pinned, set_missing


def test_only_what_the_user_has_not_set_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    set_missing({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]) == ("4", "1")
    assert {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}.items() <= numeric_environment().items()
    set_missing(None)


@pytest.mark.parametrize(
    ("cpu_isa", "features", "expected"),
    [
        ("AVX512_CORE", ["sse4_1", "avx", "avx2", "fma"], "Haswell"),
        ("AVX2", ["sse4_1", "avx", "avx2", "fma", "avx512f"], "Haswell"),
        ("AVX2", ["sse4_1", "avx"], "Sandybridge"),  # which has no more: OpenBLAS would run what is not there
        ("AVX", ["sse4_1", "avx", "avx2", "fma"], "Sandybridge"),
        ("AVX", ["sse4_1"], "Prescott"),
        ("SSE41", ["sse4_1", "avx", "avx2", "fma"], "Prescott"),
        ("AVX2", ["asimd"], None),
    ],
)
def test_openblas_is_pinned_to_what_the_processor_has(
    cpu_isa: str, features: list[str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_features", lambda: features)
    wanted = {"DNNL_MAX_CPU_ISA": cpu_isa, "OPENBLAS_CORETYPE": expected}
    assert pinned(cpu_isa) == {name: value for name, value in wanted.items() if value is not None}


@pytest.mark.parametrize(("stderr", "expected"), [("", "one\ntwo\nthree\n"), ("2>/dev/full", ""), ("2>&-", "")])
def test_one_line_is_dropped_and_everything_else_is_printed_later(stderr: str, expected: str) -> None:
    script = """
import os
from fastinfer.runtimes.mxnet.settings import without_engine_line
with without_engine_line():
    for line in (b"one\\n", b"[12:00:00] ../src/engine/engine.cc:55: MXNet start using engine: NaiveEngine\\n", b"two\\n"):
        try:
            os.write(2, line)
        except OSError:
            pass
try:
    os.write(2, b"three\\n")
except OSError:
    pass
print("ran")
"""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {stderr}', sys.executable, script], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("ran\n", expected)
