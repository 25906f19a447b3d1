"""How many connections there may be, and what a deadline follows from."""

from __future__ import annotations

import asyncio
import math
import resource
from typing import Any

import pytest

from fastinfer.serving.connections import Connection, Connections, Phase
from fastinfer.serving.limits import CONNECTIONS, ServerLimits, most_connections


@pytest.mark.parametrize(
    ("soft", "expected"), [(1024, 819), (20_000, CONNECTIONS), (resource.RLIM_INFINITY, CONNECTIONS), (1, 1)]
)
def test_connections_leave_descriptors_for_others(soft: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert most_connections() == expected


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is set."""

    now = 100.0

    def time(self) -> float:
        return self.now


class Transport(asyncio.Transport):
    """Notes whether it is read; others may resume it too."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Inner:
    """Takes what a connection hands on."""

    def connection_made(self, _: object) -> None:
        pass

    def data_received(self, _: bytes) -> None:
        pass


def test_what_arrives_early_is_held_back_also_where_reading_was_resumed() -> None:
    loop = Clock()
    try:
        inner: Any = Inner()
        connection = Connection(inner, Connections(loop, ServerLimits(10)))
        transport = Transport()
        connection.connection_made(transport)
        connection.begin()
        for _ in range(3):
            connection.buffer_updated(10)
            assert not transport.reading
            transport.resume_reading()  # as aiohttp does when it has read a body
    finally:
        loop.close()


def test_a_head_that_began_to_arrive_during_a_reply_has_the_time_of_a_head() -> None:
    loop = Clock()
    try:
        inner: Any = Inner()
        connection = Connection(inner, Connections(loop, ServerLimits(10, head_s=10.0, idle_s=75.0)))
        connection.connection_made(Transport())
        for early, expected in ((0, 175.0), (5, 110.0), (0, 175.0)):
            connection.begin()
            if early:
                connection.buffer_updated(early)
            connection.end(body_is_whole=True)
            assert connection.deadline == expected
    finally:
        loop.close()


def test_readers_are_given_up_the_oldest_first_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Clock()
    try:
        connections = Connections(loop, ServerLimits(10, grace_s=5.0))
        closed: list[Connection] = []
        monkeypatch.setattr(Connection, "close", lambda connection: closed.append(connection))
        nothing: Any = None
        readers = [Connection(nothing, connections) for _ in range(4)]
        for reader in readers:
            reader.send_large(100)
            loop.now += 2.0
        wanted = 0
        connections.start(lambda: wanted)
        connections._check()
        assert closed == []  # nobody waits
        wanted = 150
        connections._check()
        assert closed == readers[:2]
        closed.clear()
        wanted = 1000
        connections._check()
        assert closed == readers[:2]  # the others have sent for less than the grace
        connections.idle(readers[0])
        connections.remove(readers[1], nothing)
        closed.clear()
        loop.now += 10.0
        connections._check()
        assert closed == readers[2:]
    finally:
        connections.stop()
        loop.close()


def test_a_deadline_moves_with_what_arrives_and_never_further_than_the_grace() -> None:
    loop = Clock()
    try:
        limits = ServerLimits(10, grace_s=5.0, bytes_per_s=100.0, head_s=10.0, idle_s=75.0)
        nothing: Any = None
        connection = Connection(nothing, Connections(loop, limits))
        late: list[bool] = []
        connection.receive(nothing, lambda: late.append(True))
        assert (connection.phase, connection.deadline) == (Phase.BODY, 105.0)
        loop.now = 103.0
        connection.progress(100)  # a second's worth
        assert connection.deadline == 106.0
        connection.progress(100_000)  # what was fast does not excuse a stop
        assert connection.deadline == 108.0
        connection.pause_body()  # its time stands still while it waits for the server
        assert connection.deadline == math.inf
        loop.now = 200.0
        connection.resume_body()
        assert (connection.phase, connection.deadline) == (Phase.BODY, 205.0)
        connection.check_deadline(205.0)
        assert late == []
        connection.check_deadline(205.1)
        connection.check_deadline(300.0)
        assert late == [True]  # once
    finally:
        loop.close()
