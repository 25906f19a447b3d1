"""The server under attack: 2,000 clients that send nothing and 100 that send slowly, beside one that asks as usual.

    python -m benchmarks.attack_server

The server may open 1,024 files, as is usual. The attackers are a process of their own, and connect again when they are closed
out. Prints the times of usual requests and the server's memory, and fails if a request took more than a second or the
server 100 MiB more than before.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from fastinfer.models.module import SHIPPED_MODEL
from tests.sagemaker.serving import free_ports

ROOT = Path(__file__).parent.parent
IDLE, SLOW, SECONDS = 2000, 100, 30.0
MOST_S, MOST_MIB = 1.0, 100.0
BODY = b"0," * 783 + b"0\n"
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 6553500\r\n\r\n"


async def _attack(port: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    async def connect(*, slow: bool) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(writer):
                    if slow:
                        writer.write(HEAD)
                        while not reader.at_eof() and not writer.is_closing():
                            writer.write(b"00")
                            with contextlib.suppress(asyncio.TimeoutError):
                                if b"HTTP" in await asyncio.wait_for(reader.read(1 << 16), 1):
                                    break
                    else:
                        await reader.read(1)
            await asyncio.sleep(0.5)

    await asyncio.gather(*(connect(slow=number < SLOW) for number in range(SLOW + IDLE)))


def _post(port: int) -> float:
    started = time.perf_counter()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", BODY, {"Content-Type": "text/csv"})
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.read().startswith(b"[[")
    return time.perf_counter() - started


def _mib(process: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def main() -> None:
    """Serves, attacks, asks and reports."""
    (port,) = free_ports(1)
    serve = [sys.executable, "-m", "fastinfer.serve", "--port", str(port), "--model", str(SHIPPED_MODEL)]
    server = subprocess.Popen(["/bin/sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *serve])
    attack = None
    try:
        while True:
            with contextlib.suppress(OSError):
                _post(port)
                break
            time.sleep(0.1)
        alone = [_post(port) for _ in range(20)]
        before = _mib(server.pid)
        attack = subprocess.Popen([sys.executable, "-m", "benchmarks.attack_server", str(port)], cwd=ROOT)
        times, most, end = [], before, time.monotonic() + SECONDS
        while time.monotonic() < end:
            times.append(_post(port))
            most = max(most, _mib(server.pid))
            time.sleep(0.05)
    finally:
        for process in filter(None, (attack, server)):
            process.terminate()
            process.wait()
    print(
        f"{len(times)} requests: median {statistics.median(times) * 1e3:.1f} ms, longest {max(times) * 1e3:.0f} ms; "
        f"alone {statistics.median(alone) * 1e3:.1f} ms; memory {before:.0f} MiB before, {most:.0f} MiB at the most"
    )
    assert max(times) < MOST_S
    assert most - before < MOST_MIB


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_attack(int(sys.argv[1])))
    else:
        main()
