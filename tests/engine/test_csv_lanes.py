"""Both lanes, rows that share batches and payloads, read CSV alike: what is a record, what is wrong, what is joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine import lanes, run
from fastinfer.engine.code_model import find_code_model
from fastinfer.engine.lanes import Lane
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import Listing
from fastinfer.errors import ConfigError, InputError
from fastinfer.options import Options
from tests import networks
from tests.conftest import read_tree
from tests.runs import transform

ID: dict[str, Any] = {"id_column": 0}
JOIN: dict[str, Any] = {"input_filter": "$[1:]", "join_source": "Input"}
SINGLE: dict[str, Any] = {"split_type": "Line", "strategy": "SingleRecord"}
Texts = dict[str, bytes]

# What is asked for; how; the objects; how many rows the finished results have; and the errors.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Texts, int, list[str]]] = {
    "comments": (ID, {"comment": "#"}, {"a": b"# x\na,1,2\n#b,1,2\nc,3,#4\nd,5,6 # e\n"}, 3, ["empty_cell"]),
    "comments joined": (JOIN, {"comment": "#"}, {"a": b"#,,\n \na,1,2# b,c\nd,5,6\n"}, 2, []),
    "comments alone": (ID, {"comment": "#"}, {"a": b"# x\n#\n", "b": b"a,1,2\n"}, 1, ["empty_input"]),
    "missing": (ID, {"missing": 7.0}, {"a": b"a,,2\nb,3,\nc, , \n"}, 3, []),
    "empty cells": (JOIN, {}, {"a": b"a,,2\nb,3,\nc,4,5\n"}, 3, ["empty_cell", "empty_cell"]),
    "no records": (
        {**ID, "header": "skip"},
        {},
        {"a": b"x,y,z\n", "b": b"", "c": b"x\na,1,2\n"},
        1,
        ["empty_input"] * 2,
    ),
    "names alone": ({**ID, "header": "keep"}, {}, {"a": b"x,y,z", "c": b"x,y,z\na,1,2\n"}, 1, ["empty_input"]),
    "a blank first line": ({**ID, "header": "skip"}, {}, {"a": b"\na,1,2\nb,3,4\n", "b": b"\r\na,1,2"}, 3, []),
    "marks": (JOIN, {}, {"a": b"", "b": b"\xef\xbb\xbfa,1,2\n", "c": b"\xef\xbb"}, 1, ["empty_input", "bad_filter"]),
    "a bad first row": ({**ID, "header": "keep"}, {}, {"a": b"x,y,z\na,-,1\nb,2,3\n"}, 2, ["expected_number"]),
    "wide rows": (ID, {}, {"a": b"a,1,2,3,4\n"}, 1, ["unequal_line"]),
    "single": ({**ID, **SINGLE}, {}, {"a": b"a,1,2\nb,3\nc,4,5\n"}, 3, ["unequal_line"]),
    "single, empty": ({**SINGLE, "header": "skip"}, {}, {"a": b"x,y\n", "b": b"x,y\n1,2\n"}, 1, ["empty_input"]),
    "names without a join": ({"header": "keep"}, {}, {"a": b"0,1\n1,2\n3,4\n"}, 2, []),
    "lines with a limit": ({**ID, "split_type": "Line", "max_payload": 1}, {}, {"a": b"a,1,2\n" * 9}, 9, []),
}


@pytest.fixture(params=["rows", "payloads"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    chosen = lanes.choose_lane
    if request.param == "payloads":
        monkeypatch.setattr(run, "choose_lane", lambda request, **facts: Lane(False, chosen(request, **facts).encoder))
    return str(request.param)


def save(folder: Path, texts: Texts) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.csv").write_bytes(text)
    return folder


def rejects_of(output: Path) -> list[dict[str, Any]]:
    path = output / "_rejects.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("case", CASES)
def test_both_lanes_take_the_same_lines_for_records(
    case: str, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, options, texts, records, codes = CASES[case]
    source, found = save(tmp_path / "in", texts), []
    chosen = lanes.choose_lane
    for name in ("rows", "payloads"):
        summary = transform(
            linear,
            source,
            tmp_path / name,
            Options(workers=1, on_error="quarantine", **options),
            request=TransformRequest(**fields),
        )
        rejects = sorted(
            (each["key"], each["line"] or 0, each["column"] or 0, each["code"], each["record"])
            for each in rejects_of(tmp_path / name)
        )
        found.append(({key: text for key, text in read_tree(tmp_path / name).items() if key.endswith(".out")}, rejects))
        assert summary.records == records
        assert sorted(each[3] for each in rejects) == sorted(codes)
        monkeypatch.setattr(run, "choose_lane", lambda request, **facts: Lane(False, chosen(request, **facts).encoder))
    assert found[0] == found[1]


def test_a_row_without_a_value_keeps_the_others_at_their_ids(lane: str, tmp_path: Path) -> None:
    model = networks.save(networks.one_value, tmp_path / "model")
    source = save(tmp_path / "in", {"a": b"a1,1\na2, \na3,3\n", "b": b"b1,10\nb2,20\n"})
    for missing, second in ((None, "null"), (7.0, "a2,14.0")):
        output = tmp_path / f"{lane}{second[0]}"
        options = Options(workers=1, on_error="quarantine", missing=missing)
        transform(model, source, output, options, request=TransformRequest(id_column=0))
        assert (output / "a.csv.out").read_text() == f"a1,2.0\n{second}\na3,6.0\n"
        assert (output / "b.csv.out").read_text() == "b1,20.0\nb2,40.0\n"
        found = [(each["code"], each["line"], each["column"], each["record"]) for each in rejects_of(output)]
        assert found == ([("empty_cell", 2, 4, "a2, ")] if missing is None else [])


def test_an_error_behind_the_names_has_its_line(lane: str, linear: Path, tmp_path: Path) -> None:
    for text, line in ((b"x,y\n\n1,2\n3,x\n", 4), (b"x,y\nz,1\n", 2)):
        source = save(tmp_path / f"{lane}{line}", {"a": text})
        for fields in ({}, {"split_type": "Line"}, SINGLE, {"accept": "text/csv"}):
            request = TransformRequest(header="skip", **fields)
            with pytest.raises(InputError) as caught:
                transform(linear, source, tmp_path / f"out{lane}{line}", Options(workers=1), request=request)
            assert (caught.value.code, caught.value.line) == ("expected_number", line)


def test_lines_that_are_cut_across_records_are_refused_in_both_lanes(linear: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in", {"a": b"1,2,3\n4,5,6\n"})
    for accept in (None, "application/x-npy"):
        with pytest.raises(Exception, match=r"expected lines of 2 values.*found 3") as caught:
            transform(linear, source, tmp_path / "out", Options(workers=1), request=TransformRequest(accept=accept))
        assert getattr(caught.value, "code", None) == "wrong_width"
    options = Options(workers=1, records="total")
    with pytest.warns(RuntimeWarning, match="lines of 3 values are cut across records of 2 values"):
        transform(linear, source, tmp_path / "out", options, request=TransformRequest(accept="application/x-npy"))


def test_an_object_that_is_one_record_has_the_size_of_a_payload_at_most(linear: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in", {"a": b"a,1.000000,2.000000\n" * 60_000})
    with pytest.raises(Exception, match="more than 1,048,576 bytes") as caught:
        transform(
            linear, source, tmp_path / "out", Options(workers=1), request=TransformRequest(id_column=0, max_payload=1)
        )
    assert getattr(caught.value, "code", None) == "payload_too_large"


def test_filters_of_lines_do_not_take_recordio() -> None:
    for content_type in ("text/csv", "application/jsonlines"):
        with pytest.raises(ConfigError, match="are those of lines, not of records"):
            TransformRequest(content_type=content_type, split_type="RecordIO", input_filter="$[0]")
    TransformRequest(content_type="application/json", split_type="RecordIO", input_filter="$[0]")


def test_answers_of_code_are_joined_whole_however_many_cells_they_have(tmp_path: Path) -> None:
    code = tmp_path / "model" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(
        "def model_fn(model_dir): pass\n"
        "def transform_fn(model, data, content_type, accept):\n"
        "    return ''.join(','.join('p' * int(line)) + '\\n' for line in data.split()), 'text/csv'\n"
    )
    source = save(tmp_path / "in", {"a": b"a,1\nb,3\nc,2\n"})
    for name, fields in {"several": {}, "single": SINGLE}.items():
        for request, expected in (
            ({"id_column": 0}, "a,p\nb,p,p,p\nc,p,p\n"),
            ({**JOIN, "output_filter": "$[0,-1]"}, "a,p\nb,p\nc,p\n"),
            ({**JOIN, "output_filter": "$[3:]"}, None),  # the first answer has no such column
        ):
            output = tmp_path / f"{name}{len(request)}{expected is None}"
            objects = Listing(str(source), output=str(output))
            wanted = TransformRequest(**request, **fields)
            model = find_code_model(str(tmp_path / "model"))
            if expected is None:
                with pytest.raises(InputError, match=r"column|range|filter"):
                    run.transform(model, objects, str(output), Options(workers=1), source=str(source), request=wanted)
            else:
                run.transform(model, objects, str(output), Options(workers=1), source=str(source), request=wanted)
                assert (output / "a.csv.out").read_text() == expected
    model = find_code_model(str(tmp_path / "model"))
    listing = Listing(str(source))
    wanted, columns = TransformRequest(id_column=0), TransformRequest(id_column="x", header="keep")
    for text, request, message in (
        (b"a,1\nb,2 3\n", wanted, "it has 3 rows for 2 records"),
        (b"a,1\nb, \n", wanted, "it has 1 rows for 2 records"),
        (b"a, \n", wanted, "a prediction has 0 columns, not 1"),
        (b"x,y\na,1\nb,2\n", columns, "has 2 cells; the first one, which the header names, 1"),
    ):
        (source / "a.csv").write_bytes(text)
        with pytest.raises(InputError, match=message):
            run.transform(model, listing, str(tmp_path / "o"), Options(workers=1), source=str(source), request=request)
    with pytest.raises(ConfigError, match="missing: the model's own code reads the records"):
        run.transform(model, listing, str(tmp_path / "o"), Options(missing=1.0), source=str(source))


def test_a_document_with_its_answer_stands_on_one_line(tmp_path: Path) -> None:
    code = tmp_path / "model" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(
        "def model_fn(model_dir): pass\n"
        "def transform_fn(model, data, content_type, accept): return {'label': 'a', 'scores': [1, 2]}\n"
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b'{"x": 1}\n{"x": 2}\n')
    for name, fields in {
        "lines": {"content_type": "application/jsonlines"},
        "documents": {"content_type": "application/json", "split_type": "Line", "assemble_with": "Line"},
    }.items():
        request = TransformRequest(join_source="Input", **fields)
        objects = Listing(str(tmp_path / "in"), request, output=str(tmp_path / name))
        model = find_code_model(str(tmp_path / "model"))
        run.transform(model, objects, str(tmp_path / name), source=str(tmp_path / "in"), request=request)
        lines = (tmp_path / name / "a.jsonl.out").read_text().splitlines()
        expected = {"label": "a", "scores": [1, 2]}
        assert [json.loads(line) for line in lines] == [{"x": x, "SageMakerOutput": expected} for x in (1, 2)]
