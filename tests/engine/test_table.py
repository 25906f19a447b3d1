"""The table of a run: made by every door, refused before the run where it cannot be made."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

import fastinfer
from fastinfer.commands import transform as command
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.table import check_table
from fastinfer.errors import ConfigError, OutputError
from tests.conftest import read_tree
from tests.networks import SERVED

NAME_BYTES = 255


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2\n3,4\n")
    return folder


def test_the_function_and_the_command_make_the_same_table(linear: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fastinfer.transform(source, out, linear, table=out / "t.csv")  # its folder is made by the run
    first = (out / "t.csv").read_bytes()
    assert [row.record for row in fastinfer.read_table(out / "t.csv")] == [1, 2]
    arguments = [str(source), str(out), "--model", str(linear), "--quiet", "--table", str(out / "t.csv")]
    assert command.main(arguments) == 0
    assert (out / "t.csv").read_bytes() == first


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_name_that_is_not_utf_8_is_written_as_in_the_rejects(
    kind: str, linear: Path, source: Path, tmp_path: Path
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet")
    name = os.fsdecode(b"\xe9 \xc3\xa9.csv")
    (source / name).write_text("1,no\n3,4\n")
    table = tmp_path / f"t.{kind}"
    fastinfer.transform(source, tmp_path / "out", linear, table=table, on_error="quarantine")
    assert [row.source for row in fastinfer.read_table(table)] == ["a.csv", "a.csv", *2 * ["\\udce9 \u00e9.csv"]]
    assert '"key": "\\udce9 \\u00e9.csv"' in (tmp_path / "out" / "_rejects.jsonl").read_text()


def test_a_header_that_is_kept_is_no_row(linear: Path, source: Path, tmp_path: Path) -> None:
    (source / "a.csv").write_text("key,x,y\nk,1,2\n")
    fastinfer.transform(source, tmp_path / "out", linear, table=tmp_path / "t.csv", id_column="key", header="keep")
    ((*_, id_, prediction, _),) = fastinfer.read_table(tmp_path / "t.csv")
    assert id_ == "k"
    assert isinstance(prediction, float)


def test_an_object_whose_result_has_too_long_a_name_has_no_rows(linear: Path, source: Path, tmp_path: Path) -> None:
    (source / ("x" * NAME_BYTES)).write_text("1,2\n")
    table = tmp_path / "t.csv"
    summary = fastinfer.transform(source, tmp_path / "out", linear, table=table, on_error="continue")
    assert (summary.records, summary.rejected) == (2, 1)
    assert [row.source for row in fastinfer.read_table(table)] == ["a.csv", "a.csv"]


@pytest.mark.parametrize("name", ["x" * NAME_BYTES + ".csv", "folder.csv", "file/t.csv"])
def test_a_place_where_no_table_can_be_is_found_before_the_run(
    name: str, linear: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        fastinfer.transform(source, tmp_path / "out", linear, table=tmp_path / name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"accept": "text/csv"},
        {"join_source": "input", "split_type": "line", "assemble_with": "line"},
        {"output_filter": "$[0]"},
        {"label_column": 0},
    ],
)
def test_results_that_make_no_table_are_refused_before_the_run(
    options: dict[str, object], linear: Path, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a table is made of results in JSON"):
        fastinfer.transform(source, tmp_path / "out", linear, table=tmp_path / "t.csv", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_table_among_the_objects_is_refused(linear: Path, source: Path) -> None:
    for output in (source, source.parent / "out"):
        with pytest.raises(ConfigError, match="one of the next run's objects"):
            fastinfer.transform(source, output, linear, table=source / "t.csv")
    below = source / "out"
    fastinfer.transform(source, below, linear, table=below / "t.csv")
    assert len(read_tree(below)) == 1


def test_several_outputs_are_refused_before_the_run(linear: Path, source: Path, tmp_path: Path) -> None:
    model = fastinfer.load_model(linear, output="all")
    with pytest.raises(ConfigError, match="not several outputs"):
        fastinfer.transform(source, tmp_path / "out", model, table=tmp_path / "t.csv")
    assert not (tmp_path / "out").exists()


def test_the_rows_of_a_record_have_its_number(source: Path, tmp_path: Path) -> None:
    model = SERVED["steps"](tmp_path / "steps")  # two rows for each record
    (source / "a.csv").write_text("1,2,3,4\n1,2,x,4\n5,6,7,8\n")
    table = tmp_path / "t.csv"
    fastinfer.transform(source, tmp_path / "out", model, table=table, on_error="quarantine")
    rows = list(fastinfer.read_table(table))
    assert [row.record for row in rows] == [1, 1, 2, 3, 3]
    assert [row.prediction is None for row in rows] == [False, False, True, False, False]


def test_a_table_never_takes_the_place_of_an_object(linear: Path, source: Path, tmp_path: Path) -> None:
    rows = (source / "a.csv").read_bytes()
    for objects in ("a.csv", "*.csv", "a**", "**", "**/*.csv"):
        with pytest.raises(ConfigError, match="one of the next run's objects"):
            fastinfer.transform(f"{source}/{objects}", tmp_path / "out", linear, table=source / "a.csv")
    assert (source / "a.csv").read_bytes() == rows
    fastinfer.transform(f"{source}/*.csv", tmp_path / "out", linear, table=tmp_path / "t.csv")
    assert len(list(fastinfer.read_table(tmp_path / "t.csv"))) == 2


def test_a_table_never_takes_the_place_of_an_object_of_a_manifest(linear: Path, source: Path, tmp_path: Path) -> None:
    rows = (source / "a.csv").read_bytes()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps([{"prefix": f"{source}/"}, "a.csv"]))
    with pytest.raises(ConfigError, match="one of the next run's objects"):
        fastinfer.transform(manifest, tmp_path / "out", linear, data_type="ManifestFile", table=source / "a.csv")
    assert (source / "a.csv").read_bytes() == rows
    fastinfer.transform(manifest, tmp_path / "out", linear, data_type="ManifestFile", table=tmp_path / "t.csv")
    assert len(list(fastinfer.read_table(tmp_path / "t.csv"))) > 0


@pytest.mark.parametrize("source", ["s3://bucket/in/", "s3://bucket/in", "s3://bucket/*/*.csv"])
def test_a_table_among_the_objects_on_s3_is_refused(source: str, linear: Path) -> None:
    model = fastinfer.load_model(linear)
    with pytest.raises(ConfigError, match="one of the next run's objects"):
        check_table("s3://bucket/in/t.csv", source, "s3://bucket/out", TransformRequest(), model)
    check_table("s3://bucket/t.csv", source, "s3://bucket/out", TransformRequest(), model)
    check_table("s3://bucket/in/out/t.parquet", source, "s3://bucket/in/out", TransformRequest(), model)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_values_that_are_no_numbers_predict_no_class(name: str, source: Path, tmp_path: Path) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (source / "a.csv").write_text("1,2,3,nan\n")
    fastinfer.transform(source, tmp_path / "out", SERVED["norm"](tmp_path / "norm"), table=tmp_path / name)
    ((*_, prediction, values),) = fastinfer.read_table(tmp_path / name)
    assert values is not None
    assert len(values) == 3
    assert prediction is not None
    assert math.isnan(prediction)
