"""What several benchmarks share."""

from __future__ import annotations

from typing import Callable

import pytest


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line of results at once, whatever pytest does with the rest."""

    def print_it(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return print_it
