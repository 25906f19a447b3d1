"""The rows of all results as one table."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest

from fastinfer.commands import transform as command
from fastinfer.errors import ConfigError, InputError, OutputError
from fastinfer.outputs import table
from fastinfer.outputs.table import Fronts, check_place, read_table, write_table
from fastinfer.storage.local import LocalStore


def read(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_rows_of_json_are_read_in_pieces(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastinfer.storage.local.PIECE_BYTES", piece)
    texts = {
        "a": "[[0.25, 0.5], null, [1e-05, NaN]]",
        "b": "[[1.0]]\n[[2.0]]\n",
        "c": "[1.5, 2.25]",
        "d": "[[[1, 2], [3, 4]]]",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert (
        write_table(
            str(tmp_path / "t.csv"), [(name, str(tmp_path / name)) for name in texts], LocalStore(), fronts=None
        )
        == 8
    )
    assert read(tmp_path / "t.csv") == [
        ["source", "record", "id", "prediction", "probabilities"],
        ["a", "1", "", "1.0", "0.25 0.5"],
        ["a", "2", "", "", ""],
        ["a", "3", "", "nan", "1e-05 nan"],
        ["b", "1", "", "1.0", "1.0"],
        ["b", "2", "", "2.0", "2.0"],
        ["c", "1", "", "1.5", "1.5"],
        ["c", "2", "", "2.25", "2.25"],
        ["d", "1", "", "3.0", "1.0 2.0 3.0 4.0"],
    ]


def test_what_is_no_list_is_an_error_and_leaves_no_table(tmp_path: Path) -> None:
    for text in ("[[1.0]", "x", "[[1.0], oops]"):
        (tmp_path / "a").write_text(text)
        with pytest.raises(OutputError, match="is not a list of rows"):
            write_table(str(tmp_path / "t.csv"), [("a", str(tmp_path / "a"))], LocalStore(), fronts=None)
    assert not (tmp_path / "t.csv").exists()


def test_the_command_makes_the_same_table_again(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(table, "GROUP_ROWS", 2)
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.csv").write_text(f"{name}1,1,2\n{name}2,no,4\n{name}3,5,6\n")
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(linear), "--id-column", "0"]
    arguments += ["--on-error", "quarantine", "--quiet", "--table", str(tmp_path / "t.parquet")]
    assert command.main(arguments) == 1
    first = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    assert [(row["source"], row["record"], row["id"]) for row in first] == [
        ("a.csv", 1, "a1"), ("a.csv", 2, None), ("a.csv", 3, "a3"), ("b.csv", 1, "b1"), ("b.csv", 2, None), ("b.csv", 3, "b3"),
    ]  # fmt: skip
    assert first[0]["probabilities"] == [
        float((tmp_path / "out" / "a.csv.out").read_text().split("\n")[0].split(",")[1])
    ]
    (tmp_path / "out" / "b.csv.out").unlink()  # as if the run had been killed before it
    assert command.main(arguments) == 1
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == first


def test_a_name_or_a_form_that_makes_no_table_is_refused(linear: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends with \.parquet or \.csv"):
        check_place("t.xlsx")
    (tmp_path / "x.csv").write_text("1,2\n")
    arguments = [
        str(tmp_path / "x.csv"),
        str(tmp_path / "out"),
        "--model",
        str(linear),
        "--table",
        str(tmp_path / "t.csv"),
    ]
    assert command.main([*arguments, "--accept", "text/csv"]) == 2
    assert command.main([*arguments, "--quiet"]) == 0
    (row,) = read(tmp_path / "t.csv")[1:]
    assert float(row[3]) == json.loads((tmp_path / "out" / "x.csv.out").read_text())[0][0]


def test_an_id_is_the_cell_as_it_is(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('"a",1,2\n"b,3,4\nc"d,5,6\n')
    arguments = [str(tmp_path / "x.csv"), str(tmp_path / "out"), "--model", str(linear), "--id-column", "0", "--quiet"]
    assert command.main([*arguments, "--table", f"file://{tmp_path}/t.csv"]) == 0
    assert [row[:3] for row in read(tmp_path / "t.csv")[1:]] == [
        ["x.csv", "1", '"a"'], ["x.csv", "2", '"b'], ["x.csv", "3", 'c"d'],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_different_ids_stay_different_also_where_they_are_not_utf_8(
    piece: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fastinfer.storage.local.PIECE_BYTES", piece)
    ids = b"\xff \xfe \\udcff \\u005cudcff \\\xff \\u005c\xff \\xff C:\\u \\uD8FF \xc3\xa9".split()
    (tmp_path / "a").write_bytes(b"".join(each + b",1.0\n" for each in ids))
    path = tmp_path / f"t.{kind}"
    write_table(str(path), [("a", str(tmp_path / "a"))], LocalStore(), fronts=Fronts(1))
    written = [row.id or "" for row in read_table(path)]
    assert written[:3] == ["\\udcff", "\\udcfe", "\\u005cudcff"]
    assert written[6:] == ["\\xff", "C:\\u", "\\uD8FF", "\u00e9"]
    back = [re.sub(r"\\u(005c|d[89a-f]..)", lambda escape: chr(int(escape[1], 16)), each) for each in written]
    assert [os.fsencode(each) for each in back] == ids


def test_an_object_without_a_result_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[[1.0]]")
    results = [(name, str(tmp_path / name)) for name in ("none", "a")]
    assert write_table(str(tmp_path / "t.csv"), results, LocalStore(), fronts=None) == 1
    with pytest.raises(ConfigError, match="no results are written to http://, found"):
        check_place("http://host/t.csv")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_is_read_as_it_was_written(kind: str, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a").write_text("[[0.25, 0.5], null, [1e-05, Infinity]]")
    (tmp_path / "b").write_text("x,y,out\nk 1,7,0.1\n,8,2.5\nnull\n")
    path = tmp_path / "deep" / "er" / f"t.{kind}"
    assert write_table(str(path), [("a", str(tmp_path / "a"))], LocalStore(), fronts=None) == 3
    assert list(read_table(path)) == [
        ("a", 1, None, 1.0, [0.25, 0.5]), ("a", 2, None, None, None), ("a", 3, None, 1.0, [1e-05, float("inf")]),
    ]  # fmt: skip
    fronts = Fronts(2, header=True)
    assert write_table(str(path), [("b", str(tmp_path / "b"))], LocalStore(), fronts=fronts) == 3
    assert [row[1:] for row in read_table(path)] == [
        (1, "k 1", 0.1, [0.1]), (2, None, 2.5, [2.5]), (3, None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_what_is_no_table_is_refused_when_it_is_read(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    with pytest.raises(InputError) as caught:
        list(read_table(tmp_path / name))
    assert caught.value.code == "input_missing"
    for text in ("", "a,b\n1,2\n", "source,record,id,prediction,probabilities\na,one,,1.0,1.0\n", "source,record\n"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError) as caught:
            list(read_table(tmp_path / name))
        assert caught.value.code == "bad_table"
    with pytest.raises(ConfigError, match="ends with"):
        list(read_table(tmp_path / "t.txt"))


def test_a_damaged_parquet_is_refused_whatever_pyarrow_finds(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    (tmp_path / "a").write_text("[[0.25, 0.5]]")
    write_table(str(path), [("a", str(tmp_path / "a"))], LocalStore(), fronts=None)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    codes = set()
    for place in range(footer, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            list(read_table(path))
        except InputError as error:
            codes.add(error.code)
    assert codes == {"bad_table"}


def test_a_table_of_wide_rows_is_read_back(tmp_path: Path) -> None:
    values = [0.123456789] * 20_000  # more characters than Python's csv reads in a cell by itself
    (tmp_path / "a.out").write_text(json.dumps([values]))
    place = str(tmp_path / "t.csv")
    write_table(place, [("a", str(tmp_path / "a.out"))], LocalStore(), fronts=None)
    assert [row.probabilities for row in read_table(place)] == [values]
