"""What several benchmarks share: how a result is printed and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

import benchmarks.environment  # noqa: F401 (kept before any other import can set variables)
from benchmarks.figures import Figure, conditions, of_benchmark, show, write_figures

FIGURES = pytest.StashKey[list[Figure]]()


class Keep(Protocol):
    def __call__(self, name: str, title: str, values: float | Sequence[float], unit: str, *, better: str = ...) -> None:
        """Prints a figure and keeps it in the file of the run.

        Args:
            name: unique in its file.
            title: in words.
            values: of all turns, or of the only one.
            unit: see :class:`benchmarks.figures.Figure`.
            better: ``higher`` or ``lower``.
        """
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, metavar="FILE", help="write all figures of the run to this JSON file")
    parser.addoption(
        "--keep-others", action="store_true", help="keep what FILE has of files of benchmarks that are not run now"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    if config.getoption("--figures"):
        # Before anything is measured: the load is that of others.
        config.stash[CONDITIONS] = conditions()


CONDITIONS = pytest.StashKey[dict[str, object]]()


@pytest.fixture
def keep(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Keep:
    def keep_it(name: str, title: str, values: float | Sequence[float], unit: str, *, better: str = "higher") -> None:
        turns = [float(value) for value in ([values] if isinstance(values, (int, float)) else values)]
        figure = Figure(f"{request.path.name}::{name}", title, unit, better, turns)
        request.config.stash[FIGURES].append(figure)
        with capsys.disabled():
            print(f"\n{title}: {show(figure)}", end="", flush=True)

    return keep_it


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--figures")
    if path is None:
        return
    timed = getattr(session.config, "_benchmarksession", None)
    entries = [entry for entry in timed.benchmarks if entry.stats.data] if timed is not None else []
    figures = [*session.config.stash[FIGURES], *map(of_benchmark, entries)]
    keep_others = session.config.getoption("--keep-others")
    write_figures(path, figures, session.config.stash[CONDITIONS], keep_others=keep_others)
