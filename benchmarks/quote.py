"""Puts the figures of one run into documents: `python -m benchmarks.quote [--check] FIGURES.json README.md docs/*.md`.

A document marks where a figure stands: `<!--figure NAME FORMAT-->305<!--/-->`, with a figure's name (see
benchmarks/figures.py) and a format of Python such as `,.0f`; the median stands there. `NAME` may be `A / B`, the ratio of two
medians, or `cpu`, `date`, `commit` or `cores`, of one file of benchmarks as `bench_x.py::date`. With --check nothing is
written, and documents that say something else are named.

`<!--figures bench_x.py-->...<!--/-->` is a table of all that a file of benchmarks measured, with its date, commit and load;
where the run has nothing of that file, it says so.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, conditions_of, read_figures, show

MARK = re.compile(r"<!--figure (?P<name>[^>]+?)(?: (?P<format>[,.0-9]+[a-z%]))?-->(?P<text>.*?)<!--/-->", re.DOTALL)

TABLE = re.compile(r"(?P<mark><!--figures (?P<section>[\w.]+)-->).*?(?P<end><!--/-->)", re.DOTALL)


def table(section: str, figures: Sequence[Figure], run: dict[str, Any]) -> str:
    """All figures of a section, with the conditions that matter most."""
    members = [figure for figure in figures if figure.section == section]
    if not members:
        return f"The kept run has no figures of `benchmarks/{section}`."
    measured = conditions_of(run, section)
    lines = [
        f"Measured on {measured['date']} at commit {measured['commit']} on {measured['cores']} cores of {measured['cpu']}, "
        f"with a load of {measured['load']:.1f} before the start;",
        "medians, and the lowest and highest turn.",
        "",
        "| what | |",
        "| --- | --- |",
        *(f"| {figure.title} | {show(figure)} |" for figure in members),
    ]
    return "\n".join(lines)


def quote(text: str, figures: Sequence[Figure], run: dict[str, Any]) -> str:
    """The text of a document with the run's figures. Raises KeyError for one that the run has not."""
    medians = {figure.name: figure.median for figure in figures}

    def replace(match: re.Match[str]) -> str:
        name, form = match["name"], match["format"]
        if form is None:
            section, _, condition = name.rpartition("::")
            value = str(conditions_of(run, section)[condition])
        else:
            over, _, under = name.partition(" / ")
            value = format(medians[over] / (medians[under] if under else 1), form)
        start, stop = match.start("text") - match.start(), match.end("text") - match.start()
        return match[0][:start] + value + match[0][stop:]

    text = TABLE.sub(lambda match: f"{match['mark']}\n{table(match['section'], figures, run)}\n{match['end']}", text)
    return MARK.sub(replace, text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quote", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a document differs")
    parser.add_argument("figures", type=Path, metavar="FIGURES.json")
    parser.add_argument("documents", type=Path, nargs="+", metavar="DOCUMENT")
    arguments = parser.parse_args(argv)
    figures, run = read_figures(arguments.figures)
    differing = 0
    for path in arguments.documents:
        before = path.read_text(encoding="utf-8")
        try:
            after = quote(before, figures, run)
        except KeyError as error:
            print(f"{path}: the run has no figure {error}", file=sys.stderr)
            return 1
        if after != before:
            differing += 1
            print(path)
            if not arguments.check:
                path.write_text(after, encoding="utf-8")
    return int(arguments.check and differing > 0)


if __name__ == "__main__":
    sys.exit(main())
