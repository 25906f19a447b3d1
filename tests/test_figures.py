"""Figures of the benchmarks are kept, compared, shown and quoted; every figure in the documents is of the kept run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.figures import Figure, conditions, conditions_of, read_figures, show, write_figures
from benchmarks.quote import main as quote
from benchmarks.report import main as report

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
RATE = Figure("bench_x.py::run/rate", "a run <of> rows", "images/s", "higher", [1000.0, 2000.0, 4000.0])
OVER = Figure("bench_x.py::run/over", "a run / a copy", "times", "lower", [1.25])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "figures.json"
    write_figures(path, [RATE, OVER], conditions())
    return path


def test_figures_are_read_as_they_were_written_with_their_conditions(kept: Path) -> None:
    figures, run = read_figures(kept)
    assert figures == [RATE, OVER]
    assert {"cpu", "cores", "versions", "commit", "date", "load"} <= set(run)
    assert run["versions"]["numpy"]
    stats = json.loads(kept.read_text())["benchmarks"][0]["stats"]
    assert stats == {"q1": 1500, "median": 2000, "q3": 3000, "min": 1000, "max": 4000}


def test_medians_are_shown_with_the_range_of_the_turns() -> None:
    assert show(RATE) == "2,000 (1,000 to 4,000) images/s"
    assert show(OVER) == "1.25 times"
    assert show(Figure("x", "x", "s", "lower", [0.002, 0.0025, 0.004])) == "2.50 (2.00 to 4.00) ms"


def test_the_report_has_every_figure_and_the_conditions(kept: Path, tmp_path: Path) -> None:
    assert report([str(kept), str(tmp_path / "out")]) == 0
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| a run <of> rows | 2,000 (1,000 to 4,000) images/s | higher |" in markdown
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a run &lt;of&gt; rows" in page
    assert page.count("<svg") == 2


def test_a_part_that_is_measured_again_keeps_the_others_with_their_conditions(kept: Path, tmp_path: Path) -> None:
    before = read_figures(kept)[1]
    other = Figure("bench_z.py::it", "another", "s", "lower", [1.0])
    write_figures(kept, [other], {**conditions(), "date": "later"}, keep_others=True)
    figures, run = read_figures(kept)
    assert figures == [RATE, OVER, other]
    assert conditions_of(run, "bench_x.py")["date"] == before["date"]
    assert conditions_of(run, "bench_z.py")["date"] == run["date"] == "later"
    again = RATE._replace(values=[5.0])
    write_figures(kept, [again], {**conditions(), "date": "last"}, keep_others=True)
    assert read_figures(kept)[0] == [other, again]
    document = tmp_path / "page.md"
    document.write_text("<!--figure bench_z.py::date-->x<!--/--> <!--figure date-->x<!--/-->")
    assert quote([str(kept), str(document)]) == 0
    assert document.read_text() == "<!--figure bench_z.py::date-->later<!--/--> <!--figure date-->last<!--/-->"
    assert report([str(kept), str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert page.index("- last, commit") < page.index("## bench_z.py") < page.index("- later, commit")
    write_figures(kept, [again], conditions())
    assert read_figures(kept)[0] == [again]


def test_documents_quote_medians_and_ratios_of_the_run(kept: Path, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    ratio = "bench_x.py::run/rate / bench_x.py::run/over"
    text = f"x <!--figure bench_x.py::run/rate ,.0f-->{{}}<!--/--> y <!--figure {ratio} .1f-->{{}}<!--/-->"
    document.write_text(text.format("7", ""))
    assert quote(["--check", str(kept), str(document)]) == 1
    assert document.read_text() == text.format("7", "")
    assert quote([str(kept), str(document)]) == 0
    assert document.read_text() == text.format("2,000", "1600.0")
    assert quote(["--check", str(kept), str(document)]) == 0


def test_documents_have_tables_of_what_a_file_of_benchmarks_measured(kept: Path, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("a <!--figures bench_x.py-->old<!--/--> b <!--figures bench_y.py--><!--/--> c")
    assert quote([str(kept), str(document)]) == 0
    text = document.read_text()
    assert "| a run / a copy | 1.25 times |\n<!--/--> b " in text
    assert "at commit" in text
    assert "<!--figures bench_y.py-->\nThe kept run has no figures of `benchmarks/bench_y.py`.\n<!--/--> c" in text
    assert quote(["--check", str(kept), str(document)]) == 0


def test_a_figure_that_the_run_has_not_is_named(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!--figure bench_y.py::other .0f-->1<!--/-->")
    assert quote([str(kept), str(document)]) == 1
    assert "bench_y.py::other" in capsys.readouterr().err


def test_the_documents_quote_the_run_that_is_kept() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any("<!--figure" in page.read_text() for page in pages)
    assert quote(["--check", str(ROOT / "benchmarks" / "figures.json"), *map(str, pages)]) == 0


SPEED = re.compile(
    r"(?<![\w.])\d[\d,.]*(?: to \d[\d,.]*)?\s?"
    "(?:\u00d7(?! \\d)|"
    r"x(?![\w]| \d)|times (?:as|that|the|faster)|µs|ms\b(?! of| added)"
    r"|(?:images|records|rows|requests|files|[GMk]i?B)(?:/s| a second))"
)
# What stands in the documents without a mark, and why.
UNMARKED = {
    "1,000 inputs, 1,000 records, 0 rejected": "what a command printed",
    "trained 10 epochs of 60,000 images in": "what a command printed",
    "that has changed within the last 20 ms is read": "a setting",
}
# Sections with figures that were found once, for a decision; they say how. What `make bench` measures is on the page of speed.
FINDINGS = {
    "performance.md": (
        "A lone row",
        "One large image, many cores",
        "Memory of large models",
    ),
    "onnx.md": ("Speed",),
}


def test_no_figure_of_speed_is_typed_by_hand() -> None:
    typed = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = re.sub(
            r"<!--figures? .*?<!--/-->", lambda mark: "\n" * mark[0].count("\n"), path.read_text(), flags=re.DOTALL
        )
        section = ""
        for number, line in enumerate(text.splitlines(), 1):
            section = line[3:] if line.startswith("## ") else section
            if section in FINDINGS.get(path.name, ()) or any(words in line for words in UNMARKED):
                continue
            if SPEED.search(line):
                typed.append(f"{path.name}:{number}: {line}")
    assert typed == []


@pytest.mark.parametrize(
    "line",
    [
        "31 times that of boto3",
        "0.74 µs/image",
        "80x, 1,140x",
        "| 1.15 \u00d7 |",
        "2,111 images/s",
        "2.4 times as fast",
    ],
)
def test_figures_of_speed_are_found(line: str) -> None:
    assert SPEED.search(line)


@pytest.mark.parametrize(
    "line", ["a 28 x 28 grid", "28 \u00d7 28 grid", "tried six times", "3 times", "224 x 224", "x86-64", "64 KiB"]
)
def test_other_figures_are_not_taken_for_speed(line: str) -> None:
    assert SPEED.search(line) is None


def test_a_run_of_the_benchmarks_keeps_what_it_measured(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        bench_y="""
        def bench_it(keep):
            keep("it", "so many", [2, 4], "rows/s")
        """
    )
    pytester.makeini("[pytest]\npython_files = bench_*.py\npython_functions = bench_*\npythonpath = " + str(ROOT))
    pytester.makeconftest("from benchmarks.conftest import *")
    done = pytester.runpytest_subprocess("--figures", "figures.json", "-p", "no:benchmark")
    assert done.ret == 0
    assert "so many: 3.00 (2.00 to 4.00) rows/s" in done.stdout.str()
    figures, _ = read_figures(pytester.path / "figures.json")
    assert figures == [Figure("bench_y.py::it", "so many", "rows/s", "higher", [2, 4])]
