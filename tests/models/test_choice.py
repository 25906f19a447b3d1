"""What users say about a model is checked."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.models.choice import Choice


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"epoch": -1}, "epoch must be a whole number from 0, found -1"),
        ({"epoch": True}, "epoch must be a whole number from 0, found True"),
        ({"inputs": {}}, "inputs must be names with numbers of columns"),
        ({"inputs": {"data": 0}}, "inputs must be names with numbers of columns"),
        ({"input_shape": 3}, "input_shape must be sizes from 1"),
        ({"input_shape": (3, 0)}, r"such as \(3, 224, 224\), found \(3, 0\)"),
        ({"input_shape": {"data": "3,2"}}, "input_shape must be sizes from 1"),
        ({"output": 1}, "output must be a name"),
    ],
)
def test_what_is_said_of_a_model_is_checked(choice: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Choice(**choice)
