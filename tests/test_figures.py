"""Figures of the benchmarks are kept, compared, shown and quoted; every figure in the documents is of the kept run."""

from __future__ import annotations

import json
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


def test_a_figure_that_the_run_has_not_is_named(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!--figure bench_y.py::other .0f-->1<!--/-->")
    assert quote([str(kept), str(document)]) == 1
    assert "bench_y.py::other" in capsys.readouterr().err


def test_the_documents_quote_the_run_that_is_kept() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any("<!--figure" in page.read_text() for page in pages)
    assert quote(["--check", str(ROOT / "benchmarks" / "figures.json"), *map(str, pages)]) == 0


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
