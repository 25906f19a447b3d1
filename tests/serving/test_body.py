"""Bodies that arrive slowly, together, or in too many bytes; the server is a process of its own."""

from __future__ import annotations

import select
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.serving.test_connections import PATIENT, connected, echo, request
from tests.serving.test_http import LIMIT, serving

__all__ = ["echo"]  # a fixture


def test_slow_senders_do_not_hold_up_others(echo: Path) -> None:
    """Room is taken by bytes, not by what is announced: 60 of these announce more than there is room for."""
    chunked = b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving("--model", str(echo), limits=PATIENT) as server, connected(server, 61) as (*slow, long):
        for number, client in enumerate(slow):
            client.sendall(chunked if number % 4 == 0 else request(b"xx", LIMIT))
        long.sendall(request(b"x" * 1_000_000, LIMIT))
        for body in (b"hello", b"x" * LIMIT):
            assert server.post(body, "x").body == body
        # None of them has had an end meanwhile.
        assert select.select([*slow, long], [], [], 0)[0] == []


def test_a_body_that_stops_arriving_is_refused(echo: Path) -> None:
    with (
        serving("--model", str(echo), limits={**PATIENT, "grace_s": 0.3}) as server,
        connected(server, 3) as (small, large, chunked),
    ):
        small.sendall(request(b"xx", 100))
        large.sendall(request(b"x" * 200_000, LIMIT))
        chunked.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        for client in (small, large, chunked):
            reply = client.recv(1 << 16)
            assert reply.startswith(b"HTTP/1.1 408")
            assert b"expected 65,536 bytes a second within 0.3 s" in reply
        assert server.post(b"hello", "x").body == b"hello"


def test_bodies_that_have_no_room_together_are_all_answered(echo: Path) -> None:
    bodies = [bytes([number]) * 1_000_000 for number in range(12)]
    with (
        serving("--model", str(echo), limits={**PATIENT, "body_bytes": 2_000_000}) as server,
        connected(server, len(bodies)) as clients,
    ):
        # Each has a part of the room first.
        for client, body in zip(clients, bodies):
            client.sendall(request(body[:200_000], len(body)))

        def finish(client: socket.socket, body: bytes) -> bytes:
            client.sendall(body[200_000:])
            received = b""
            while not received.endswith(body):
                piece = client.recv(1 << 20)
                assert piece, received[:500]
                received += piece
            return received

        with ThreadPoolExecutor(len(bodies)) as threads:
            for received in threads.map(finish, clients, bodies):
                assert received.startswith(b"HTTP/1.1 200")


def test_a_body_without_room_is_refused_in_the_end(echo: Path, tmp_path: Path) -> None:
    limits = {**PATIENT, "body_bytes": 100_000, "room_s": 0.3}
    with serving("--model", str(echo), limits=limits, SIGNS=str(tmp_path)) as server, connected(server) as (client,):
        client.sendall(request(b"hold".ljust(LIMIT)))
        wait_until((tmp_path / "hold-begun").exists, server.process)
        large = server.post(b"x" * LIMIT, "x")
        assert (large.status, large.body.startswith(b"the server is full: ")) == (503, True)


@pytest.mark.parametrize("sent", [b"5\r\nabcdeX", b"zz\r\n"])
@pytest.mark.parametrize("begun", [False, True], ids=["at once", "while the body is read"])
def test_a_malformed_body_is_refused(echo: Path, sent: bytes, begun: bool) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving("--model", str(echo), limits=PATIENT) as server, connected(server) as (client,):
        if begun:
            client.sendall(head)
            assert client.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"2\r\nab\r\n")
            client.sendall(sent)
        else:
            client.sendall(head.replace(b"Expect: 100-continue\r\n", b"") + sent)
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
        assert b" 400 " in received[:20]
        assert received.count(b"HTTP/1.") == 1
