"""Inputs that are no lines of CSV are shown as the run gave them to the model: a run of each kind, read again."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.options import Options
from fastinfer.report import payload_inputs as module
from fastinfer.report.forms import form_of
from fastinfer.report.inputs import Inputs
from fastinfer.report.predictions import read_predictions
from fastinfer.report.results import find_results, read_record
from tests.runs import transform

MAGIC = 0xCED7230A
RECORDS = [[1.0, 2.0], [3.0, 4.5], [-6.0, 0.25]]
JSONL = "application/jsonlines"


def recordio(*records: bytes) -> bytes:
    return b"".join(struct.pack("<II", MAGIC, len(each)) + each + bytes(-len(each) % 4) for each in records)


def npy(rows: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(rows, np.float32))
    return file.getvalue()


def read_again(root: Path) -> list[list[float] | None]:
    """What is shown of each row of the results of a run from ``in`` to ``out``."""
    record, results = read_record(str(root / "out")), find_results(str(root / "out"))
    inputs = Inputs(str(root / "in"), record)
    assert inputs.unread is None
    starts = read_predictions(results, form=form_of(record, results[0])).starts.tolist()
    found: list[list[float] | None] = []
    for result, first, stop in zip(results, starts, starts[1:]):
        values = dict(inputs.records(result, stop - first, range(stop - first)))
        found += [values[row].tolist() if row in values else None for row in range(stop - first)]
    return found


def run(root: Path, model: Path, content: bytes, options: Options | None = None, **fields: Any) -> None:
    (root / "in").mkdir()
    (root / "in" / "a").write_bytes(content)
    transform(model, root / "in", root / "out", options, request=TransformRequest(**fields))


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (json.dumps(RECORDS).encode(), {"content_type": "application/json"}),
        (
            gzip.compress(json.dumps(RECORDS).encode(), mtime=0),
            {"content_type": "Application/JSON; charset=utf-8", "compression_type": "Gzip"},
        ),
        (npy(RECORDS), {"content_type": "application/x-npy"}),
        (b"\n".join(json.dumps(each).encode() for each in RECORDS), {"content_type": JSONL}),
        (
            b"\n".join(json.dumps([each]).encode() for each in RECORDS),
            {"content_type": "application/json", "split_type": "Line", "strategy": "SingleRecord"},
        ),
        (recordio(b"1,2\n", b"3,4.5\n", b"-6,0.25\n"), {"split_type": "RecordIO"}),
        (recordio(b"a,b\n", b"1,2\n", b"3,4.5\n", b"-6,0.25\n"), {"split_type": "RecordIO", "header": "skip"}),
        (
            recordio(npy(RECORDS[:2]), npy(RECORDS[2:])),
            {"content_type": "application/x-npy", "split_type": "RecordIO", "strategy": "SingleRecord"},
        ),
        (
            json.dumps({"id": 7, "rows": RECORDS}).encode(),
            {"content_type": "application/json", "input_filter": "$.rows", "join_source": "Input"},
        ),
        (
            b"\n".join(json.dumps({"id": 7, "row": each}).encode() for each in RECORDS),
            {"content_type": JSONL, "input_filter": "$.row", "join_source": "Input", "accept": JSONL},
        ),
        (
            b"\n".join(json.dumps([9.0, *each]).encode() for each in RECORDS),
            {"content_type": JSONL, "input_filter": "$[1:]", "accept": JSONL},
        ),
    ],
)
def test_inputs_are_shown_as_the_model_was_given_them(
    tmp_path: Path, linear: Path, content: bytes, fields: dict[str, Any]
) -> None:
    run(tmp_path, linear, content, **fields)
    assert read_again(tmp_path) == RECORDS


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (b"[1.0, 2.0]\n[3.0, null]\n\n[-6.0, 0.25]\n", {"content_type": JSONL}),
        (
            recordio(b"[[1, 2]]", b"[[1], [2]]", b"[[-6, 0.25]]"),
            {"content_type": "application/json", "split_type": "RecordIO", "strategy": "SingleRecord"},
        ),
    ],
)
def test_a_rejected_record_keeps_its_place(
    tmp_path: Path, linear: Path, content: bytes, fields: dict[str, Any]
) -> None:
    run(tmp_path, linear, content, Options(on_error="quarantine"), **fields)
    assert read_again(tmp_path) == [RECORDS[0], None, RECORDS[2]]


def test_pictures_are_shown_without_what_the_model_subtracts(tmp_path: Path, convolution: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    run(tmp_path, convolution, file.getvalue(), content_type="application/x-image; mean=100; std=50; fit=crop")
    (found,) = read_again(tmp_path)
    assert found == pixels.transpose(2, 0, 1).reshape(-1).tolist()


def test_inputs_that_have_changed_or_are_too_many_are_refused(
    tmp_path: Path, linear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, linear, json.dumps(RECORDS).encode(), content_type="application/json")
    (tmp_path / "in" / "a").write_text(json.dumps(RECORDS[:2]))
    with pytest.raises(InputError, match="2 records for 3 predictions"):
        read_again(tmp_path)
    monkeypatch.setattr(module, "MOST_BYTES", 8)
    with pytest.raises(InputError, match="too many to show"):
        read_again(tmp_path)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"request": {"content_type": "text/plain"}, "row_shape": None}, "fastinfer does not read this type"),
        ({"request": {"content_type": "application/json"}, "row_shape": None}, "only the model's own code knows"),
        ({"request": {"split_type": "recordio"}, "row_shape": None}, "text/csv in RecordIO are not shown"),
        ({"request": {"news": 1}}, "another version"),
    ],
)
def test_why_inputs_are_not_shown_is_said(record: dict[str, Any], words: str) -> None:
    assert words in str(Inputs("in", record).unread)
