"""Whichever call a run dies at, or whichever call fails: no result is cut, and the next run makes everything whole.

By default every call of every mode is struck by a kill and by an error. With ``FASTINFER_ALL_FAULTS=1`` (``make faults``) every
action strikes every call, with one worker and with several, and faults come in a row.
"""

from __future__ import annotations

import dataclasses
import os
import random
from pathlib import Path

import pytest

from tests.faults import server
from tests.faults.harness import MODES, Mode, Server, check_failed, check_resumed, strike_each

ACTIONS = {
    "kill": server.KILL_BEFORE,
    "error": server.EIO_ONCE,
    "kill-after": server.KILL_AFTER,
    "no-room-once": server.ENOSPC_ONCE,
    "no-room": server.ENOSPC_FROM,
    "torn": server.SHORT,
    "half": server.HALF,
}
QUARANTINE = {"quarantine", "changed", "overwrite", "unlabelled"}
IS_LONG = bool(os.environ.get("FASTINFER_ALL_FAULTS"))
ROUNDS = 100

all_faults = pytest.mark.skipif(not IS_LONG, reason="make faults")


def with_workers(mode: Mode, workers: int) -> Mode:
    return dataclasses.replace(mode, options=dataclasses.replace(mode.options, workers=workers))


@pytest.mark.parametrize("action", ["kill", "error"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_no_call_at_which_a_run_is_struck_loses_anything(
    mode: Mode, action: str, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = mode.make(carrier, *models, tmp_path)
    calls, problems = strike_each(carrier, scene, ACTIONS[action])
    assert problems == []
    assert calls > 30


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.name == "quarantine"], ids=lambda mode: mode.name)
@pytest.mark.parametrize(("action", "workers"), [("torn", 3), ("no-room", 1), ("half", 1)])
def test_writes_that_write_a_part_lose_nothing(
    mode: Mode, action: str, workers: int, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = with_workers(mode, workers).make(carrier, *models, tmp_path)
    calls, problems = strike_each(carrier, scene, ACTIONS[action])
    assert problems == []
    assert calls > 10


@all_faults
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_no_fault_of_any_kind_loses_anything(
    mode: Mode, action: str, workers: int, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = with_workers(mode, workers).make(carrier, *models, tmp_path)
    _, problems = strike_each(carrier, scene, ACTIONS[action], again=True)
    assert problems == []


@all_faults
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_faults_in_a_row_lose_nothing(mode: Mode, carrier: Server, models: tuple[Path, Path], tmp_path: Path) -> None:
    scene = mode.make(carrier, *models, tmp_path)
    problems = []
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        scene.set_up()
        struck: list[str] = []
        for _ in range(rng.randint(2, 5)):
            # Each continues the one before it: with the same command, which begins anew if it overwrites, or without.
            options = dataclasses.replace(
                scene.run.options,
                overwrite=scene.run.options.overwrite and (not struck or rng.random() < 0.5),
                workers=rng.choice([1, 3]),
            )
            action = rng.choice([name for name in ACTIONS if name != "half"])
            outcome = carrier.carry_out(
                scene.run, options=options, action=ACTIONS[action], at=int(rng.expovariate(1 / 30)) + 1
            )
            struck.append(f"{action} {outcome.struck}")
            if not outcome.is_other_run:
                problems += [f"seed {seed}, {struck}: {problem}" for problem in check_failed(scene, outcome)]
        found = check_resumed(carrier, scene, again=True)
        problems += [f"seed {seed}, {struck}: {problem}" for problem in found]
    assert problems == []
