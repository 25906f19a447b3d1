"""What threads can do to each other within Python."""

from __future__ import annotations

import ast
import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

# A collection of garbage within a parsing; a small tree has room for some.
TIMES = 12


@contextlib.contextmanager
def disturbed_parsing() -> Iterator[None]:
    """Where a collection of garbage comes within ``ast.parse``, another tree is built, as by another thread; some times.

    CPython 3.11.0 to 3.11.7 then raises SystemError for the first tree. Others build a tree in one go, or count apart.
    """
    left = [TIMES]

    def disturb(phase: str, _: dict[str, int]) -> None:
        frame: Any = sys._getframe(1)
        if phase == "start" and left[0] and frame.f_code is ast.parse.__code__:
            left[0] -= 1
            ast.parse("a")

    threshold = gc.get_threshold()
    gc.callbacks.append(disturb)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(disturb)
