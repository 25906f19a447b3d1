"""Every fault at every call by which a run touches its folder, with several workers too, and faults in a row: some hours.

``make faults`` runs it; pytest does not collect it by itself.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from tests.faults.harness import MODES, MORE_MODES, Mode, Server, check_failed, check_resumed, strike_each
from tests.faults.test_faults import ACTIONS, with_workers

ROUNDS = 100


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("mode", MODES + MORE_MODES, ids=lambda mode: mode.name)
def test_no_fault_of_any_kind_loses_anything(
    mode: Mode, action: str, workers: int, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    scene = with_workers(mode, workers).make(carrier, *models, tmp_path)
    _, problems = strike_each(carrier, scene, ACTIONS[action], again=True)
    assert problems == []


@pytest.mark.parametrize("mode", MODES + MORE_MODES, ids=lambda mode: mode.name)
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
