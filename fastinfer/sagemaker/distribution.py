"""A training by several processes: the SDK's `distribution`, and the hyperparameters by which its training toolkit is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError


class Option(NamedTuple):
    """An option of a kind of distribution.

    Attributes:
        hyperparameter: the hyperparameter that it becomes.
        type: of its values.
    """

    hyperparameter: str
    type: type


MPI_ENABLED = "sagemaker_mpi_enabled"
KINDS = {
    "parameter_server": {"enabled": Option("sagemaker_parameter_server_enabled", bool)},
    "mpi": {
        "enabled": Option(MPI_ENABLED, bool),
        "processes_per_host": Option("sagemaker_mpi_num_of_processes_per_host", int),
        "custom_mpi_options": Option("sagemaker_mpi_custom_mpi_options", str),
    },
}


def encode_distribution(distribution: Mapping[str, Any] | None) -> dict[str, Any]:
    """The hyperparameters of a distributed training.

    Raises:
        ConfigError: ``bad_option``.
    """
    hyperparameters: dict[str, Any] = {}
    for kind, options in (distribution or {}).items():
        if kind not in KINDS:
            raise _wrong("distribution", " or ".join(KINDS), kind)
        where = f"distribution[{kind!r}]"
        if not isinstance(options, Mapping):
            raise _wrong(where, "a dict", options)
        _check(where, KINDS[kind], options)
        values = {"enabled": False, **options}
        if "processes_per_host" in values:
            values.setdefault("custom_mpi_options", "")
        hyperparameters.update({KINDS[kind][name].hyperparameter: value for name, value in values.items()})
    return hyperparameters


def decode_distribution(hyperparameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The distribution that a training's hyperparameters ask for; None without one."""
    found = {}
    for kind, options in KINDS.items():
        given = {name: option.hyperparameter for name, option in options.items()}
        values = {name: hyperparameters[parameter] for name, parameter in given.items() if parameter in hyperparameters}
        if values:
            found[kind] = values
    return found or None


def _check(where: str, known: Mapping[str, Option], options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in known:
            raise _wrong(where, " or ".join(known), name)
        # A bool is an int too, and no number of processes.
        if type(value) is not known[name].type:
            raise _wrong(f"{where}[{name!r}]", known[name].type.__name__, value)
    processes = options.get("processes_per_host", 1)
    if processes < 1:
        raise _wrong(f"{where}['processes_per_host']", "1 or more", processes)
    # SageMaker's SDK leaves them out of such a request without a word.
    if "custom_mpi_options" in options and "processes_per_host" not in options:
        raise ConfigError(
            f"{where}: custom_mpi_options are sent only beside processes_per_host",
            code="bad_option",
            hint="add 'processes_per_host'",
        )


def _wrong(where: str, expected: str, found: object) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}, found {found!r}", code="bad_option")
