"""The bar of a run on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from fastinfer.commands._bar import Bar


def test_the_bar_tells_of_the_start_and_then_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Bar(quiet=False) as bar:
        bar.starting("choosing a batch size")
        assert "choosing a batch size" in screen.getvalue()
        bar.found(4000)
        bar.advance(7, 1000)
        bar._bar.refresh()
        last = screen.getvalue().rpartition("\r")[2]
        assert "choosing" not in last
        assert "1.00k/4.00k" in last
        assert "7 records" in last
