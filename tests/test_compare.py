"""benchmarks/compare.py shows what a change did, from two files of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.compare import main

BEFORE = {"parse": (0.9e-3, 1e-3, 1.1e-3), "format": (1.9e-6, 2e-6, 2.1e-6), "run": (0.99, 1.0, 1.02)}
AFTER = {"parse": (0.92e-3, 1.02e-3, 1.2e-3), "format": (0.9e-6, 1e-6, 1.1e-6), "run": (1.2, 1.25, 1.3)}


def write(path: Path, times: dict[str, tuple[float, float, float]]) -> str:
    benchmarks = [
        {"fullname": f"bench_x.py::{name}", "stats": dict(zip(("q1", "median", "q3"), quartiles))}
        for name, quartiles in times.items()
    ]
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return str(path)


def test_the_worst_comes_first_and_changes_within_the_spread_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(tmp_path / "a.json", BEFORE), write(tmp_path / "b.json", AFTER)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "A     B        B/A    spread of A, B  change             benchmark",
        "1 s   1.25 s   1.250  ±1.5%, ±4.0%    worse              bench_x.py::run",
        "1 ms  1.02 ms  1.020  ±10.0%, ±13.7%  within the spread  bench_x.py::parse",
        "2 µs  1 µs     0.500  ±5.0%, ±10.0%   better             bench_x.py::format",
    ]


@pytest.mark.parametrize(
    ("names", "limit", "code"),
    [
        (["parse", "format", "run"], "1.03", 1),
        (["parse", "format", "run"], "1.26", 0),
        (["parse", "format"], "1.03", 0),
        (["parse", "format"], "1.01", 1),
        ([], "1.03", 1),
    ],
)
def test_a_ratio_above_the_limit_is_an_exit_code(names: list[str], limit: str, code: int, tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{number}.json", {name: times[name] for name in names})
        for number, times in enumerate((BEFORE, AFTER))
    ]
    assert main([*paths, "--fail-above", limit]) == code


def test_a_benchmark_in_one_file_alone_is_named_and_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write(tmp_path / "a.json", BEFORE), write(tmp_path / "b.json", {"parse": BEFORE["parse"]})]
    assert main(paths) == 0
    assert f"only in {paths[0]}: bench_x.py::run" in capsys.readouterr().err
    assert main([*paths, "--fail-above", "2"]) == 1
