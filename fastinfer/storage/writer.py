"""Names of those who write: each thread writes files of its own, which no other one touches."""

from __future__ import annotations

import os
from _thread import get_ident  # threading takes ten times as long

# Process ids are not unique: of another machine, or of an earlier process.
_process = os.urandom(4).hex()
os.register_at_fork(after_in_child=lambda: globals().update(_process=os.urandom(4).hex()))


def writer_name() -> str:
    """A name for this thread's files that no other writer has, on any machine."""
    return f"{os.getpid()}-{_process}-{get_ident()}"
