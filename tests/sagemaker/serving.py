"""SageMaker's serving container as software: multi-model-server with the MXNet toolkit, started on loopback.

Its own command `serve` takes the machine for its own: it writes its settings to /etc, its process id and sockets to the
system's folder of temporary files, and waits for whichever model server it finds running. Here each server has folders of
its own and sees its own session, so that several run side by side; nothing else is changed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.sagemaker.environment import container_environment

SERVE = """
import os, sys, psutil
everyone = psutil.process_iter
psutil.process_iter = lambda: (process for process in everyone() if os.getsid(process.pid) == os.getpid())
from sagemaker_inference import model_server
model_server.MMS_CONFIG_FILE = sys.argv[1]
from sagemaker_mxnet_serving_container import serving
serving.main()
"""
MODEL_FAILED = b"Invoking custom service failed"
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 300


class Reply(NamedTuple):
    """What an HTTP server answered."""

    status: int
    content_type: str | None
    body: bytes


class ModelServer(NamedTuple):
    """A server that answers /ping and /invocations."""

    port: int
    group: int  # of its processes

    def ping(self) -> int:
        return self._ask("GET", "/ping", None, {}).status

    def invoke(self, body: bytes, content_type: str = "text/csv", accept: str | None = None) -> Reply:
        headers = {"Content-Type": content_type, **({} if accept is None else {"Accept": accept})}
        return self._ask("POST", "/invocations", body, headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Reply(response.status, response.getheader("Content-Type"), response.read())


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on; below 32768, as the model server takes no others."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 32_768), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"of 1,000 ports not {count} are free")


@contextlib.contextmanager
def model_server(
    python: Path,
    model: Path,
    folder: Path,
    *,
    ready: bytes,
    code: Path | None = None,
    workers: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ModelServer]:
    """Serves a model with the container's software, until the block ends; nothing of it runs on then.

    Args:
        python: the interpreter of an environment with the toolkits.
        model: the folder of the saved model.
        folder: a new folder for what the server writes.
        ready: a text/csv body that the model takes; the server is up when it is answered.
        code: the user's module; None: the container's defaults (it wants a module all the same, an empty one).
        workers: processes that run the model; None: the server decides.
        environment: further variables.

    Raises:
        RuntimeError: it did not come up; with the end of its log.
    """
    base = folder / "ml"
    shutil.copytree(model, base / "model")
    (base / "model" / "code").mkdir(exist_ok=True)
    program = "inference.py" if code is None else code.name
    if code is None:
        (base / "model" / "code" / program).write_text("")
    else:
        shutil.copy(code, base / "model" / "code")
    port, management_port = free_ports(2)
    log = folder / "server.log"
    # A short name: sockets lie in it, and a socket's path is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="mms-") as temporary, open(log, "wb") as output:
        variables = {
            **container_environment(python),
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_PROGRAM": program,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "MMS_INFERENCE_ADDRESS": f"http://127.0.0.1:{port}",
            "MMS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{management_port}",
            "TMPDIR": temporary,  # Python's name for it
            "TEMP": temporary,  # and the model server's, for Java
            "JAVA_TOOL_OPTIONS": "-XX:-UsePerfData",  # which would leave a file in /tmp all the same
            **({} if workers is None else {"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)}),
            **(environment or {}),
        }
        process = subprocess.Popen(
            [str(python), "-c", SERVE, str(folder / "mms.properties")],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            server = ModelServer(port, process.pid)
            _wait_until_ready(process, server, ready, log)
            yield server
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole group: Java and its workers do not end with the process that started them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while running := running_processes(process.pid):
        if time.monotonic() > deadline:
            raise RuntimeError(f"of the model server these processes did not end: {running}")
        time.sleep(0.05)


def running_processes(group: int) -> list[int]:
    """The processes of a group that have not ended (whether or not anybody has asked how they did)."""
    running = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                running.append(int(path.parent.name))
    return running


def _wait_until_ready(process: subprocess.Popen[bytes], server: ModelServer, body: bytes, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    # A model that failed to load stays so, and every request then ends in this line.
    while time.monotonic() < deadline and process.poll() is None and MODEL_FAILED not in log.read_bytes():
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.ping() == 200 and server.invoke(body).status == 200:
                return
        time.sleep(0.1)
    # A worker that fails is started again, and says the same again: each line once, without its time.
    lines = [line.partition(" - ")[2] or line for line in log.read_text(errors="replace").splitlines()]
    raise RuntimeError("\n".join(["the model server did not come up:", *list(dict.fromkeys(lines))[-60:]]))
