"""What the bytes of a run's results depend on: kept in its record, compared by the next run and by remote workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .. import machine
from .._version import __version__
from ..errors import ConfigError
from ..models.code import program_name
from ..options import Options
from ..runtimes.provenance import of_model
from .code_model import CodeModel
from .request import TransformRequest

if TYPE_CHECKING:
    from ..models.load import AnyModel
    from ..runtimes.base import Runtime
    from ..runtimes.batch_size import Batching


def of_plan(
    model: AnyModel | CodeModel, options: Options, source: str, request: TransformRequest | None = None
) -> dict[str, Any]:
    """The part that is known before the runtime is loaded: model, machine, source, and how records are read.

    Args:
        model: the model.
        options: of the run.
        source: the name of all its inputs together.
        request: what is asked for; None: the defaults.
    """
    return {
        **of_model(model, options),
        "mode": "exact" if options.exact else "default",
        "comment": options.comment,
        "missing": None if options.missing is None else repr(options.missing),
        "skip_header": options.skip_header,
        "records": options.records,
        "on_error": options.on_error,
        "source": source,
        **(request or TransformRequest()).record(),
    }


def of_run(
    model: AnyModel | CodeModel,
    options: Options,
    source: str,
    runtime: Runtime,
    batching: Batching,
    request: TransformRequest | None = None,
) -> dict[str, Any]:
    """Everything that the bytes depend on."""
    return {
        **of_plan(model, options, source, request),
        **runtime.identity(),
        "batch_size": None if batching.row_wise else batching.batch_size,
    }


def check_machine(expected: dict[str, Any], runtime: Runtime) -> None:
    """Checks that a worker on another machine gives the bytes that the run's record promises.

    Args:
        expected: the run's record of what its bytes depend on.
        runtime: of this process.

    Raises:
        ConfigError: ``other_machine``.
    """
    here = {"fastinfer": __version__, **runtime.identity()}
    if "program" in expected:  # of a model whose own code answers
        here["program"] = program_name()
    if expected["cpu_isa"] is None:
        # If the instruction set is pinned, CPUs of different kinds are accepted, with the same code of OpenBLAS.
        here.update(cpu=machine.cpu_name(), cpu_features=machine.cpu_features(), cpu_caches=machine.cache_sizes())
    for name, value in here.items():
        if value != expected[name]:
            there = os.uname().nodename
            raise ConfigError(
                f"{there} would give other bytes: {name} is {value!r} there, {expected[name]!r} where the run began",
                code="other_machine",
                hint="use the same OPENBLAS_CORETYPE on all machines, or pin cpu_isa"
                if name == "blas"
                else "use the same versions and environment on all machines, and pin cpu_isa for different CPUs",
            )
