"""Filters and joins: rows of shared batches and payloads give the same bytes; JSON keeps its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine import lanes, run
from fastinfer.engine.code_model import find_code_model
from fastinfer.engine.lanes import Lane
from fastinfer.engine.processed import join_json
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import Listing
from fastinfer.errors import InputError
from fastinfer.options import Options
from tests.conftest import read_tree
from tests.runs import transform

HEADER = {"header": "keep"}
REQUESTS: list[dict[str, Any]] = [
    {"input_filter": "$[1:]"},
    {"input_filter": "$[1:]", "assemble_with": "Line"},
    {"input_filter": "$[1:]", "join_source": "Input"},
    {"input_filter": "$[1:]", "join_source": "Input", "output_filter": "$[0,-1]"},
    {"input_filter": "$[1,2]", "join_source": "Input", "output_filter": "$[-1, 0, 1:3, 0]"},
    {"input_filter": "$[1:]", "output_filter": "$[0]"},
    {"input_filter": "$[1:]", "join_source": "Input", "strategy": "SingleRecord", "split_type": "Line"},
    {"id_column": 0},
    {"id_column": 0, "accept": "text/csv", "max_payload": 1, "split_type": "Line"},
    {"id_column": -3, "header": "skip"},
    {"id_column": "id", **HEADER},
    {"input_filter": "$['y','x']", "join_source": "Input", "output_filter": "$['id', -1]", **HEADER},
    {"input_filter": "$[1:2]", "join_source": "Input", "inclusive_slices": True, "output_filter": "$[0]"},
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"id,x,y\nid 1,1,2\n\xc3\xa9,3, 4\n\nid3,5.50,6")
    (folder / "b.csv").write_bytes(b"id,x,y\r\nz,+1,2e0\r\n")
    return folder


@pytest.mark.parametrize("fields", REQUESTS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_rows_and_payloads_are_filtered_and_joined_alike(
    fields: dict[str, Any], linear: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "header" not in fields:
        for path in rows.iterdir():
            path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    request = TransformRequest(**fields)
    one = transform(linear, rows, tmp_path / "rows", Options(workers=1), request=request)
    chosen = lanes.choose_lane
    monkeypatch.setattr(run, "choose_lane", lambda request, **facts: Lane(False, chosen(request, **facts).encoder))
    other = transform(linear, rows, tmp_path / "payloads", Options(workers=1), request=request)
    found = read_tree(tmp_path / "rows")
    assert found == read_tree(tmp_path / "payloads")
    assert sorted(found) == ["a.csv.out", "b.csv.out"]
    assert one.records == other.records == 4
    if request.prints_lines:
        assert found["b.csv.out"].count(b"\n") == 1 + (fields.get("header") == "keep")


def predicted(model: Path, folder: Path, *values: tuple[float, float]) -> list[str]:
    """What the model gives, without any filter."""
    folder.mkdir()
    (folder / "x.csv").write_text("".join(f"{x},{y}\n" for x, y in values))
    transform(model, folder, folder / "out")
    return [repr(value) for (value,) in json.loads((folder / "out" / "x.csv.out").read_bytes())]


def test_text_is_joined_as_it_is(linear: Path, rows: Path, tmp_path: Path) -> None:
    p = predicted(linear, tmp_path / "plain", (1, 2), (3, 4), (5.5, 6))
    request = TransformRequest(input_filter="$[1:]", join_source="Input", header="keep")
    transform(linear, rows, tmp_path / "out", request=request)
    assert (tmp_path / "out" / "a.csv.out").read_text() == (
        f"id,x,y,prediction\nid 1,1,2,{p[0]}\né,3, 4,{p[1]}\nid3,5.50,6,{p[2]}\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.csv").write_text("label,id,x,y\n7,a,1,2\n")
    transform(
        linear, tmp_path / "more", tmp_path / "out2",
        request=TransformRequest(id_column="id", label_column=0, header="keep"),
    )  # fmt: skip
    assert (tmp_path / "out2" / "x.csv.out").read_text() == f"id,label,prediction\na,7,{p[0]}\n"


def test_bad_rows_are_rejected_with_their_own_places(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(b"a,1,2\r\nb,3\r\n\r\nc,5,no\r\n4,5\r\nd,,2\r\ne,7,8\r\n")
    options, request = Options(on_error="quarantine"), TransformRequest(id_column=0)
    summary = transform(linear, tmp_path / "in", tmp_path / "out", options, request=request)
    p = predicted(linear, tmp_path / "plain", (1, 2), (7, 8))
    assert (tmp_path / "out" / "x.csv.out").read_text() == f"a,{p[0]}\nnull\nnull\nnull\nnull\ne,{p[1]}\n"
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [(each["line"], each["column"], each["record"], each["range"]) for each in rejects] == [
        (2, None, "b,3", [7, 10]),
        (4, 5, "c,5,no", [14, 20]),
        (5, None, "4,5", [22, 25]),
        (6, 3, "d,,2", [27, 31]),
    ]
    assert rejects[2]["message"] == "expected 3 cells as in the first line, found 2"
    assert (summary.records, summary.rejected) == (6, 4)


@pytest.mark.parametrize("header", ["none", "skip", "keep"])
@pytest.mark.parametrize("by_rows", [True, False])
def test_an_error_of_a_filtered_row_is_at_its_line_of_the_object(
    header: str, by_rows: bool, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "" if header == "none" else "id,x,y\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_text(f"{names}a,1,2\n\nb,3,4\nc,5,no\n")
    chosen = lanes.choose_lane
    monkeypatch.setattr(run, "choose_lane", lambda request, **facts: chosen(request, **facts)._replace(by_rows=by_rows))
    request = TransformRequest(input_filter="$[1:]", header=header)
    with pytest.raises(InputError) as caught:
        transform(linear, tmp_path / "in", tmp_path / "out", request=request)
    assert (caught.value.line, caught.value.column) == (4 + bool(names), 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_filter": "$[3]"}, "the input filter '\\$\\[3\\]': no column 3; the row has 3"),
        (
            {"input_filter": "$[1:]", "output_filter": "$[1]"},
            "the output filter '\\$\\[1\\]': no column 1; the row has 1",
        ),
        ({"id_column": 9}, "no column 9"),
        ({"id_column": "z", "header": "keep"}, "no column 'z'; the header has 'a,1,2'"),
        ({"input_filter": "$.x"}, "no column 'x'; there is no header"),
        ({"input_filter": "$[0]"}, r"x\.csv:1:1: expected a number, found 'a'"),
    ],
)
def test_columns_that_do_not_exist_are_errors(
    fields: dict[str, Any], message: str, linear: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(b"a,1,2\nb,3,4\n")
    with pytest.raises(InputError, match=message):
        transform(linear, tmp_path / "in", tmp_path / "out", request=TransformRequest(**fields))


CODE = """
def model_fn(model_dir): return 0
def transform_fn(model, data, content_type, accept):
    if content_type == "text/csv":
        return '[' + ', '.join('{"n": %d, "p": [0.10, NaN]}' % len(line) for line in data.splitlines()) + ']', accept
    return '{"p": 0.10}', accept
"""


def answer(folder: Path, content: bytes, **fields: Any) -> str:
    (folder / "m" / "code").mkdir(parents=True)
    (folder / "m" / "code" / "inference.py").write_text(CODE)
    (folder / "x").write_bytes(content)
    request = TransformRequest(**fields)
    model, listing = find_code_model(folder / "m"), Listing(str(folder / "x"))
    run.transform(model, listing, str(folder / "out"), source="x", request=request)
    return (folder / "out" / "x.out").read_text()


def test_a_json_answer_is_joined_to_rows_with_its_own_numbers(tmp_path: Path) -> None:
    text = answer(tmp_path, b"a,1\nb,22\n", input_filter="$[1:]", join_source="Input", accept="application/json")
    assert text == "a,1,1,0.10,nan\nb,22,2,0.10,nan\n"


def test_json_documents_are_joined_with_their_answers(tmp_path: Path) -> None:
    fields = {"content_type": "application/json", "input_filter": "$.x", "join_source": "Input"}
    assert answer(tmp_path / "a", b'{"id": 1.0,  "x": [1]}\n', **fields) == (
        '{"id": 1.0,  "x": [1], "SageMakerOutput": {"p": 0.10}}'
    )
    fields.update(output_filter="$['id','SageMakerOutput']", split_type="Line", assemble_with="Line")
    assert answer(tmp_path / "b", b'{"id": 1, "x": 2}\n{"id": 2, "x": 3}\n', **fields) == (
        '[1, {"p": 0.1}]\n[2, {"p": 0.1}]\n'
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"a": 1}\n', b'{"a": 1, "SageMakerOutput": [2]}'),
        (b"{ }", b'{"SageMakerOutput": [2]}'),
        (b"[1.0]\n", b'{"SageMakerInput": [1.0], "SageMakerOutput": [2]}'),
        (b'"x"', b'{"SageMakerInput": "x", "SageMakerOutput": [2]}'),
    ],
)
def test_a_document_keeps_its_text(record: bytes, expected: bytes) -> None:
    assert join_json(record, b"[2]\n", "application/json") == expected
    json.loads(expected)


def test_documents_of_any_encoding_are_joined_as_utf8() -> None:
    for encoding in ("utf-16", "utf-32-le", "utf-8-sig"):
        joined = join_json('{"a": "ü"}'.encode(encoding), b"[2]", "application/json")
        assert joined.decode() == '{"a": "ü", "SageMakerOutput": [2]}'


def test_half_of_a_pair_is_no_text() -> None:
    """Which json reads all the same."""
    for record in (b'{\0"\0\x00\xd8"\0:\x001\0}\0', b'{"\xed\xa0\x80": 1}'):
        json.loads(record)
        with pytest.raises(InputError, match="invalid JSON"):
            join_json(record, b"[2]", "application/json")


def test_what_is_not_json_is_an_error() -> None:
    for record, body in ((b"{", b"1"), (b"{}", b"x"), (b'{"SageMakerOutput": 1}', b"1")):
        with pytest.raises(InputError):
            join_json(record, body, "text/csv")


@pytest.mark.parametrize("fields", [{}, {"split_type": "Line", "strategy": "SingleRecord"}, {"assemble_with": "Line"}])
def test_a_bad_document_is_rejected_by_itself(fields: dict[str, Any], linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_bytes(b'{"i": 1, "x": [1, 2]}\r\n{"i": 2, "x": [1]}\r\n{"i": 3, "x": [3, 4]}\n')
    request = TransformRequest(
        content_type="application/jsonlines", input_filter="$.x", output_filter="$.i", join_source="Input", **fields
    )
    options = Options(on_error="quarantine")
    summary = transform(linear, tmp_path / "in", tmp_path / "out", options, request=request)
    assert (tmp_path / "out" / "x.jsonl.out").read_text() == "1\nnull\n3\n"
    assert (summary.inputs, summary.records, summary.records_read, summary.rejected) == (1, 3, 3, 1)
    (reject,) = map(json.loads, (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["line"], reject["record"], reject["range"]) == (2, '{"i": 2, "x": [1]}', [23, 41])


@pytest.mark.parametrize("bad", ['{"i": 2, "x": [1}', '{"i": 2}', "2"])
def test_a_line_that_cannot_be_filtered_is_rejected_by_itself(bad: str, linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_text(f'{bad}\n{{"i": 1, "x": [1, 2]}}\n{bad}\n{{"i": 3, "x": [3, 4]}}\n')
    (tmp_path / "in" / "y.jsonl").write_text(f"{bad}\n")
    request = TransformRequest(
        content_type="application/jsonlines", input_filter="$.x", output_filter="$.i", join_source="Input"
    )
    summary = transform(linear, tmp_path / "in", tmp_path / "out", Options(on_error="quarantine"), request=request)
    assert (tmp_path / "out" / "x.jsonl.out").read_text() == "null\n1\nnull\n3\n"
    assert (tmp_path / "out" / "y.jsonl.out").read_text() == "null\n"
    assert (summary.inputs, summary.records, summary.records_read, summary.rejected) == (2, 5, 5, 3)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [(each["key"], each["line"], each["record"]) for each in rejects] == [
        ("x.jsonl", 1, bad),
        ("x.jsonl", 3, bad),
        ("y.jsonl", 1, bad),
    ]


def test_an_answer_that_is_no_document_says_what_would_be(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_bytes(b"[1, 2]\n")
    request = TransformRequest(content_type="application/jsonlines", join_source="Input", accept="application/x-npy")
    with pytest.raises(
        InputError, match=r"x\.jsonl:1: the answer cannot be joined to a document: it is application/x-npy"
    ):
        transform(linear, tmp_path / "in", tmp_path / "out", request=request)
