"""Results are read row by row, in pieces, in the natural order of their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.report import rows as module
from fastinfer.report.results import find_results, natural, read_record, read_rejects
from fastinfer.report.rows import read_rows
from tests.report.pages import write_run


def test_results_come_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    out = write_run(tmp_path, {name: [[1]] for name in ("data-10.csv", "data-2.csv", "b/x.csv", "b/a10", "b/a9", "²")})
    (out / "_run.json").write_text("{}")
    (out / ".fastinfer-0000000000000000-part-x.out").write_text("[[")
    assert [result.key for result in find_results(str(out))] == [
        "b/a9",
        "b/a10",
        "b/x.csv",
        "data-2.csv",
        "data-10.csv",
        "²",
    ]
    assert natural("a1b02") == [(-1, "a"), (1, ""), (-1, "b"), (2, ""), (-1, "")]


@pytest.mark.parametrize("size", [4, 7, 30, 1 << 20])
@pytest.mark.parametrize(
    "rows",
    [
        [[0.5, 1e-9, -3.0]] * 7,
        [None, None, [1.0, 2.0], None, [3.0, 4.0], None],
        [0.25, 1.0, 3.5],
        [[[1.0, 2.0], [3.0, 4.0]]] * 3,
        [None, None],
        [],
    ],
    ids=["rows", "rejects", "numbers", "rows of rows", "rejects alone", "none"],
)
def test_rows_are_those_of_the_json(
    tmp_path: Path, rows: list[object], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", size)
    path = tmp_path / "x.out"
    path.write_text(json.dumps(rows))
    found = list(read_rows(str(path)))
    rejected = [reject for part in found for reject in part.rejected.tolist()]
    assert rejected == [row is None for row in rows]
    values = [value.tolist() for part in found for value, reject in zip(part.values, part.rejected) if not reject]
    assert values == [np.ravel(row).tolist() for row in rows if row is not None]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[[1, 2]", "[[1, 2], [3]]", '[["a"]]', "[[1]]x", "[[1, {}]]", "\xff", "[" * 100_000],
    ids=range(9),
)
def test_what_is_no_list_of_predictions_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.out"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        list(read_rows(str(path)))
    assert (caught.value.code, caught.value.path) == ("bad_output", str(path))


def test_damaged_records_and_rejects_are_refused(tmp_path: Path) -> None:
    assert read_record(str(tmp_path)) == {}
    assert read_rejects(str(tmp_path)) == ([], 0)
    sizes = ('["x"]', "[[1]]", "[0]", "[1.5]", "[true]", "5", "[2147483648]")
    wrong = [f'{{"row_shape": {size}}}' for size in sizes] + [
        f'{{"prediction_values": {size[1:-1]}}}' for size in sizes
    ]
    for text in ("", "[]", "{", "[" * 100_000, *wrong):
        (tmp_path / "_run.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_record(str(tmp_path))
    for text in ("x\n", "[]\n", "{}\n"):
        (tmp_path / "_rejects.jsonl").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_rejects(str(tmp_path))


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for folder, code in ((tmp_path, "input_missing"), (tmp_path / "nowhere", "folder_missing")):
        with pytest.raises(InputError) as caught:
            find_results(str(folder))
        assert caught.value.code == code
