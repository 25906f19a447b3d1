"""The figures of one run of the benchmarks, as JSON: written by benchmarks/conftest.py, read by compare, report and quote.

The file holds what was measured, in pytest-benchmark's form (``benchmarks``: a list with ``fullname`` and ``stats``), and on
which machine, with which versions, from which commit and when; ``sections`` has that of each file of benchmarks, of which some
may be measured again by themselves.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastinfer import __version__, machine

ROOT = Path(__file__).resolve().parent.parent
# What is measured, and what it is compared with.
PACKAGES = (
    "mxnet",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "polars",
    "orjson",
    "multi-model-server",
    "sagemaker-mxnet-inference",
    "obstore",
    "boto3",
)


class Figure(NamedTuple):
    """What was measured, once in each turn.

    Attributes:
        name: unique in a run: ``bench_engine.py::large_file/over_parts``. Documents quote a figure by its name.
        title: in words.
        unit: ``times``, ``images/s``, ``s``, ``MiB``, …
        better: ``higher`` or ``lower``.
        values: of all turns.
    """

    name: str
    title: str
    unit: str
    better: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def section(self) -> str:
        """The file that measured it."""
        return self.name.partition("::")[0]

    def as_benchmark(self) -> dict[str, Any]:
        """An entry like those of pytest-benchmark."""
        ordered = sorted(self.values)
        quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else 3 * ordered
        return {
            "fullname": self.name,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "values": self.values,
            "stats": {
                "q1": quartiles[0],
                "median": self.median,
                "q3": quartiles[2],
                "min": ordered[0],
                "max": ordered[-1],
            },
        }


def of_benchmark(entry: Any) -> Figure:
    """A result of pytest-benchmark: its quartiles stand for the times."""
    stats = entry.stats
    name = entry.fullname.rpartition("/")[2]
    what = f"{entry.group}: {entry.name}" if entry.group else entry.name
    return Figure(name, what, "s", "lower", [stats.min, stats.q1, stats.median, stats.q3, stats.max])


def conditions() -> dict[str, Any]:
    """The machine, the versions, the commit and the time."""
    versions = {"fastinfer": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": machine.cpu_name(),
        "cpu_features": machine.cpu_features(),
        "cores": machine.cores(),
        "libc": " ".join(platform.libc_ver()),
        "load": os.getloadavg()[0],  # before a process is started
        "blas": _blas(),
        "versions": versions,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _blas() -> str | None:
    """The kind of CPU that OpenBLAS has code for, told by another process: a benchmark starts MXNet with its own settings."""
    done = subprocess.run([sys.executable, "-m", "fastinfer", "doctor", "--json"], capture_output=True, text=True)
    found: str | None = json.loads(done.stdout)["mxnet"].get("blas")
    return found


def _commit() -> str | None:
    """The commit, with a plus sign where files differ from it; None outside of a checkout."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD").strip()
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no").strip() else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def write_figures(
    path: Path, figures: Iterable[Figure], measured: dict[str, Any], *, keep_others: bool = False
) -> None:
    """Writes a run.

    Args:
        path: of the file.
        figures: what was measured.
        measured: its conditions.
        keep_others: whether what the file has of other sections stays, with its own conditions.
    """
    new = {figure.name: figure for figure in figures}
    sections = {figure.section: measured for figure in new.values()}
    if keep_others and path.exists():
        before, run = read_figures(path)
        others = {figure.name: figure for figure in before if figure.section not in sections}
        sections = {**{figure.section: conditions_of(run, figure.section) for figure in others.values()}, **sections}
        new = {**others, **new}
    content = {**measured, "sections": sections, "benchmarks": [figure.as_benchmark() for figure in new.values()]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def conditions_of(run: dict[str, Any], section: str) -> dict[str, Any]:
    """The conditions of a section of a run, as :func:`read_figures` gives it."""
    found: dict[str, Any] = run.get("sections", {}).get(section) or {k: v for k, v in run.items() if k != "sections"}
    return found


def read_figures(path: Path) -> tuple[list[Figure], dict[str, Any]]:
    """The figures of a run, and their conditions."""
    run = json.loads(path.read_text())
    names = ("fullname", "title", "unit", "better", "values")
    figures = [Figure(*(entry[name] for name in names)) for entry in run.pop("benchmarks")]
    return figures, run


def show(figure: Figure) -> str:
    """The median, the range of the turns and the unit: ``1.08 (1.05 to 1.12) times``."""
    unit, size = figure.unit, 1.0
    if unit == "s":
        units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
        unit, size = next((each for each in units if figure.median >= each[1]), units[-1])
    low, high = min(figure.values) / size, max(figure.values) / size
    spread = f" ({show_number(low)} to {show_number(high)})" if low < high else ""
    return f"{show_number(figure.median / size)}{spread} {unit}"


def show_number(value: float) -> str:
    """Three or four digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:.{2 if abs(value) >= 1 else 3}f}"


def group_by_section(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """The figures of each file, in the order in which they were measured."""
    sections: dict[str, list[Figure]] = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(figure)
    return sections
