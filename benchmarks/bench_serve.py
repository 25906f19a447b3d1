"""Over HTTP: fastinfer.serve beside SageMaker's container, with the same model, requests and client.

The container is its own software without docker: the model server on Java, with the worker processes that it starts by
itself, and the MXNet handler in them (.venv/container; `make test` builds it). The client is a process of its own that
knows nothing of either. It shares the machine's cores with the server: that costs the faster server more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from benchmarks.conftest import Keep
from benchmarks.environment import AS_STARTED
from fastinfer.mnist.samples import write_samples
from fastinfer.models.module import SHIPPED_MODEL
from tests.sagemaker.serving import free_ports, model_server

ROOT = Path(__file__).parent.parent
CONTAINER = ROOT / ".venv" / "container" / "bin" / "python"
BLANK = b"0," * 783 + b"0\n"

# Requests of one measurement, by server and rows of a body: about a second or two of work each.
REQUESTS = {("fastinfer", 1): 2000, ("fastinfer", 500): 160, ("container", 1): 96, ("container", 500): 16}


def post(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "text/csv"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return bytes(response.read())


@contextlib.contextmanager
def fastinfer_server(*options: str) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "fastinfer.serve", "--port", str(port), "--model", str(SHIPPED_MODEL), "--quiet"]
    process = subprocess.Popen([*command, *options], env=AS_STARTED)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):  # a refused connection, or 503
                post(f"http://127.0.0.1:{port}", BLANK)
                break
            time.sleep(0.05)
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def container_server(folder: Path) -> Iterator[str]:
    if shutil.which("java") is None or not CONTAINER.exists():
        pytest.skip("the container's server needs java and .venv/container")
    with model_server(CONTAINER, SHIPPED_MODEL, folder, ready=BLANK) as server:
        yield f"http://127.0.0.1:{server.port}"


class Client:
    """The process that asks."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.bench_serve"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, url: str, bodies: Path, requests: int, connections: int) -> float:
        """Sends so many requests over so many connections; returns the seconds that took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"url": url, "bodies": str(bodies), "requests": requests, "connections": connections}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


async def _load(url: str, bodies: str, requests: int, connections: int) -> float:
    """The client's side: each connection sends its next request when it has the answer to the last one."""
    import aiohttp

    contents = [path.read_bytes() for path in sorted(Path(bodies).iterdir())]
    numbers = iter(range(requests))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def ask(body: bytes) -> None:
            headers = {"Content-Type": "text/csv"}
            async with session.post(f"{url}/invocations", data=body, headers=headers) as response:
                assert response.status == 200, await response.text()
                await response.read()

        async def keep_asking() -> None:
            for number in numbers:
                await ask(contents[number % len(contents)])

        await asyncio.gather(*(ask(contents[0]) for _ in range(connections)))
        started = time.perf_counter()
        await asyncio.gather(*(keep_asking() for _ in range(connections)))
        return time.perf_counter() - started


def _serve_orders() -> None:
    import warnings

    warnings.simplefilter("ignore", ResourceWarning)  # about the size of a body
    for line in sys.stdin:
        print(asyncio.run(_load(**json.loads(line))), flush=True)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of bodies as SageMaker's sample data prints them, by their rows."""
    from fastinfer.mnist.dataset import read_images

    images = np.resize(read_images(ROOT / "examples" / "mnist" / "test"), (2000, 28, 28))
    folder = tmp_path_factory.mktemp("bodies")
    write_samples(images[:50], folder / "1")
    write_samples(images, folder / "500", rows_per_file=500)
    return {1: folder / "1", 500: folder / "500"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["fastinfer", "fastinfer --exact", "container"])
def served(
    request: pytest.FixtureRequest, bodies: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A server whose replies were found to be right, and its name."""
    name = request.param
    if name == "container":
        server: Any = container_server(tmp_path_factory.mktemp("container"))
    else:
        server = fastinfer_server(*name.split()[1:])
    with server as url:
        check(lambda body: post(url, body), bodies, exact=name != "fastinfer")
        yield name, url


def check(answer: Callable[[bytes], bytes], bodies: dict[int, Path], *, exact: bool) -> None:
    """The replies are those of the container's bytes, which tests/handlers/test_predictor.py compares with its code."""
    from fastinfer import Predictor

    predictor = Predictor(SHIPPED_MODEL, exact=True)
    for folder in bodies.values():
        for path in sorted(folder.iterdir()):
            body = path.read_bytes()
            expected, found = predictor.answer(body)[0], answer(body)
            # The default mode's last digits are other ones: over these 2,000 images by 1.1e-6 at most.
            assert found == expected if exact else np.allclose(json.loads(found), json.loads(expected), 0, 2e-6)


@pytest.mark.parametrize("connections", [1, 4, 16])
@pytest.mark.parametrize("rows", [1, 500])
def bench_requests(
    rows: int, connections: int, served: tuple[str, str], bodies: dict[int, Path], client: Client, keep: Keep
) -> None:
    name, url = served
    count = REQUESTS[name.split()[0], rows]
    # The client's own clock: reading bodies and connecting are not what is timed. The first turn warms up.
    turns = 4 if name == "container" else 6
    rates = [count * rows / client.ask(url, bodies[rows], count, connections) for _ in range(turns)][1:]
    what = f"{name}, {rows} {'images' if rows > 1 else 'image'} a request, {connections} at a time"
    keep(f"{name}/{rows}/{connections}", what, rates, "images/s")


if __name__ == "__main__":
    _serve_orders()
