"""A server of S3 that keeps up: ranges of one object come from a file by sendfile, all other requests go to another server.

SeaweedFS on the same cores takes several times as much time for a byte as the client that reads it. Here a byte costs the
server next to nothing, as it does where the server is another machine. Used by bench_s3.py, in a process of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests import s3

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
# What a server says of every object; obstore requires it.
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


class Ranged(NamedTuple):
    """An object whose ranges the server has.

    Attributes:
        path: of its URL: ``/bucket/key``.
        version: its ETag; a request for another one is passed on, to be refused.
        file: has its bytes.
    """

    path: str
    version: str
    file: Path


class RangeServer(s3.Proxy):
    """Passes requests on, but for ranges of one object, if there is one."""

    def __init__(self, upstream: str, ranged: Ranged | None) -> None:
        self._ranged = ranged
        if ranged is not None:
            self._file = os.open(ranged.file, os.O_RDONLY)
            self._size = ranged.file.stat().st_size
        super().__init__(upstream)

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        wanted = _RANGE.fullmatch(request.headers.get("Range") or "")
        if wanted is None or not self._is_ranged(request):
            super().pass_on(request)
            return
        assert self._ranged is not None
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, self._size)
        request.send_response_only(206)
        request.send_header("Content-Type", "text/csv")
        request.send_header("ETag", self._ranged.version)
        request.send_header("Last-Modified", MODIFIED)
        request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{self._size}")
        request.send_header("Content-Length", str(stop - start))
        request.end_headers()
        request.wfile.flush()
        while start < stop:
            start += os.sendfile(request.connection.fileno(), self._file, start, stop - start)

    def _is_ranged(self, request: BaseHTTPRequestHandler) -> bool:
        ranged = self._ranged
        return (
            ranged is not None
            and request.command == "GET"
            and urlsplit(request.path).path == ranged.path
            and request.headers.get("If-Match", ranged.version) == ranged.version
        )


class Control:
    """A server in another process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.endpoint: str = connection.recv()

    def processor_seconds(self, latency_s: float = 0.0) -> float:
        """The processor time that the server has taken so far; from now on it waits so long before each answer."""
        self._connection.send(latency_s)
        taken: float = self._connection.recv()
        return taken


@contextmanager
def range_server(upstream: str, ranged: Ranged | None = None) -> Iterator[Control]:
    """A :class:`RangeServer` in a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, upstream, ranged), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Control(ours)
    finally:
        ours.close()  # it ends
        process.join()


def _serve(connection: Connection, upstream: str, ranged: Ranged | None) -> None:
    server = RangeServer(upstream, ranged)
    connection.send(server.endpoint)
    try:
        while True:
            server.latency_s = connection.recv()
            connection.send(time.process_time())
    except EOFError:
        server.close()
