"""The SDK's `distribution` as hyperparameters; test_requests.py holds what is sent against the SDK itself."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker.distribution import decode_distribution, encode_distribution


@pytest.mark.parametrize(
    "distribution",
    [
        None,
        {"parameter_server": {"enabled": True}},
        {"mpi": {"enabled": True, "processes_per_host": 3, "custom_mpi_options": "-x NAME"}},
        {"parameter_server": {"enabled": False}, "mpi": {"enabled": True}},
    ],
)
def test_what_a_training_was_sent_is_read_again(distribution: dict[str, Any] | None) -> None:
    others = {"sagemaker_program": "train.py", "epochs": 2}
    assert decode_distribution({**others, **encode_distribution(distribution)}) == distribution


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        ({"smdistributed": {}}, "distribution: expected parameter_server or mpi, found 'smdistributed'"),
        ({"mpi": True}, r"distribution\['mpi'\]: expected a dict, found True"),
        ({"mpi": {"enable": True}}, "expected enabled or processes_per_host or custom_mpi_options, found 'enable'"),
        ({"mpi": {"enabled": "false"}}, r"\['enabled'\]: expected bool, found 'false'"),
        ({"mpi": {"processes_per_host": True}}, r"\['processes_per_host'\]: expected int, found True"),
        ({"mpi": {"processes_per_host": 0}}, r"\['processes_per_host'\]: expected 1 or more, found 0"),
        ({"mpi": {"custom_mpi_options": "-v"}}, "custom_mpi_options are sent only beside processes_per_host"),
        ({"parameter_server": {"processes_per_host": 1}}, "expected enabled, found 'processes_per_host'"),
    ],
)
def test_what_would_not_be_sent_as_it_was_meant_is_an_error(distribution: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        encode_distribution(distribution)
    assert caught.value.code == "bad_option"
