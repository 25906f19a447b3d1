"""The page: its content, and what a browser makes of it (skipped by name where there is no Chromium)."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.report import page as module
from fastinfer.report.page import make_page, write_page
from tests.report.pages import content_of, report_of, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>&\"'</script><!--"


def unpacked(text: str, kind: str) -> list[Any]:
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_the_content_holds_all_counts_and_each_listed_row(tmp_path: Path) -> None:
    results = {"a.csv": [[0.9, 0.1], None, [0.2, 0.8]], "b.csv": [[0.6, 0.4]]}
    out = write_run(tmp_path, results, {"a.csv": "1,2\nx,3\n4,5\n", "b.csv": "6,7\n"})
    content = content_of(make_page(report_of(out, np.array([0.0, 1.0, 0.0, 0.0]))))
    assert content["plots"]["counts"] == [2, 1]
    assert content["plots"]["confusion"] == [[0, 0, 2], [0, 1, 1]]
    assert sum(content["plots"]["certainty"]["counts"]) == 3
    assert ["accuracy", "0.6667 (2 of 3)"] in content["facts"]
    rows = content["rows"]
    assert rows["names"] == ["a.csv", "b.csv"]
    assert unpacked(rows["name"], "<u4") == [0, 0, 0, 1]
    assert unpacked(rows["record"], "<u4") == [0, 1, 2, 0]
    assert unpacked(rows["class"], "<i4") == [0, -1, 1, 0]
    assert rows["details"]["values"] == ["1, 2", None, "4, 5", "6, 7"]
    assert rows["details"]["predicted"] == ["0: 0.9, 1: 0.1", "rejected", "1: 0.8, 0: 0.2", "0: 0.6, 1: 0.4"]


def test_numbers_are_shown_beside_their_labels_as_residuals(tmp_path: Path) -> None:
    out = write_run(tmp_path, {"a": [1.0, 2.5, -3.0]})
    content = content_of(make_page(report_of(out, np.array([1.0, 2.0, 1e300]))))
    assert content["kind"] == "numbers"
    assert [plot["name"] for plot in content["plots"]["histograms"]] == ["prediction", "prediction minus label"]
    assert sum(cell[2] for cell in content["plots"]["scatter"]["cells"]) == 3


def test_several_values_have_a_distribution_each(tmp_path: Path) -> None:
    content = content_of(make_page(report_of(write_run(tmp_path, {"a": [[1.0, 20.0], [3.0, 40.0]]}))))
    assert [(plot["low"], plot["high"]) for plot in content["plots"]["histograms"]] == [(1.0, 3.0), (20.0, 40.0)]


def test_images_are_kept_as_bytes_and_no_more_than_a_page_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [",".join(["0"] * 63 + [str(last)]) for last in (0, 128, 255)]
    out = write_run(tmp_path, {"a.csv": [[0.5, 0.5]] * 3}, {"a.csv": "\n".join(cells)})
    details = content_of(make_page(report_of(out)))["rows"]["details"]
    assert details["shape"] == [1, 8, 8]
    assert base64.b64decode(details["images"])[63::64] == bytes([0, 128, 255])
    monkeypatch.setattr(module, "MOST_INPUT_BYTES", 128)
    details = content_of(make_page(report_of(out)))["rows"]["details"]
    assert sorted(details["image"]) == [-1, 0, 1]


def test_no_text_of_a_file_is_markup_and_one_script_alone_may_run(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")
    out = write_run(tmp_path, {name: [[0.5, 0.5]]})
    page = make_page(report_of(out, title=HOSTILE))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert content_of(page)["rows"]["names"] == [name]
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!x)[^\"']+", page) == []


def test_names_that_are_not_utf8_do_not_stop_the_page(tmp_path: Path) -> None:
    out = write_run(tmp_path, {"a": [[0.5, 0.5]]})
    os.rename(out / "a.out", os.path.join(os.fsencode(out), b"\xff.out"))
    path = tmp_path / "new" / "page.html"
    write_page(report_of(out), path)
    assert "?" in content_of(path.read_text(encoding="utf-8"))["rows"]["names"][0]


def test_the_page_of_many_rows_says_which_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    out = write_run(tmp_path, {f"{number}": [[0.25, 0.75]] * 40 for number in range(5)})
    content = content_of(make_page(report_of(out)))
    assert content["notes"] == [
        "50 of 200 rows are listed: wrong ones, the least certain, and others by chance",
    ]
    assert content["plots"]["counts"] == [0, 200]
    assert len(unpacked(content["rows"]["class"], "<i4")) == 50


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        if os.environ.get("FASTINFER_SKIP_NOTHING"):
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=["light", "dark, on a phone"])
def opened(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A page of digits, wrong ones, rejects and a hostile name, in a browser in which nothing was reported."""
    rng = np.random.default_rng(7)
    shares = rng.dirichlet(np.ones(10), 130)
    rows = [row.tolist() for row in shares]
    results = {"a.csv": [*rows, None], HOSTILE.replace("/", "_"): rows[:1]}
    cells = "\n".join(",".join(map(str, rng.integers(0, 256, 64))) for _ in rows)
    out = write_run(tmp_path, results, {"a.csv": f"{cells}\nx\n", HOSTILE.replace("/", "_"): cells.split("\n")[0]})
    reject = {"key": "a.csv", "line": 131, "column": 1, "code": "bad_number", "message": HOSTILE}
    (out / "_rejects.jsonl").write_text(json.dumps(reject) + "\n")
    (out / "_run.json").write_text(json.dumps({"row_shape": [1, 8, 8], "model_path": HOSTILE}))
    labels = np.array([3, *shares.argmax(axis=1), 3], np.float64)
    labels[1:6] = (labels[1:6] + 1) % 10
    path = tmp_path / "report.html"
    write_page(report_of(out, labels, title=HOSTILE), path)
    phone = request.param != "light"
    page = browser.new_page(
        color_scheme="dark" if phone else "light", viewport={"width": 400 if phone else 1200, "height": 900}
    )
    reported: list[str] = []
    page.on("console", lambda message: reported.append(message.text))
    page.on("pageerror", lambda error: reported.append(str(error)))
    page.on("dialog", lambda dialog: reported.append(dialog.message))
    requested: list[str] = []
    page.on("request", lambda each: requested.append(each.url))
    page.goto(path.as_uri())
    yield page
    assert reported == []
    assert requested == [path.as_uri()]
    page.close()


def test_rows_are_filtered_sorted_and_turned_by_the_keyboard(opened: Any) -> None:
    def shown() -> str:
        return str(opened.text_content("#shown"))

    assert shown() == "132 of 132 listed rows"
    assert opened.locator("#rows li").count() == 48
    assert opened.locator("#rows canvas").count() >= 47
    opened.locator("button.next").first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator(".where").first.text_content() == "page 2 of 3"
    opened.select_option("#right", "wrong")
    wrong = int(shown().split()[0])
    assert wrong >= 5
    assert opened.locator("#rows li.wrong").count() == wrong
    opened.select_option("#right", "")
    opened.fill("#search", "onerror")
    assert shown().startswith("1 of")
    assert opened.locator("#rows .place").text_content() == f"{HOSTILE.replace('/', '_')}, record 1"
    opened.fill("#search", "")
    opened.select_option("#class", "-1")
    assert opened.locator("#rows .said").text_content() == "rejected"
    opened.select_option("#class", "")
    opened.fill("#most", "0.3")
    certainties = [
        float(text.split()[1])
        for text in opened.locator("#rows div").all_text_contents()
        if text.startswith("certainty")
    ]
    assert certainties == sorted(certainties)
    assert certainties[-1] <= 0.3


def test_hostile_names_and_messages_are_only_text(opened: Any) -> None:
    assert opened.text_content("#title") == HOSTILE
    assert opened.title() == HOSTILE
    assert opened.text_content("#rejects td:last-child") == HOSTILE
    assert opened.locator("img").count() == 0
    opened.click("summary")
    assert "onerror" in opened.text_content("#record")


def test_the_page_can_be_used_without_seeing_it(opened: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.emulate_media(media="print")
    assert not opened.is_visible("#filters")


def test_no_number_of_a_plot_is_cut_at_its_edge(browser: Any, tmp_path: Path) -> None:
    values = [-41.4375 + number for number in range(60)]
    out = write_run(tmp_path, {"a": [[value] for value in values]})
    write_page(report_of(out), tmp_path / "page.html")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    inside = """() => [...document.querySelectorAll("svg")].every((picture) => {
      const box = picture.getBoundingClientRect();
      return [...picture.querySelectorAll("text")].every((text) => {
        const place = text.getBoundingClientRect();
        return place.left >= box.left - 1 && place.right <= box.right + 1;
      });
    })"""
    assert page.evaluate(inside)
    assert "-41.4" in page.locator("svg text").all_text_contents()
    page.close()
