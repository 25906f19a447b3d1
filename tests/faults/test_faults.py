"""Whichever call a run dies at, or whichever call fails: no result is cut, and the next run makes everything whole.

Of the calls of every mode some are struck by a kill and others by an error here; each of them by every action, and in a row, in
all_faults.py (``make faults``).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.faults import server
from tests.faults.harness import MODES, Mode, Server, strike_each

ACTIONS = {
    "kill": server.KILL_BEFORE,
    "error": server.EIO_ONCE,
    "kill-after": server.KILL_AFTER,
    "no-room-once": server.ENOSPC_ONCE,
    "no-room": server.ENOSPC_FROM,
    "torn": server.SHORT,
    "half": server.HALF,
}


# Of so many calls that follow each other one is struck; which one differs from mode to mode.
STEP = 3


def with_workers(mode: Mode, workers: int) -> Mode:
    return dataclasses.replace(mode, options=dataclasses.replace(mode.options, workers=workers))


@pytest.mark.parametrize("action", ["kill", "error"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_no_call_at_which_a_run_is_struck_loses_anything(
    mode: Mode, action: str, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = mode.make(carrier, *models, tmp_path)
    first = 1 + (MODES.index(mode) + list(ACTIONS).index(action)) % STEP
    calls, problems = strike_each(carrier, scene, ACTIONS[action], first=first, step=STEP)
    assert problems == []
    assert calls > 20


@pytest.mark.parametrize(("action", "workers"), [("torn", 3), ("no-room", 1), ("half", 1)])
def test_writes_that_write_a_part_lose_nothing(
    action: str, workers: int, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = with_workers(MODES[0], workers).make(carrier, *models, tmp_path)
    calls, problems = strike_each(carrier, scene, ACTIONS[action])
    assert problems == []
    assert calls > 10
