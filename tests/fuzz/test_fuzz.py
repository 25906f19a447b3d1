"""Each reader on its kept inputs and a fixed number of seeded changes of them; `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import pytest

from tests.fuzz.bind import Binder
from tests.fuzz.targets import CORPUS, FOUND, TARGETS, cases, corpus, found, graph_cases, params_cases, run

CASES = 120
GRAPHS = 60
SEED = 1
# What a case may hold at a time, for inputs of 64 kB at most: a member's room or a piece of one, some times.
MEMORY_BYTES = 48 << 20


@pytest.mark.filterwarnings("ignore")  # of NumPy, about what it is given
@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_gives_a_value_or_its_own_error(name: str) -> None:
    tracemalloc.start()
    try:
        kept = len(corpus(name)) + len(found(name))
        for number, content in enumerate(itertools.islice(cases(name, SEED), kept + CASES)):
            try:
                run(name, content)
            except Exception as error:
                raise AssertionError(f"case {number} of seed {SEED}: {content!r}") from error
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_a_changed_graph_never_ends_the_process_that_binds_it() -> None:
    with Binder() as binder:
        answers = [binder.run(case) for case in itertools.islice(graph_cases(SEED), GRAPHS)]
    assert any(answer == "ok" for answer in answers)
    assert any(answer.startswith("bad_model") for answer in answers)


def test_changed_parameters_never_end_the_process_that_binds_them() -> None:
    with Binder() as binder:
        answers = [binder.run(case) for case in itertools.islice(params_cases(SEED), GRAPHS)]
    assert answers[:2] == ["ok", "ok"]
    assert any(answer.startswith("bad_model") for answer in answers)


def test_the_kept_inputs_are_small_and_all_used() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    assert {path.parent.name for path in files} == {*TARGETS, "checkpoint_set", "graph_models", "run_folder"}
    assert all(path.parent.parent == CORPUS for path in files)
    assert Path(__file__).parent == CORPUS.parent
    assert sum(path.stat().st_size for path in FOUND.iterdir()) < 800_000
    assert {path.stem for path in FOUND.iterdir()} <= set(TARGETS)
