"""``fastinfer report``: it counts, draws and saves what the outputs say, and skips nothing."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.commands.report import main
from fastinfer.mnist.dataset import read_images, read_labels
from fastinfer.mnist.samples import write_samples

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_CHANNEL = ROOT / "examples" / "mnist" / "test"


def write_outputs(folder: Path, predictions: list[list[int]]) -> None:
    """What the container answers, one file for each list."""
    folder.mkdir(exist_ok=True)
    for number, classes in enumerate(predictions):
        rows = [[0.9 if index == label else 0.011111 for index in range(10)] for label in classes]
        (folder / f"data-{number}.csv.out").write_text(json.dumps(rows))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve samples of one image each, in which the tenth and twelfth are taken for an 8."""
    write_samples(read_images(TEST_CHANNEL)[:12], tmp_path / "in")
    labels = read_labels(TEST_CHANNEL)[:12].tolist()
    write_outputs(tmp_path / "out", [[8 if number in (9, 11) else label] for number, label in enumerate(labels)])
    return tmp_path / "in", tmp_path / "out"


def test_labels_are_shown_beside_predictions_as_in_the_notebook(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folders[1]), "--inputs", str(folders[0]), "--labels", str(TEST_CHANNEL)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:3] == [
        "accuracy    0.8333 (10 of 12)",
        "labels      7, 2, 1, 0, 4, 1, 4, 9, 5, 9",
        "predictions 7, 2, 1, 0, 4, 1, 4, 9, 5, 8",
    ]
    assert out.count("7 -> 7") == 1
    assert "9 -> 8 wrong" in out
    assert err == ""


def test_samples_are_sorted_by_number_and_files_of_many_rows_count_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(read_images(TEST_CHANNEL)[:35], tmp_path / "in", "integers", rows_per_file=3)
    labels = read_labels(TEST_CHANNEL)[:35].tolist()
    write_outputs(tmp_path / "out", [labels[first : first + 3] for first in range(0, 35, 3)])
    arguments = [
        str(tmp_path / "out"),
        "--inputs",
        str(tmp_path / "in"),
        "--json",
        "--labels",
        str(TEST_CHANNEL / "labels.gz"),
    ]
    assert main(arguments) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report == {
        "records": 35,
        "kind": "classes",
        "predictions": labels,
        "rejected": 0,
        "not_a_number": 0,
        "labels": labels,
        "accuracy": 1.0,
    }


def test_without_labels_only_predictions_are_shown(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folders[1]), "--inputs", str(folders[0]), "--count", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "predictions 7, 2, 1"
    assert lines[-1].split() == ["1"] or lines[-1].split() == ["7", "2", "1"]


def test_rows_without_a_class_are_named_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv.out").write_text("[[0.25, 0.75], null, [NaN, NaN]]")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "predictions 1, rejected, nan\n"
    assert main([str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"records": 3, "kind": "classes", "predictions": [1, None, None], "rejected": 0, "not_a_number": 1}


@pytest.mark.parametrize(
    ("rows", "kind", "predictions", "count"),
    [
        ("[2.5, Infinity, null, -Infinity, NaN, 1]", "numbers", [2.5, None, None, None, None, 1], 3),
        ("[[2.5, 3], [Infinity, 3], null, [2, NaN], [4, Infinity]]", "values", [2.5, None, None, None, 4], 2),
        ("[[0.25, 0.75], [0, Infinity], null, [NaN, 1]]", "classes", [1, 1, None, None], 1),
    ],
)
def test_each_null_is_a_rejected_record_or_counted_as_no_number(
    rows: str,
    kind: str,
    predictions: list[float | None],
    count: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.csv.out").write_text(rows)
    assert main([str(tmp_path), "--json", "--kind", kind]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["predictions"], found["not_a_number"]) == (predictions, count)


def test_inputs_that_the_run_left_out_are_not_missed(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "data-5.csv.out").unlink()
    (folders[1] / "_run.json").write_text(json.dumps({"request": {"exclude": ["data-5.csv"]}}))
    assert main([str(folders[1]), "--inputs", str(folders[0])]) == 0
    assert "no result" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda out: (out / "data-5.csv.out").write_text("[[0.1], [0.2]]"),
            "rows of 1 values, after results with rows",
        ),
        (lambda out: (out / "data-5.csv.out").write_text('[["a"]]'), "expected rows of numbers, found"),
        (lambda out: (out / "data-5.csv.out").write_text("[[0.1, 0"), "found no list of predictions: '[[0.1, 0'"),
        (lambda out: (out / "data-5.csv.out").write_text(""), "found no list of predictions"),
        (lambda out: (out / "data-12.csv.out").write_text(json.dumps([[0.1] * 10])), "no such input, but a result"),
    ],
)
def test_nothing_is_passed_over(
    folders: tuple[Path, Path], spoil: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folders[1])
    page = folders[1] / "report.html"
    assert main([str(folders[1]), "--inputs", str(folders[0]), "--count", "20", "-o", str(page)]) == 1
    assert words in capsys.readouterr().err
    assert not page.exists()


def test_inputs_without_a_result_are_told(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folders[1] / "data-5.csv.out").unlink()
    assert main([str(folders[1]), "--inputs", str(folders[0])]) == 0
    assert "warning: no result for 1 input; the first: 'data-5.csv'" in capsys.readouterr().err


def test_labels_must_be_enough_and_options_make_sense(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ins, outs = map(str, folders)
    assert main([outs, "--inputs", ins, "--labels", str(TEST_CHANNEL / "images.gz")]) == 1
    assert "IDX labels" in capsys.readouterr().err
    few = tmp_path / "few.gz"
    few.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 2])))
    assert main([outs, "--inputs", ins, "--labels", str(few)]) == 1
    assert "few.gz: 2 labels for 12 predictions" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([outs, "--inputs", ins, "--count", "0"])
    assert stopped.value.code == 2
    assert main([str(tmp_path / "nowhere"), "--inputs", ins]) == 1
    assert main([outs, "--inputs", ins, "--png", "/dev/null/sheet.png"]) == 4


def test_ascii_takes_the_place_of_blocks_where_the_terminal_has_none(folders: tuple[Path, Path]) -> None:
    def report(encoding: str) -> bytes:
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "90"}
        command = [
            sys.executable,
            "-m",
            "fastinfer",
            "report",
            str(folders[1]),
            "--inputs",
            str(folders[0]),
            "--count",
            "3",
        ]
        return subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=300, check=True
        ).stdout

    assert "█" in report("utf-8").decode()
    text = report("ascii").decode("ascii")
    assert "@" in text
    assert max(map(len, text.splitlines())) <= 90


def test_the_contact_sheet_holds_the_pixels_and_marks_what_is_wrong(folders: tuple[Path, Path]) -> None:
    from PIL import Image

    path = folders[0].parent / "new" / "sheet.png"
    assert main([str(folders[1]), "--inputs", str(folders[0]), "--labels", str(TEST_CHANNEL), "--png", str(path)]) == 0
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape == (2 * (28 * 4 + 16 + 22), 5 * (28 * 4 + 16), 3)
    assert np.array_equal(pixels[8 : 8 + 112 : 4, 8 : 8 + 112 : 4, 0], read_images(TEST_CHANNEL)[0])
    red = (pixels == [255, 0, 0]).all(axis=2)
    # Only the tenth image, the last of the second row, is wrong.
    assert red[150:, 4 * 128 :].any()
    assert not red[:150].any()
    assert not red[:, : 4 * 128].any()
