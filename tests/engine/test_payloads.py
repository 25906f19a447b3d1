"""Payloads: expanded, split, answered together, assembled; and the same bytes as rows of shared batches."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine import lanes, payloads, run
from fastinfer.engine.code_model import find_code_model
from fastinfer.engine.lanes import Lane
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import Listing
from fastinfer.engine.summary import Summary
from fastinfer.errors import InputError
from fastinfer.options import Limits, Options
from tests.conftest import read_tree
from tests.runs import transform

CODE = """
import json
def model_fn(model_dir):
    return 0
def transform_fn(model, data, content_type, accept):
    if "bad" in data:
        raise ValueError("it is bad")
    return json.dumps([data, content_type, accept]), "text/plain"
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Objects of a model of two values a record."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"1,2\n3,4\n\n5,6")
    (folder / "b.csv").write_bytes(b"1,2\r\n")
    (folder / "c.csv").write_bytes(b"1,2,3,4\n5,6,7,8\n")
    return folder


@pytest.fixture
def by_payloads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All objects go by payloads, also where rows would do."""
    chosen = lanes.choose_lane
    monkeypatch.setattr(run, "choose_lane", lambda request, **facts: Lane(False, chosen(request, **facts).encoder))
    return monkeypatch


def results(output: Path) -> dict[str, bytes]:
    return {name: text for name, text in read_tree(output).items() if name.endswith(".out")}


REQUESTS: list[dict[str, Any]] = [
    {},
    {"assemble_with": "Line"},
    {"split_type": "Line"},
    {"split_type": "Line", "strategy": "SingleRecord"},
    {"split_type": "Line", "strategy": "SingleRecord", "assemble_with": "Line"},
    {"max_payload": 1},
    {"split_type": "Line", "max_payload": 1, "assemble_with": "Line"},
]


@pytest.mark.parametrize("fields", REQUESTS, ids=lambda fields: "-".join(map(str, fields.values())) or "plain")
def test_rows_and_payloads_give_the_same_bytes(
    fields: dict[str, Any], linear: Path, rows: Path, tmp_path: Path, by_payloads: pytest.MonkeyPatch
) -> None:
    request = TransformRequest(**fields)
    one = transform(linear, rows, tmp_path / "payloads", Options(workers=1), request=request)
    by_payloads.undo()
    other = transform(linear, rows, tmp_path / "rows", Options(workers=1), request=request)
    assert results(tmp_path / "payloads") == results(tmp_path / "rows")
    assert sorted(results(tmp_path / "rows")) == ["a.csv.out", "b.csv.out", "c.csv.out"]
    assert (one.records, one.inputs) == (other.records, other.inputs) == (8, 3)


@pytest.mark.parametrize("content_type", ["text/csv", "Text/CSV; charset=UTF-8"])
def test_a_header_is_left_out_however_csv_is_written(
    content_type: str, linear: Path, tmp_path: Path, by_payloads: pytest.MonkeyPatch
) -> None:
    assert by_payloads
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(b"8,9\n1,2\n3,4\n")
    options, request = Options(skip_header=True), TransformRequest(content_type=content_type)
    assert transform(linear, tmp_path / "in", tmp_path / "out", options, request=request).records == 2


@pytest.mark.parametrize("network", ["scalar", "segmentation"])
@pytest.mark.parametrize("assemble", ["None", "Line"])
def test_single_records_of_any_shape_are_answers_of_their_own(
    network: str, assemble: str, tmp_path: Path, by_payloads: pytest.MonkeyPatch
) -> None:
    from tests import networks

    model = networks.save(getattr(networks, network), tmp_path / "model")
    values = {"scalar": 4, "segmentation": 30}[network]
    (tmp_path / "in").mkdir()
    lines = [",".join(str(value + line) for value in range(values)) for line in range(1, 4)]
    (tmp_path / "in" / "x.csv").write_text("\n".join(lines))
    request = TransformRequest(split_type="Line", strategy="SingleRecord", assemble_with=assemble)
    transform(model, tmp_path / "in", tmp_path / "payloads", request=request)
    by_payloads.undo()
    transform(model, tmp_path / "in", tmp_path / "rows", request=request)
    assert results(tmp_path / "payloads") == results(tmp_path / "rows")


def answer(folder: Path, source: Path, output: Path, options: Options | None = None, **fields: Any) -> Summary:
    """Transforms objects by code that shows what it is given."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "inference.py").write_text(CODE)
    request = TransformRequest(**fields)
    listing = Listing(str(source), request)
    return run.transform(find_code_model(folder), listing, str(output), options, source=str(source), request=request)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        text = f"{name}1\n" + ("bad\n" if name == "b" else "two\n") + "\n" + f"{name}3"
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_the_models_own_code_answers_each_payload(lines: Path, tmp_path: Path) -> None:
    summary = answer(
        tmp_path / "model", lines / "a.txt", tmp_path / "out", split_type="Line", strategy="SingleRecord",
        content_type="text/csv", accept="text/csv", assemble_with="Line",
    )  # fmt: skip
    expected = [[text, "text/csv", "text/csv"] for text in ("a1\n", "two\n", "a3")]
    text = (tmp_path / "out" / "a.txt.out").read_text()
    assert [json.loads(line) for line in text.splitlines()] == expected
    assert text.endswith("\n")
    assert (summary.inputs, summary.records) == (1, 3)


def test_an_object_that_fails_fails_alone(lines: Path, tmp_path: Path) -> None:
    summary = answer(tmp_path / "model", lines, tmp_path / "out", Options(on_error="continue"))
    assert sorted(results(tmp_path / "out")) == ["a.txt.out", "c.txt.out"]
    assert (summary.inputs, summary.rejected) == (2, 1)
    (reject,) = map(json.loads, (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["key"], reject["code"], reject["line"]) == ("b.txt", "code_failed", 1)
    assert reject["message"] == "the model's code failed: ValueError: it is bad"


def test_a_run_stops_at_an_object_that_fails_and_keeps_those_before(lines: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.txt:1: the model's code failed: ValueError: it is bad"):
        answer(tmp_path / "model", lines, tmp_path / "out", Options(workers=1))
    assert sorted(results(tmp_path / "out")) == ["a.txt.out"]


def test_a_single_record_that_fails_is_rejected_by_itself(lines: Path, tmp_path: Path) -> None:
    summary = answer(
        tmp_path / "model", lines, tmp_path / "out", Options(on_error="quarantine"),
        split_type="Line", strategy="SingleRecord", assemble_with="Line",
    )  # fmt: skip
    assert (summary.records, summary.rejected) == (9, 1)
    assert (tmp_path / "out" / "b.txt.out").read_text().splitlines()[1] == "[null]"
    (reject,) = map(json.loads, (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["line"], reject["record"], reject["range"]) == (2, "bad", [3, 6])
    again = answer(
        tmp_path / "model", lines, tmp_path / "out", Options(on_error="quarantine"),
        split_type="Line", strategy="SingleRecord", assemble_with="Line",
    )  # fmt: skip
    assert (again.inputs, again.skipped, again.rejected) == (0, 3, 1)


def test_many_payloads_are_answered_in_parts_and_in_order(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "MOST_PAYLOADS", 2)
    (lines / "a.txt").write_text("\n".join(map(str, range(25))))
    answer(
        tmp_path / "model", lines, tmp_path / "out", Options(on_error="continue"), split_type="Line",
        strategy="SingleRecord", assemble_with="Line",
    )  # fmt: skip
    found = [json.loads(line)[0] for line in (tmp_path / "out" / "a.txt.out").read_text().splitlines()]
    assert [text.strip() for text in found] == list(map(str, range(25)))
    assert sorted(results(tmp_path / "out")) == ["a.txt.out", "c.txt.out"]


def test_an_object_that_fails_where_a_part_is_full_has_no_result(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "MOST_PAYLOADS", 1)
    summary = answer(tmp_path / "model", lines, tmp_path / "out", Options(on_error="continue"))
    assert sorted(results(tmp_path / "out")) == ["a.txt.out", "c.txt.out"]
    assert (summary.inputs, summary.rejected) == (2, 1)


@pytest.mark.parametrize("kind", ["gzip", "auto"])
def test_compressed_objects_are_expanded_before_they_are_split(
    kind: str, linear: Path, rows: Path, tmp_path: Path
) -> None:
    transform(linear, rows, tmp_path / "plain", request=TransformRequest(assemble_with="Line"))
    for path in list(rows.iterdir()):
        (rows / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    request = TransformRequest(compression_type=kind, split_type="Line", assemble_with="Line")
    transform(linear, rows, tmp_path / "out", request=request)
    expected = {name.replace(".csv.out", ".csv.gz.out"): text for name, text in results(tmp_path / "plain").items()}
    assert results(tmp_path / "out") == expected


def test_an_object_over_the_limit_fails_alone_and_one_without_records_too(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.csv").write_bytes(b"1,2\n" * (1 << 18) + b"1,2\n")
    (tmp_path / "in" / "empty.csv").write_bytes(b"\n\n")
    (tmp_path / "in" / "small.csv").write_bytes(b"1,2\n")
    options = Options(on_error="continue")
    whole = transform(linear, tmp_path / "in", tmp_path / "whole", options, request=TransformRequest(max_payload=1))
    assert sorted(results(tmp_path / "whole")) == ["small.csv.out"]
    messages = [json.loads(line) for line in (tmp_path / "whole" / "_rejects.jsonl").read_text().splitlines()]
    assert {each["key"]: each["code"] for each in messages} == {
        "large.csv": "payload_too_large",
        "empty.csv": "empty_input",
    }
    assert whole.rejected == 2
    request = TransformRequest(max_payload=1, split_type="Line", assemble_with="Line")
    transform(linear, tmp_path / "in", tmp_path / "lines", options, request=request)
    answers = (tmp_path / "lines" / "large.csv.out").read_text().splitlines()
    assert [len(json.loads(each)) for each in answers] == [1 << 18, 1]


def test_without_a_limit_an_object_is_held_as_long_as_memory_allows(lines: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(CODE)
    model, limits = find_code_model(folder), Limits(line_bytes=8)
    with pytest.raises(InputError, match="holds more than 8 bytes") as caught:
        run.transform(model, Listing(str(lines)), str(tmp_path / "out"), source="x", limits=limits)
    assert caught.value.code == "payload_too_large"


@pytest.mark.parametrize("how", ["quarantine", "continue"])
@pytest.mark.parametrize("split", [{}, {"split_type": "line", "strategy": "singlerecord"}])
def test_rejects_of_json_have_line_and_column(how: str, split: dict[str, str], linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text('[1,2]\n[1,"x"]\n[3,\n')
    request = TransformRequest(content_type="application/jsonlines", **split)  # type: ignore[arg-type]
    transform(linear, tmp_path / "a", tmp_path / "out", Options(on_error=how), request=request)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    if how == "continue":
        assert [(each["line"], each["column"], each["range"], each["record"]) for each in rejects] == [
            (2, 4, None, None)
        ]
    else:
        assert [(each["line"], each["column"], each["range"]) for each in rejects] == [
            (2, 4, [6, 13]),
            (3, 4, [14, 17]),
        ]
    (tmp_path / "b").write_text("[[1,2],\n [3, null]]")
    request = TransformRequest(content_type="application/json")
    transform(linear, tmp_path / "b", tmp_path / "two", Options(on_error=how), request=request)
    (reject,) = [json.loads(line) for line in (tmp_path / "two" / "_rejects.jsonl").read_text().splitlines()]
    assert (reject["line"], reject["column"], reject["message"]) == (2, 6, "expected numbers, found null")


def test_rows_and_payloads_have_the_accept_of_the_environment(
    linear: Path, rows: Path, tmp_path: Path, by_payloads: pytest.MonkeyPatch
) -> None:
    by_payloads.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    transform(linear, rows, tmp_path / "payloads", Options(workers=1))
    by_payloads.undo()
    by_payloads.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    transform(linear, rows, tmp_path / "rows", Options(workers=1), request=TransformRequest(accept="*/*"))
    assert results(tmp_path / "payloads") == results(tmp_path / "rows")
    assert b"[" not in results(tmp_path / "rows")["a.csv.out"]
