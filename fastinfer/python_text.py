"""Text that Python's own parser reads, in a process of several threads."""

from __future__ import annotations

from typing import Callable, TypeVar

# One fails only if garbage is collected during it and another thread parses then: that does not happen so often in a row.
ATTEMPTS = 20

Tree = TypeVar("Tree")


def parse_again(parse: Callable[[], Tree]) -> Tree:
    """What `parse` gives, which calls ``ast.parse`` or ``ast.literal_eval``; called again where other threads disturbed it.

    CPython 3.11.0 to 3.11.7 counts the depth of all threads' trees together. It raises SystemError for a good text where
    two threads build one at once: https://github.com/python/cpython/issues/106905.

    Raises:
        SystemError: if every attempt did.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return parse()
        except SystemError:
            continue
    return parse()
