"""``python -m tests.faults DESCRIPTOR``: the process that carries out runs (server.py)."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from tests.faults.server import serve

with Connection(int(sys.argv[1])) as to_tests:
    serve(to_tests, to_tests.recv())
