"""One page of a run of the benchmarks: `python -m benchmarks.report FIGURES.json FOLDER` writes report.md and report.html.

`make bench` does both. The page loads nothing: its plots are SVG.
"""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, conditions_of, group_by_section, read_figures, show, show_number

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8886; vertical-align: middle; }
svg { width: 100%; min-width: 8rem; height: 14px; display: block; }
rect { fill: #2f6feb; } line { stroke: currentColor; stroke-width: 1.5; }
td.plot { width: 32%; } .wide { overflow-x: auto; }
"""


def conditions_in_words(run: dict[str, Any]) -> list[str]:
    """A line for each condition."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return [
        f"{run['date']}, commit {run['commit'] or 'unknown'}",
        f"{run['cores']} cores of {run['cpu']} ({', '.join(run['cpu_features'])}), {run['libc']}; "
        f"load {run['load']:.2f} at the start",
        versions,
    ]


def _otherwise(run: dict[str, Any], section: str) -> list[str]:
    """What of a section's conditions is not that of the run: it was measured by itself."""
    found = conditions_in_words(conditions_of(run, section))
    return [*(f"- {line}" for line in found if line not in conditions_in_words(run)), ""]


def as_markdown(figures: Sequence[Figure], run: dict[str, Any]) -> str:
    lines = ["# Benchmarks", "", *(f"- {line}" for line in conditions_in_words(run)), ""]
    for section, members in group_by_section(figures).items():
        lines += [
            f"## {section}",
            "",
            *_otherwise(run, section),
            "| what | median (lowest to highest) | better |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {figure.title} | {show(figure)} | {figure.better} |" for figure in members]
        lines.append("")
    return "\n".join(lines)


def as_html(figures: Sequence[Figure], run: dict[str, Any]) -> str:
    parts = ["<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Benchmarks</title>"]
    parts.append("<meta name='viewport' content='width=device-width, initial-scale=1'>")
    parts.append(f"<style>{STYLE}</style></head><body><main><h1>Benchmarks</h1><ul>")
    parts += [f"<li>{html.escape(line)}</li>" for line in conditions_in_words(run)]
    parts.append("</ul>")
    for section, members in group_by_section(figures).items():
        parts.append(f"<h2>{html.escape(section)}</h2>")
        parts += [f"<p>{html.escape(line[2:])}</p>" for line in _otherwise(run, section) if line]
        parts.append("<div class='wide'><table>")
        parts.append("<tr><th scope='col'>what</th><th scope='col'>median (lowest to highest)</th>")
        parts.append("<th scope='col'>better</th><th scope='col'>beside the others of its unit</th></tr>")
        for figure in members:
            largest = max(max(other.values) for other in members if other.unit == figure.unit)
            cells = (figure.title, show(figure), figure.better)
            parts.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
            parts.append(f"<td class='plot'>{_bar(figure, largest)}</td></tr>")
        parts.append("</table></div>")
    return "".join([*parts, "</main></body></html>\n"])


def _bar(figure: Figure, largest: float) -> str:
    """The median as a bar, the range of the turns as a line."""
    scale = 100 / largest if largest > 0 else 0
    low, high = min(figure.values) * scale, max(figure.values) * scale
    return (
        f"<svg viewBox='0 0 100 14' preserveAspectRatio='none' role='img' aria-label='{show_number(figure.median)}'>"
        f"<rect x='0' y='2' width='{figure.median * scale:.2f}' height='10'/>"
        f"<line x1='{low:.2f}' x2='{high:.2f}' y1='7' y2='7'/></svg>"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figures", type=Path, metavar="FIGURES.json")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    arguments = parser.parse_args(argv)
    figures, run = read_figures(arguments.figures)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.md", as_markdown(figures, run)), ("report.html", as_html(figures, run))):
        (arguments.folder / name).write_text(text, encoding="utf-8")
        print(arguments.folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
