"""Content types in and out of a run: rows that share batches give the bytes of payloads that are answered one by one."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import threading
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from fastinfer.codecs.csv import CsvCodec
from fastinfer.codecs.json_input import JsonCodec, JsonLinesCodec
from fastinfer.codecs.json_rows import ENCODER
from fastinfer.codecs.npy_input import NpyCodec
from fastinfer.engine import run as engine
from fastinfer.engine.formats import accepted_of, choose_codec, choose_encoder, content_type_of
from fastinfer.engine.lanes import Lane, choose_lane
from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.models.module import load_model
from fastinfer.options import Limits, Options
from tests import networks
from tests.conftest import read_tree
from tests.runs import OnBatch, transform

CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"
SIZES = (1, 7, 200, 5000)
SMALL = Limits(chunk_bytes=512, large_object_bytes=20_000, span_bytes_least=5000, span_bytes_most=5000)


def rows(count: int, shape: tuple[int, ...] = (2,)) -> np.ndarray:
    return np.random.RandomState(count).rand(count, *shape).astype(np.float32).round(4)


def body(array: np.ndarray, content_type: str) -> bytes:
    if content_type == CSV:
        return b"".join(",".join(map(repr, row)).encode() + b"\n" for row in array.reshape(len(array), -1).tolist())
    if content_type == JSON:
        return json.dumps(array.tolist()).encode()
    if content_type == LINES:
        return b"".join(json.dumps(row).encode() + b"\n" for row in array.tolist())
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def source(folder: Path, content_type: str, shape: tuple[int, ...] = (2,)) -> Path:
    folder.mkdir()
    for size in SIZES:
        (folder / f"{size}.in").write_bytes(body(rows(size, shape), content_type))
    return folder


EXACT = {"exact": True, "workers": 2}


@pytest.mark.parametrize("accept", [JSON, CSV, LINES, NPY, None])
@pytest.mark.parametrize("content_type", [CSV, JSON, LINES, NPY])
def test_rows_give_the_bytes_of_payloads(
    content_type: str, accept: str | None, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source(tmp_path / "in", content_type)
    for assemble in ("None", "Line"):
        request = TransformRequest(content_type=content_type, accept=accept, assemble_with=assemble)
        assert choose_lane(request, code=False).by_rows == (accept != NPY)
        out = tmp_path / f"rows-{assemble}"
        summary = transform(linear, folder, out, Options(**EXACT), request=request, limits=SMALL)
        assert (summary.inputs, summary.records) == (len(SIZES), sum(SIZES))
        with monkeypatch.context() as patch:
            patch.setattr(engine, "choose_lane", lambda *_, **__: Lane(False, ENCODER))
            transform(linear, folder, tmp_path / f"payloads-{assemble}", Options(**EXACT), request=request)
        assert read_tree(out) == read_tree(tmp_path / f"payloads-{assemble}")


@pytest.mark.parametrize("content_type", [JSON, LINES, NPY])
def test_rows_of_many_dimensions_are_those_of_csv(content_type: str, tmp_path: Path) -> None:
    model = networks.save(networks.convolution, tmp_path / "model")
    expected = transform_tree(model, tmp_path, CSV, (3, 12, 10))
    assert transform_tree(model, tmp_path, content_type, (3, 12, 10)) == expected


def transform_tree(model: Path, folder: Path, content_type: str, shape: tuple[int, ...]) -> dict[str, bytes]:
    name = content_type.rpartition("/")[2]
    (folder / name).mkdir()
    for size in (1, 30):
        (folder / name / str(size)).write_bytes(body(rows(size, shape), content_type))
    request = TransformRequest(content_type=content_type)
    transform(model, folder / name, folder / f"{name}-out", Options(**EXACT), request=request)
    return read_tree(folder / f"{name}-out")


def test_rows_of_another_shape_have_the_answer_that_a_payload_has(tmp_path: Path) -> None:
    """A graph of convolutions takes images of any size."""
    model = networks.save(networks.segmentation, tmp_path / "model")
    (tmp_path / "in").mkdir()
    for name, shape in (("own", (1, 5, 6)), ("larger", (1, 7, 8)), ("wrong", (2, 5, 6))):
        (tmp_path / "in" / name).write_bytes(body(rows(3, shape), JSON))
    request = TransformRequest(content_type=JSON)
    summary = transform(
        model, tmp_path / "in", tmp_path / "out", Options(exact=True, on_error="quarantine"), request=request
    )
    found = {name: np.array(json.loads(text)).shape for name, text in read_tree(tmp_path / "out").items()}
    assert found == {"own.out": (3, 2, 3, 4), "larger.out": (3, 2, 5, 6)}
    assert (summary.inputs, summary.rejected) == (2, 1)
    with pytest.raises(InputError, match="unsupported Accept 'text/csv' for predictions of shape"):
        transform(
            model,
            tmp_path / "in",
            tmp_path / "csv",
            Options(exact=True, on_error="quarantine"),
            request=TransformRequest(content_type=JSON, accept=CSV),
        )


@pytest.mark.parametrize("accept", [JSON, CSV, LINES])
def test_a_bad_line_is_rejected_alone_and_its_place_is_kept(accept: str, linear: Path, tmp_path: Path) -> None:
    lines = body(rows(3000), LINES).splitlines(keepends=True)
    lines[6], lines[2500] = b"[1, null]\n", b"[1]\n"
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    request = TransformRequest(content_type=LINES, accept=accept)
    options = Options(exact=True, on_error="quarantine")
    summary = transform(linear, tmp_path / "a.jsonl", tmp_path / "out", options, request=request, limits=SMALL)
    assert (summary.records, summary.rejected) == (3000, 2)
    text = (tmp_path / "out" / "a.jsonl.out").read_text()
    found = json.loads(text) if accept == JSON else text.splitlines()
    assert [index for index, row in enumerate(found) if row in (None, "null")] == [6, 2500]
    assert len(found) == 3000
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["code"]) for reject in rejects] == [(7, "bad_values"), (2501, "bad_shape")]
    assert [reject["record"] for reject in rejects] == ["[1, null]", "[1]"]
    with pytest.raises(InputError, match=r"a\.jsonl:7:\d+: expected numbers, found null"):
        transform(linear, tmp_path / "a.jsonl", tmp_path / "stop", Options(exact=True), request=request)


@pytest.mark.parametrize("content_type", [JSON, NPY])
def test_a_bad_body_is_rejected_as_a_whole(content_type: str, linear: Path, tmp_path: Path) -> None:
    folder = source(tmp_path / "in", content_type)
    (folder / "3.in").write_bytes(body(rows(300), content_type)[:-20])
    request = TransformRequest(content_type=content_type)
    options = Options(exact=True, on_error="quarantine")
    summary = transform(linear, folder, tmp_path / "out", options, request=request)
    assert (summary.inputs, summary.records, summary.rejected) == (len(SIZES), sum(SIZES), 1)
    (reject,) = (json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["key"], reject["line"]) == ("3.in", 1 if content_type == JSON else None)
    with pytest.raises(InputError, match=r"3\.in"):
        transform(linear, folder, tmp_path / "stop", Options(exact=True), request=request)


def test_a_body_that_is_too_long_to_be_held_is_an_error(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(body(rows(5000), JSON))
    request = TransformRequest(content_type=JSON)
    limits = Limits(chunk_bytes=512, line_bytes=10_000)
    with pytest.raises(InputError, match="a body of more than 10,000 bytes must be held as a whole") as caught:
        transform(linear, tmp_path / "a.json", tmp_path / "out", Options(exact=True), request=request, limits=limits)
    assert caught.value.code == "payload_too_large"


def test_what_a_request_names_is_found_in_any_spelling(linear: Path) -> None:
    model = load_model(linear)
    for name, codec in ((CSV, CsvCodec), (JSON, JsonCodec), (LINES, JsonLinesCodec), (NPY, NpyCodec)):
        for spelled in (name, f"{name.upper()}; charset=UTF-8"):
            request = TransformRequest(content_type=spelled, accept=f"text/html, {spelled}")
            assert isinstance(choose_codec(request, model, Options()), codec)
            assert (content_type_of(request), accepted_of(request)) == (name, name)
    unknown = TransformRequest(content_type="text/plain", accept="text/html")
    assert (content_type_of(unknown), accepted_of(unknown), choose_encoder(unknown)) == (None, None, None)
    for fields in ({"split_type": "RecordIO"}, {"split_type": "Line", "strategy": "SingleRecord"}, {"accept": NPY}):
        assert choose_encoder(TransformRequest(**fields)) is None
    assert choose_encoder(TransformRequest(content_type=JSON, split_type="Line")) is None


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("content_type", [CSV, JSON, LINES, NPY])
def test_a_run_that_was_stopped_is_continued(
    content_type: str, compress: Callable[[bytes], bytes], linear: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for size in (3, 300, 5, 4000, 7, 2000):
        (tmp_path / "in" / f"{size}.in").write_bytes(compress(body(rows(size), content_type)))
    request = TransformRequest(content_type=content_type, accept=LINES, compression_type="auto")
    options, limits = Options(exact=True, workers=1), dataclasses.replace(SMALL, shard_bytes=4000)
    transform(linear, tmp_path / "in", tmp_path / "whole", options, request=request, limits=limits)
    stop, batches = threading.Event(), []

    def count(_: int) -> None:
        batches.append(1)
        if len(batches) == 60:
            stop.set()

    out = tmp_path / "out"
    run = {"request": request, "limits": limits}
    transform(linear, tmp_path / "in", out, options, stop=stop, progress=OnBatch(count), **run)
    assert len(read_tree(out)) < 6
    transform(linear, tmp_path / "in", out, options, **run)
    assert read_tree(out) == read_tree(tmp_path / "whole")
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_a_file_of_json_lines_is_not_cut_at_a_blank(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join(b"[%d,\r2]\n" % number for number in range(4000)))
    request = TransformRequest(content_type=LINES)
    found = []
    for name, limits in (("whole", None), ("cut", SMALL)):
        transform(linear, tmp_path / "a.jsonl", tmp_path / name, Options(**EXACT), request=request, limits=limits)
        found.append(read_tree(tmp_path / name))
    assert found[0] == found[1]


def test_a_carriage_return_ends_no_line_of_json(linear: Path, tmp_path: Path) -> None:
    """Also where the only ones of a chunk stand in a record that is longer; and no line is counted for one."""
    lines = [b"[%d,%s2]\n" % (number, b"\r" * 700) for number in range(40)]
    lines[30] = b"[1,\r2,3]\n"
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    request = TransformRequest(content_type=LINES)
    found = []
    for name, limits in (("whole", None), ("cut", SMALL)):
        options = Options(on_error="quarantine", **EXACT)
        transform(linear, tmp_path / "a.jsonl", tmp_path / name, options, request=request, limits=limits)
        (reject,) = map(json.loads, (tmp_path / name / "_rejects.jsonl").read_bytes().splitlines())
        assert reject["line"] == 31
        found.append((tmp_path / name / "a.jsonl.out").read_bytes())
    assert found[0] == found[1]
    assert found[0].count(b"null") == 1
