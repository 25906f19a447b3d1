"""Starts the server of object_server.cpp, which takes next to no processor time; used by bench_s3.py."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")


class Server:
    """A running server.

    Attributes:
        endpoint: its URL.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{int(self._ask())}"

    def delay(self, seconds: float, spread: float = 0.0) -> None:
        """From now on every answer waits so long, and besides a time that is exponentially distributed, with this mean."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds * 1000} {spread * 1000}\n")
        self._process.stdin.flush()
        self._ask()

    def processor_seconds(self) -> float:
        """The processor time that the server has taken so far."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def _ask(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def object_server() -> Iterator[Server]:
    """Compiles and starts a server, which is empty."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "server")
        subprocess.run(["g++", "-std=c++17", "-O2", str(SOURCE), "-o", str(program)], check=True)
        pipe = subprocess.PIPE
        with subprocess.Popen([str(program)], stdin=pipe, stdout=pipe, text=True) as process:
            yield Server(process)
            process.stdin.close()  # it ends
