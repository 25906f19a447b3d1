"""The environment of MXNet: what it reads once when it starts, what its bits depend on, what it prints.

Both doors to MXNet use this: libmxnet.py, through which models run, and library.py, which imports its Python package.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from ... import machine
from ...options import CPU_ISA_VARIABLE

# MXNet reads these once. A value that the user has set is not changed.
#   OMP_NUM_THREADS, OPENBLAS_NUM_THREADS
#                        one thread per operator: the workers are the parallelism, more would oversubscribe the cores
#   MXNET_ENGINE_TYPE    run an operator in the thread that calls it, not in a shared pool of threads
#   OMP_WAIT_POLICY      threads among which an operator is divided sleep when they wait: they would take the cores from others
# Without these of them a run is slow.
SPEED_SETTINGS = ("OMP_NUM_THREADS", "MXNET_ENGINE_TYPE")
INFERENCE_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MXNET_ENGINE_TYPE": "NaiveEngine",
    "MXNET_SUBGRAPH_VERBOSE": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}

# OpenBLAS, by which MXNet multiplies matrices, has code for kinds of CPU. It runs what this names, also where the CPU cannot.
BLAS_VARIABLE = "OPENBLAS_CORETYPE"

# Variables of the environment by which MXNet and its libraries choose their code.
NUMERIC_VARIABLES = ("DNNL_", "MKLDNN_", "OPENBLAS_", "MXNET_MKLDNN_", "MXNET_SUBGRAPH_BACKEND", "OMP_NUM_THREADS")

# What it prints of its settings when it starts, and when it binds.
ENGINE_LINES = (b"MXNet start using engine", b"subgraph backend is not in use")


def set_missing(settings: dict[str, str] | None) -> None:
    """Sets variables of the environment that the user has not set. How threads wait is left alone where their number is set."""
    settings = settings or {}
    if os.environ.get("OMP_NUM_THREADS", "1") != "1":
        settings = {name: value for name, value in settings.items() if name != "OMP_WAIT_POLICY"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def pinned(cpu_isa: str) -> dict[str, str]:
    """The variables by which oneDNN and OpenBLAS use an instruction set (one of ``options.CPU_ISAS``), or the best below it.

    OpenBLAS in the builds of MXNet has no code for AVX-512.
    """
    has = set(machine.cpu_features())
    if "sse4_1" not in has:  # another kind of processor
        return {CPU_ISA_VARIABLE: cpu_isa}
    if cpu_isa not in ("SSE41", "AVX") and {"avx2", "fma"} <= has:
        code = "Haswell"
    else:
        code = "Sandybridge" if cpu_isa != "SSE41" and "avx" in has else "Prescott"
    return {CPU_ISA_VARIABLE: cpu_isa, BLAS_VARIABLE: code}


def can_divide() -> bool:
    """Whether operators may be divided: threads are as these settings have them, and nothing else says how many there are."""
    openmp = {name for name in os.environ if name.startswith("OMP_")}
    return openmp <= set(INFERENCE_SETTINGS) and all(
        os.environ.get(name) == value for name, value in INFERENCE_SETTINGS.items()
    )


def numeric_environment() -> dict[str, str]:
    """The variables by which MXNet, as started, chooses its code."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(NUMERIC_VARIABLES)}


@contextlib.contextmanager
def without_engine_line() -> Iterator[None]:
    """Drops the lines that MXNet prints if its engine, or how it fuses operators, was chosen by the environment.

    C++ prints to the file descriptor, so that must be replaced: other output on stderr is held, and printed when MXNet is
    loaded.
    """
    if sys.stderr is None:  # closed by the parent process
        yield
        return
    unwritable = contextlib.suppress(OSError, ValueError)  # stderr may be on a full disk, or closed
    with unwritable:
        sys.stderr.flush()
    kept = os.dup(2)
    # In memory: tempfile would be imported for this alone, in 20 ms.
    with os.fdopen(os.memfd_create("stderr"), "r+b") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            with unwritable:
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not any(text in line for text in ENGINE_LINES):
                    with unwritable:
                        os.write(2, line)
