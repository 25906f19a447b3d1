"""What predictions are read as, and which rows a page lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.report.predictions import choose, read_predictions
from fastinfer.report.results import find_results
from tests.report.pages import report_of, write_run


@pytest.mark.parametrize(
    ("rows", "labels", "kind", "classes"),
    [
        ([[0.2, 0.8], [0.6, 0.4]], None, "classes", [1, 0]),
        ([[0.5, 0.5], None, [float("nan"), 1.0]], None, "classes", [0, -1, -2]),
        ([[2.0, -1.0, 7.0]], None, "values", [2]),
        ([[2.0, -1.0, 7.0]], [1.0], "classes", [2]),
        ([[2.0, -1.0, 7.0]], [0.5], "values", [2]),
        ([0.25, 17.0], None, "numbers", [0, 0]),
        ([[0.25], [0.75]], [1, 1], "classes", [0, 1]),
        ([[0.25], [7.5]], [1, 1], "numbers", [0, 0]),
    ],
)
def test_the_values_and_the_labels_say_what_a_prediction_is(
    tmp_path: Path, rows: list[object], labels: list[float] | None, kind: str, classes: list[int]
) -> None:
    results = find_results(str(write_run(tmp_path, {"a": rows})))
    predictions = read_predictions(results, None if labels is None else np.array(labels, np.float64))
    assert (predictions.kind, predictions.classes.tolist()) == (kind, classes)
    assert read_predictions(results, kind="values").kind == "values"


def test_certainty_is_the_probability_or_the_distance_to_the_next_score(tmp_path: Path) -> None:
    of_classes = read_predictions(find_results(str(write_run(tmp_path / "1", {"a": [[0.25, 0.75]]}))))
    assert (of_classes.certainty.tolist(), of_classes.is_probability) == ([0.75], True)
    of_scores = read_predictions(
        find_results(str(write_run(tmp_path / "2", {"a": [[4.0, 1.0, 9.0]]}))), np.array([0.0])
    )
    assert (of_scores.certainty.tolist(), of_scores.is_probability) == ([5.0], False)
    binary = read_predictions(find_results(str(write_run(tmp_path / "3", {"a": [0.125, 0.75]}))), np.array([0.0, 1.0]))
    assert binary.certainty.tolist() == [0.875, 0.75]


def test_results_of_other_widths_are_refused(tmp_path: Path) -> None:
    results = find_results(str(write_run(tmp_path, {"a": [[1, 2]], "b": [[1, 2, 3]]})))
    with pytest.raises(InputError, match="rows of 3 values, after results with rows of 2"):
        read_predictions(results)


def test_wrong_and_uncertain_rows_are_listed_first_and_others_by_chance(tmp_path: Path) -> None:
    certainty = np.linspace(0.5, 1, 200).tolist()
    labels = np.zeros(200)
    labels[190:] = 1  # the most certain ones are wrong
    report = report_of(write_run(tmp_path, {"a": [[share, 1 - share] for share in certainty]}), labels)
    chosen = choose(report.predictions, report.wrong, 60, 30)
    assert {*range(190, 200)} <= set(chosen.rows.tolist())
    assert {*range(20)} <= set(chosen.rows.tolist())
    assert len(chosen.rows) == 60
    assert len(set(chosen.rows[(chosen.rows > 30) & (chosen.rows < 190)].tolist())) > 15
    assert set(chosen.detailed.tolist()) <= set(chosen.rows.tolist())
    assert len(chosen.detailed) == 30
    assert chosen.words is not None
    assert choose(report.predictions, report.wrong, 200, 30).words is None
    # Of large images fewer are drawn: wrong ones and the least certain before others.
    drawn = choose(report.predictions, report.wrong, 60, 30, most_drawn=6).drawn.tolist()
    assert len(drawn) == 6
    assert set(drawn) <= set(chosen.detailed.tolist())
    assert len({*range(190, 200)} & set(drawn)) >= 3


def test_places_lead_back_to_results_and_records(tmp_path: Path) -> None:
    predictions = read_predictions(find_results(str(write_run(tmp_path, {"a": [1, 2], "b": [], "c": [3]}))))
    assert [predictions.place(row) for row in range(3)] == [(0, 0), (0, 1), (2, 0)]


def test_of_numbers_with_labels_those_with_the_largest_errors_come_first(tmp_path: Path) -> None:
    values = [float(number) for number in range(20)]
    labels = np.array(values)
    labels[[3, 17]] += [-5.0, 9.0]
    labels[8] = np.nan
    predictions = read_predictions(find_results(str(write_run(tmp_path, {"a": values}))), labels)
    assert predictions.kind == "numbers"
    chosen = choose(predictions, np.zeros(20, dtype=bool), 6, 4, labels)
    assert {3, 17} <= set(chosen.detailed.tolist()) <= set(chosen.rows.tolist())
    assert chosen.words == "6 of 20 rows are listed: those with the largest errors, and others by chance"
    assert "the first ones" in str(choose(predictions, np.zeros(20, dtype=bool), 6, 4).words)
