"""Options are checked when they are made; limits say how large objects are cut."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.options import Limits, Options


@pytest.mark.parametrize(
    "options",
    [{"backend": "x"}, {"on_error": "x"}, {"cpu_isa": "x"}, {"max_errors": 1}, {"comment": "ab"}, {"comment": "1"}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Options(**options)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(16 << 20, 2 << 20), (128 << 20, 2 << 20), (256 << 20, 4 << 20), (2 << 30, 16 << 20), (1 << 40, 16 << 20)],
)
def test_spans_grow_with_their_object_between_bounds(size: int, expected: int) -> None:
    assert Limits().span_bytes(size) == expected
