"""A clock that is set while a run goes on, or between two runs, changes nothing.

The process reads another time of day; a file system's stamps do not move with it. What a clock does to those that was set back
between two runs is shown by stamps that seem to lie ahead.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path

import pytest

from fastinfer.options import Options
from tests.faults import server
from tests.faults.changes import ClockJumps, far
from tests.faults.harness import BAD, LIMITS, SETTINGS, Server, describe, read_results, wait_for_stamps, write_tree
from tests.faults.server import Run

ROUNDS = 17  # of three runs each


@pytest.fixture
def run(models: tuple[Path, Path], tmp_path: Path) -> Run:
    options = Options(workers=2, on_error="quarantine")
    return Run(models[0], write_tree(tmp_path / "in", BAD), tmp_path / "out", options, LIMITS, SETTINGS)


def test_clocks_that_jump_change_nothing(run: Run, carrier: Server, models: tuple[Path, Path]) -> None:
    carrier.finish(run)
    whole, problems = read_results(run.output), []
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        shutil.rmtree(run.output)
        # Another model's run, one that replaces it and is killed, and one that continues that: each at another time.
        carrier.finish(run, model=models[1], clock_s=far(rng))
        replacing = dataclasses.replace(run.options, overwrite=True)
        jumps = ClockJumps(seed, killed_at=rng.randint(5, 120))
        carrier.carry_out(run, options=replacing, clock_s=far(rng), action=server.CALL_BACK, at=1, call_back=jumps)
        outcome = carrier.carry_out(run, clock_s=far(rng), action=server.NONE)
        if outcome.is_other_run:  # it was killed before it had begun
            outcome = carrier.carry_out(run, options=replacing, clock_s=far(rng), action=server.NONE)
        if outcome.error is not None:
            problems.append(f"seed {seed}: {outcome.error!r}\n{outcome.trace}")
        elif difference := describe(read_results(run.output), whole):
            problems.append(f"seed {seed}: {difference}")
    assert problems == []


def test_a_clock_that_was_set_back_does_not_make_a_run_take_anothers_results(
    run: Run, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    carrier.finish(run)
    whole, problems = read_results(run.output), []
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        shutil.rmtree(run.output)
        carrier.finish(run, model=models[1])
        wait_for_stamps(tmp_path)
        ahead = (server.now_ns(tmp_path), rng.choice([1, 3600, 10**7]))
        replacing = dataclasses.replace(run.options, overwrite=True)
        wait_for_stamps(tmp_path)
        at = rng.randint(1, 70)
        carrier.carry_out(run, options=replacing, ahead=ahead, action=server.KILL_BEFORE, at=at)
        outcome = carrier.carry_out(run, ahead=ahead, action=server.NONE)
        if outcome.is_other_run:
            outcome = carrier.carry_out(run, options=replacing, ahead=ahead, action=server.NONE)
        if outcome.error is not None:
            problems.append(f"seed {seed}: {outcome.error!r}\n{outcome.trace}")
        elif difference := describe(read_results(run.output), whole):
            problems.append(f"seed {seed}: {difference}")
    assert problems == []
