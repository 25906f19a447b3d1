"""Silent clients, too many clients, clients that send too early or stop sending: none of them holds the server up."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
import socket
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastinfer.serving import http
from tests.conftest import PATIENCE_S, wait_until
from tests.serving.test_http import Server, receive, serving

PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
# Long enough that a test on a busy machine is not closed out, where the test is not about that.
PATIENT = {"head_s": PATIENCE_S, "idle_s": PATIENCE_S, "grace_s": PATIENCE_S, "check_interval_s": 0.05}

ECHO = """
import os, time

def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    if data.startswith(b"large"):
        return b"x" * int(data[5:]), "application/x-large"
    if data.startswith((b"wait", b"hold")):
        signs = os.environ["SIGNS"] + "/" + data.decode().strip()
        open(signs + "-begun", "w").close()
        while not os.path.exists(signs + "-end"):
            time.sleep(0.01)
    return bytes(data), "application/x-echo"
"""


@pytest.fixture(scope="module")
def echo(mlp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose code returns the body."""
    model = shutil.copytree(mlp, tmp_path_factory.mktemp("echo") / "model")
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(ECHO)
    return model


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code says that a request has begun, and is told that it may end."""
    return tmp_path_factory.mktemp("signs")


@pytest.fixture(scope="module")
def patient(echo: Path, signs: Path) -> Iterator[Server]:
    """A server that closes nothing because of its time."""
    with serving("--model", str(echo), limits=PATIENT, SIGNS=str(signs)) as server:
        yield server
        assert server.stop() == (0, "")


@contextlib.contextmanager
def connected(server: Server, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)) for _ in range(count)
        ]


def request(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: x\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def read_all(client: socket.socket) -> bytes:
    """What comes until the other side closes the connection."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 20):
            pieces.append(piece)
    return b"".join(pieces)


def test_who_asks_for_nothing_is_not_waited_for(echo: Path) -> None:
    limits = {"head_s": 0.3, "idle_s": 0.6, "check_interval_s": 0.05}
    with serving("--model", str(echo), limits=limits) as server:
        with connected(server, 4) as (silent, slow, later, idle):
            for client in (later, idle):
                client.sendall(PING)
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
            for client, sent in ((silent, b""), (slow, PING[:-2]), (later, PING[:9]), (idle, b"")):
                client.sendall(sent)
                assert read_all(client) == b""
        # Nor is a head without end.
        for piece in (b"x" * 1000, b"a: b\r\n" * 100):
            with connected(server) as (client,):
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"GET /ping HTTP/1.1\r\nName: ")
                    for _ in range(100_000):
                        client.sendall(piece)
                assert b" 200 " not in read_all(client)
        assert server.post(b"hello", "x").body == b"hello"


def test_for_one_connection_too_many_the_longest_idle_one_is_closed(echo: Path) -> None:
    with serving("--model", str(echo), limits={**PATIENT, "connections": 8}) as server:
        with connected(server, 30) as clients:
            assert server.post(b"hello", "x").body == b"hello"
            for client in clients[:22]:
                assert read_all(client) == b""
            clients[-1].sendall(PING)
            assert clients[-1].recv(1 << 16).startswith(b"HTTP/1.1 200")
        code, said = server.stop()
    assert (code, said) == (0, "")


def test_where_all_connections_are_busy_one_more_is_refused(echo: Path) -> None:
    limits = {**PATIENT, "connections": 2}
    head = request(b"", 100).replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
    with serving("--model", str(echo), limits=limits) as server, contextlib.ExitStack() as stack:
        clients: list[socket.socket] = []
        for _ in range(2):
            clients += stack.enter_context(connected(server))
            clients[-1].sendall(head)
            assert clients[-1].recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"  # its request has begun
        with connected(server) as (third,):
            reply = read_all(third)
        assert reply.startswith(b"HTTP/1.1 503")
        assert reply.endswith(b"\r\n\r\nthe server has too many open requests.\n")
        for client in clients:
            client.sendall(b"z" * 100)
            assert client.recv(1 << 16).endswith(b"z" * 100)
        assert server.post(b"hello", "x").body == b"hello"


def test_descriptors_that_run_out_are_told_once_and_waited_for(echo: Path) -> None:
    with serving("--model", str(echo), limits={**PATIENT, "connections": 10_000}) as server:
        used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        with connected(server, 60) as clients:
            clients[0].sendall(PING)
            assert clients[0].recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert server.post(b"hello", "x").body == b"hello"
        code, said = server.stop()
    assert code == 0
    assert said.count("connections cannot be accepted") == 1
    assert len(said.splitlines()) == 1, said


def test_requests_that_are_sent_ahead_are_answered_in_order(patient: Server) -> None:
    count = 3000
    with connected(patient) as (client,):
        sent = b"".join(request(b"%d" % number) for number in range(count))
        ahead = client.makefile("rwb")
        sending = threading.Thread(target=client.sendall, args=(sent,))
        sending.start()
        for number in range(count):
            assert ahead.readline().startswith(b"HTTP/1.1 200"), number
            while line := ahead.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            assert ahead.read(size) == b"%d" % number
        sending.join()
        ahead.close()


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "other"])
@pytest.mark.parametrize("asked", [PING, request(b"hello")], ids=["without a body", "with a body"])
def test_behind_a_request_for_another_protocol_none_is_passed_over(
    protocol: str, asked: bytes, patient: Server
) -> None:
    """It is answered as it stands, and with that the connection ends: its client knows that no other one was read."""
    upgrade = f"\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n".encode()
    with connected(patient) as (client,):
        client.sendall(PING + asked.replace(b"\r\n", upgrade, 1) + request(b"lost"))
        replies = read_all(client)
    assert replies.count(b"HTTP/1.1 200 OK") == 2
    first, _, last = replies.rpartition(b"HTTP/1.1 200 OK")
    assert b"Connection: close" not in first
    assert b"Connection: close\r\n" in last
    assert b"lost" not in last


@pytest.mark.parametrize("count", [1, 3])
def test_who_has_sent_everything_gets_its_replies(count: int, patient: Server, signs: Path) -> None:
    """It closes its side of the connection, as `nc -N` does, while its request is answered or before."""
    name = f"wait{count}"
    with connected(patient, 2) as clients:
        for client in clients:
            client.sendall(request(b"hello") * (count - 1) + request(name.encode()))
            client.shutdown(socket.SHUT_WR)
        wait_until((signs / f"{name}-begun").exists, patient.process)
        (signs / f"{name}-end").touch()
        for client in clients:
            replies = read_all(client)
            assert replies.count(b"HTTP/1.1 200 OK") == count
            assert replies.count(b"hello") == count - 1
            assert replies.endswith(name.encode())


def test_a_signal_ends_it_after_what_was_sent_ahead(echo: Path, tmp_path: Path) -> None:
    """What was read is answered, and the last reply says that it is one."""
    options = ["--quiet", "--grace-s", str(PATIENCE_S)]
    with (
        serving("--model", str(echo), *options, limits=PATIENT, SIGNS=str(tmp_path)) as server,
        connected(server) as clients,
    ):
        clients[0].sendall(request(b"wait") + PING + request(b"large100000") + request(b"hello") + PING[:9])
        wait_until((tmp_path / "wait-begun").exists, server.process)
        server.process.send_signal(signal.SIGTERM)
        wait_until(server.refuses, server.process)
        (tmp_path / "wait-end").touch()
        replies = read_all(clients[0])
        assert (server.end(), server.process.returncode) == ("", 0)
    assert replies.count(b"HTTP/1.1 200 OK") == 4
    assert replies.count(b"Connection: close") == 1
    assert replies.partition(b"Connection: close")[2].endswith(b"hello")


def test_connections_that_were_made_are_accepted_before_it_ends() -> None:
    begun: list[asyncio.BaseTransport] = []

    class Begun(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            begun.append(transport)

    async def drain() -> None:
        accepting = await asyncio.get_running_loop().create_server(Begun, "127.0.0.1", 0)
        with socket.create_connection(accepting.sockets[0].getsockname()):
            idle = types.SimpleNamespace(end=lambda: None, under_way=0, connections=())
            await http._drain(idle, accepting, time.monotonic() + 60, 0.0)
            assert len(begun) == 1
            begun[0].close()

    asyncio.run(drain())


@pytest.mark.parametrize(
    "sent", [b"", PING[:9], request(b"x", 10), request(b"x" * 100_000, 1_000_000), PING + PING[:9]]
)
def test_who_stops_in_the_middle_is_let_go(sent: bytes, patient: Server) -> None:
    with connected(patient) as (client,):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b" 200 ") == sent.count(PING)
        assert patient.post(b"hello", "x").body == b"hello"


def test_a_large_reply_arrives_whole(patient: Server) -> None:
    with contextlib.closing(patient.connect()) as connection:
        for size in (0, 1, 64 << 10, (64 << 10) + 1, 20_000_000, 5):
            connection.request("POST", "/invocations", b"large%d" % size, {"Content-Type": "x"})
            assert receive(connection) == (200, b"x" * size, "application/x-large")


def test_small_requests_do_not_wait_for_a_reader(echo: Path) -> None:
    size = 18_000_000
    with (
        serving("--model", str(echo), limits={**PATIENT, "reply_bytes": 16 << 20}) as server,
        connected(server) as (client,),
    ):
        client.sendall(request(b"large%d" % size))
        client.recv(1, socket.MSG_PEEK)
        for _ in range(3):
            assert server.post(b"hello", "x").body == b"hello"
        received = 0
        while received < size:
            received += len(client.recv(1 << 20))
        assert server.post(b"x" * 100_000, "x").body == b"x" * 100_000


def test_what_is_not_there_or_not_allowed_is_refused(patient: Server) -> None:
    with contextlib.closing(patient.connect()) as connection:
        for method, path, status, allowed in (
            ("GET", "/nowhere", 404, None),
            ("GET", "/invocations", 405, "POST"),
            ("POST", "/ping", 405, "GET,HEAD"),
            ("HEAD", "/ping", 200, None),
        ):
            connection.request(method, path, b"hello" if method == "POST" else None)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.getheader("Allow")) == (status, allowed)
        connection.request("POST", "/invocations", b"hello", {"Expect": "nothing"})
        assert receive(connection).status == 417


def test_a_reply_that_is_not_read_is_given_up(echo: Path) -> None:
    size = 50_000_000
    limits = {**PATIENT, "grace_s": 0.5, "reply_bytes": 1 << 20}
    with serving("--model", str(echo), limits=limits) as server, connected(server) as (client,):
        client.sendall(request(b"large%d" % size))
        client.recv(1, socket.MSG_PEEK)
        # While it is held no other request is begun; its end is that of the wait.
        assert server.post(b"hello", "x").body == b"hello"
        assert len(read_all(client)) < size
