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
        connection.hold()  # its time stands still while it waits for the server
        assert connection.deadline == math.inf
        loop.now = 200.0
        connection.go_on()
        assert (connection.phase, connection.deadline) == (Phase.BODY, 205.0)
        connection.look(205.0)
        assert late == []
        connection.look(205.1)
        connection.look(300.0)
        assert late == [True]  # once
    finally:
        loop.close()
