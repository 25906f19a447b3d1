"""What a change did: `python -m benchmarks.compare A.json B.json`, two files of `pytest benchmarks --figures FILE`.

A line for each figure, the worst first: the median of A and of B, how many times worse B is (above 1: slower, or larger, or
fewer a second), the spread of the two (half the range of the middle half, in percent of the median), and whether the change is
beyond it: it is where the middle halves do not overlap. Files of `--benchmark-json` can be compared, too. Run both on one
machine, one after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Times(NamedTuple):
    """Quartiles of what was measured, and whether more is better; without a unit they are seconds."""

    q1: float
    median: float
    q3: float
    unit: str = "s"
    more_is_better: bool = False

    @property
    def spread(self) -> float:
        return (self.q3 - self.q1) / 2 / self.median


class Change(NamedTuple):
    """One benchmark before and after."""

    name: str
    before: Times
    after: Times

    @property
    def ratio(self) -> float:
        ratio = self.after.median / self.before.median
        return 1 / ratio if self.before.more_is_better else ratio

    @property
    def verdict(self) -> str:
        if self.after.q1 <= self.before.q3 and self.after.q3 >= self.before.q1:
            return "within the spread"
        return "worse" if self.ratio > 1 else "better"


def read_times(path: Path) -> dict[str, Times]:
    """The times of each benchmark in a file, by full name."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    return {
        each["fullname"]: Times(
            *(each["stats"][name] for name in ("q1", "median", "q3")),
            each.get("unit", "s"),
            each.get("better", "lower") == "higher",
        )
        for each in benchmarks
    }


def compare(before: dict[str, Times], after: dict[str, Times]) -> list[Change]:
    """The benchmarks that both have, the one that became slowest first."""
    changes = [Change(name, before[name], after[name]) for name in before if name in after]
    return sorted(changes, key=lambda change: change.ratio, reverse=True)


def show_median(times: Times) -> str:
    if times.unit != "s":
        return f"{times.median:.4g} {times.unit}"
    seconds = times.median
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"


def table(changes: list[Change]) -> str:
    rows: list[tuple[str, ...]] = [("A", "B", "B/A", "spread of A, B", "change", "benchmark")]
    for change in changes:
        medians = [show_median(times) for times in (change.before, change.after)]
        spreads = ", ".join(f"±{times.spread:.1%}" for times in (change.before, change.after))
        rows.append((*medians, f"{change.ratio:.3f}", spreads, change.verdict, change.name))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument(
        "--fail-above",
        type=float,
        metavar="RATIO",
        help="exit with 1 where a ratio is larger, such as 1.03, or where a benchmark is in one of the files alone",
    )
    arguments = parser.parse_args(argv)
    before, after = read_times(arguments.before), read_times(arguments.after)
    changes = compare(before, after)
    print(table(changes))
    alone = sorted(before.keys() ^ after.keys())
    for name in alone:
        print(f"only in {arguments.before if name in before else arguments.after}: {name}", file=sys.stderr)
    if arguments.fail_above is None:
        return 0
    return int(bool(alone) or not changes or changes[0].ratio > arguments.fail_above)


if __name__ == "__main__":
    sys.exit(main())
