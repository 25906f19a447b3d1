"""How a run is done, checked; and what of it the bytes of the outputs depend on. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

from . import machine
from ._native.kernels import CsvParser
from ._version import __version__
from .errors import ConfigError
from .models.module import Model
from .runtimes.devices import parse_device

BACKENDS = ("threads", "processes", "dask", "ray")
ON_ERROR = ("stop", "quarantine")

# The names that oneDNN 2, which MXNet 1.9 is built with, reads from DNNL_MAX_CPU_ISA.
CPU_ISA_VARIABLE = "DNNL_MAX_CPU_ISA"
CPU_ISAS = ("SSE41", "AVX", "AVX2", "AVX512_MIC", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16")

# Variables of the environment by which MXNet and its libraries choose their code.
NUMERIC_VARIABLES = ("DNNL_", "MKLDNN_", "OPENBLAS_", "MXNET_MKLDNN_", "MXNET_SUBGRAPH_BACKEND", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Options:
    """How a run is done. The defaults are the command's.

    Attributes:
        exact: the container's bytes: each row computed as at batch size 1.
        batch_size: rows of one forward pass; None: the probe chooses one that makes rows independent of their place.
        workers: how many, each with its own bound graph; None: one a core, or one a GPU.
        device: ``cpu``, ``gpu``, ``gpu:0,1``.
        overwrite: make outputs anew that are there already.
        comment: a character from which on the rest of a line is skipped.
        missing: the value of an empty cell; without it an empty cell is an error.
        skip_header: whether the first line of each file is passed over.
        backend: ``threads``; ``processes`` for isolation; ``dask`` or ``ray`` for other machines, which must see inputs and
            outputs under the same paths.
        address: of the dask scheduler or the ray cluster; None: one that is started on this machine for the run.
        on_error: ``stop`` at the first bad record, or ``quarantine``: put bad records aside in ``_rejects.jsonl`` and go
            on. With ``quarantine`` a line is a record, and ``null`` stands in a bad one's place.
        max_errors: how many records may be put aside; None for any number.
        memory_limit: bytes that this process may hold; a line too long for it is an error. None: 256 MiB a line.
        durable: whether outputs are on the disk, not only in the system's memory, before they get their names.
        cpu_isa: the instruction set that oneDNN may use at the most, such as ``AVX2``, so that machines of different
            kinds give the same bytes; None: what the CPU has.

    Raises:
        ConfigError: an option cannot be.
    """

    exact: bool = False
    batch_size: int | None = None
    workers: int | None = None
    device: str = "cpu"
    overwrite: bool = False
    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False
    backend: str = "threads"
    address: str | None = None
    on_error: str = "stop"
    max_errors: int | None = None
    memory_limit: int | None = None
    durable: bool = False
    cpu_isa: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "memory_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        for name, choices in (("backend", BACKENDS), ("on_error", ON_ERROR), ("cpu_isa", (None, *CPU_ISAS))):
            value = getattr(self, name)
            if value not in choices:
                listed = ", ".join(choice for choice in choices if choice)
                raise ConfigError(f"{name} must be one of {listed}, found {value!r}")
        if self.max_errors is not None and (self.max_errors < 0 or self.on_error != "quarantine"):
            raise ConfigError("max_errors is a number of at least 0, and goes with on_error='quarantine'")
        if self.address is not None and self.backend not in ("dask", "ray"):
            raise ConfigError(f"address goes with backend='dask' or 'ray', not {self.backend!r}")
        parse_device(self.device)
        CsvParser(comment=self.comment)  # refuses a sign that a number may hold


def circumstances(model: Model, options: Options) -> dict[str, Any]:
    """What a prediction's bits depend on beside MXNet and the batch size: model, processor, device."""
    return {
        "fastinfer": __version__,
        "model": model.digest,
        "device": parse_device(options.device)[0][0],
        "cpu": machine.cpu_name(),
        "cpu_features": machine.cpu_features(),
        "cpu_isa": options.cpu_isa or os.environ.get(CPU_ISA_VARIABLE),
    }


def reading(options: Options) -> dict[str, Any]:
    """What else the bytes of an output depend on: how its input is read, and how rows are computed."""
    return {
        "mode": "exact" if options.exact else "default",
        "comment": options.comment,
        "missing": None if options.missing is None else repr(options.missing),
        "skip_header": options.skip_header,
        "on_error": options.on_error,
    }


def check_machine(expected: dict[str, Any], mxnet_version: str) -> None:
    """Refuses to work for a run whose record would not be true here, on another machine than the one that began it.

    Args:
        expected: the run's record of what its bytes depend on.
        mxnet_version: of this process.

    Raises:
        ConfigError: ``other_machine``.
    """
    here = {"fastinfer": __version__, "mxnet": mxnet_version, "environment": numeric_environment()}
    if expected["cpu_isa"] is None:
        # Where the instruction set is pinned, that is what was asked for: one text from CPUs of different kinds.
        here.update(cpu=machine.cpu_name(), cpu_features=machine.cpu_features())
    for name, value in here.items():
        if value != expected[name]:
            raise ConfigError(
                f"{platform.node()} would give other bytes: {name} is {value!r} there, {expected[name]!r} where the run began",
                code="other_machine",
                hint="the same versions and environment on all machines, and --cpu-isa for different CPUs",
            )


def numeric_environment() -> dict[str, str]:
    """The variables by which MXNet, as imported, chooses its code."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(NUMERIC_VARIABLES)}
