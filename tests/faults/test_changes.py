"""Inputs that other programs change while a run reads them: a result is that of one version, whole, or there is none.

The file is changed before a chosen call that the run makes on the folder of inputs, so that the same happens whenever the tests
are run.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from fastinfer.errors import InputError
from fastinfer.options import Options
from tests.faults import server
from tests.faults.changes import CHANGES, ChangeAt, put_a_pipe, remove
from tests.faults.harness import LIMITS, PLAIN, SETTINGS, Server, read_results, wait_for_stamps, write_tree
from tests.faults.server import Outcome, Run

SMALL, LARGE = "a/2.csv", "b/large.csv"
# How many calls are tried of those that a run makes.
PLACES = 4


def expected(carrier: Server, run: Run, folder: Path, content: bytes) -> bytes:
    """The result of a file with such content."""
    shutil.rmtree(folder, ignore_errors=True)
    write_tree(folder, {"in/x.csv": content})
    carrier.finish(run, source=folder / "in", output=folder / "out", options=Options(workers=1))
    return (folder / "out" / "x.csv.out").read_bytes()


def calls_below(carrier: Server, run: Run) -> int:
    outcome = carrier.carry_out(run, below=run.source, action=server.EIO_ONCE)
    assert outcome.error is None
    shutil.rmtree(run.output)
    return outcome.calls


def check(
    carrier: Server, run: Run, name: str, change: Callable[[Path], None], outcome: Outcome, whole: list[bytes]
) -> Iterator[str]:
    """What is wrong after a run during which a file was changed, and after the next run.

    Args:
        carrier: carries out the next run.
        run: the run.
        name: of the file.
        change: what was done to it.
        outcome: of the run.
        whole: the results of the file's versions; the last one is that of the file as it is now.
    """
    source, result = run.source / name, run.output / f"{name}.out"
    if outcome.status != 0:
        yield f"its process ended with status {outcome.status}"
    if outcome.error is not None and not (isinstance(outcome.error, InputError) and outcome.error.path == str(source)):
        yield f"it raised {outcome.error!r}\n{outcome.trace}"
    if result.exists() and result.read_bytes() not in whole:
        yield f"the result is of no version of the file: {result.read_bytes()!r}"
    if change in (remove, put_a_pipe):
        return
    after = carrier.carry_out(run, action=server.NONE, below=None, call_back=None)
    if after.error is not None:
        yield f"the next run raised {after.error!r}\n{after.trace}"
    elif result.read_bytes() != whole[-1]:
        yield f"after the next run the result is not that of the file as it is: {result.read_bytes()!r}"
    elif hidden := [path for path in read_results(run.output) if path.startswith(".")]:
        yield f"the next run left {hidden}"


@pytest.mark.parametrize(
    "options", [Options(workers=1), Options(workers=2, on_error="quarantine")], ids=["stop", "quarantine"]
)
@pytest.mark.parametrize("name", [SMALL, LARGE])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_result_is_of_one_version_of_its_input(
    change: Callable[[Path], None],
    name: str,
    options: Options,
    carrier: Server,
    models: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    run = Run(models[0], tmp_path / "in", tmp_path / "out", options, LIMITS, SETTINGS)
    write_tree(run.source, PLAIN)
    calls = calls_below(carrier, run)
    whole = [expected(carrier, run, tmp_path / "one", PLAIN[name])]
    change(run.source / name)
    if (run.source / name).is_file():
        whole.append(expected(carrier, run, tmp_path / "one", (run.source / name).read_bytes()))
    problems = []
    for place in range(PLACES):
        at = 1 + place * (calls - 1) // (PLACES - 1)
        for folder in (run.source, run.output):
            shutil.rmtree(folder, ignore_errors=True)
        write_tree(run.source, PLAIN)
        wait_for_stamps(tmp_path)
        struck = ChangeAt(at, change, run.source / name)
        outcome = carrier.carry_out(run, below=run.source, action=server.CALL_BACK, at=at, call_back=struck)
        found = check(carrier, run, name, change, outcome, whole)
        problems += [f"before call {at} of {calls}, {outcome.struck}: {problem}" for problem in found]
    assert problems == []


def test_reads_that_give_a_part_are_not_the_end_of_a_file(
    carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run(models[0], write_tree(tmp_path / "in", PLAIN), tmp_path / "out", Options(workers=1), LIMITS, SETTINGS)
    carrier.finish(run)
    whole, problems = read_results(run.output), []
    for at in itertools.count(1):
        shutil.rmtree(run.output)
        outcome = carrier.carry_out(run, below=run.source, action=server.HALF, at=at)
        if not outcome.struck:
            break
        if outcome.error is not None:
            problems.append(f"call {at}, {outcome.struck}: {outcome.error}")
        elif read_results(run.output) != whole:
            problems.append(f"call {at}, {outcome.struck}: other results")
    assert problems == []


@pytest.mark.parametrize(
    "options", [Options(workers=1), Options(workers=1, on_error="quarantine")], ids=["stop", "quarantine"]
)
def test_an_input_that_cannot_be_read_is_named(
    options: Options, carrier: Server, models: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run(models[0], write_tree(tmp_path / "in", PLAIN), tmp_path / "out", options, LIMITS, SETTINGS)
    carrier.finish(run)
    whole, problems = read_results(run.output), []
    for at in itertools.count(1):
        shutil.rmtree(run.output)
        outcome = carrier.carry_out(run, below=run.source, action=server.EIO_ONCE, at=at)
        if not outcome.struck:
            break
        place = f"call {at}, {outcome.struck}"
        if outcome.status != 0:
            problems.append(f"{place}: its process ended with status {outcome.status}")
        if outcome.error is not None and not (
            isinstance(outcome.error, InputError) and str(outcome.error.path).startswith(str(run.source))
        ):
            problems.append(f"{place}: {outcome.error!r}\n{outcome.trace}")
        found = read_results(run.output) if run.output.exists() else {}
        if any(found[key] != whole[key] for key in found if key.endswith(".out") and not key.startswith(".")):
            problems.append(f"{place}: other results")
        if outcome.error is None and options.on_error == "stop" and found != whole:
            problems.append(f"{place}: it succeeded, but results are missing")
        carrier.finish(run)
        if read_results(run.output) != whole:
            problems.append(f"{place}: other results after the next run")
    assert problems == []
