"""The decoder in front of the CSV decoder: rows of a batch and what is joined to them correspond."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.codecs.base import DONE, FULL, BadRecord
from fastinfer.engine.filtered import FilteredDecoder, columns_of
from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.options import Limits, Options
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from tests.runs import make_job, transform


def decoder(model: Path, folder: Path, request: TransformRequest) -> FilteredDecoder:
    return FilteredDecoder(make_job(model, folder, request=request), 1)


def test_a_batch_that_is_full_or_dropped_keeps_its_own_pieces(linear: Path, tmp_path: Path) -> None:
    made = decoder(linear, tmp_path, TransformRequest(id_column=0))
    rows = array("f", bytes(4 * 4))  # two rows
    made.begin(0)
    body = bytearray(b"a,1,2\nb,3,4\nc,x,6\nd,7,8\ne,9,10\n")
    made.start(body, 0, len(body), first=True)
    assert made.fill(rows, 0) is FULL
    assert list(rows) == [1, 2, 3, 4]
    predictions = np.array([[0.5], [0.25]], np.float32)
    assert made.take().print(predictions, 0) == b"a,0.5\nb,0.25\n"
    bad = made.fill(rows, 0)
    assert isinstance(bad, BadRecord)
    assert (bad.error.line, bad.error.column, bytes(body[bad.start : bad.stop])) == (3, 3, b"c,x,6")
    assert made.fill(rows, 0) is FULL or made.written == 4
    made.keep(1)
    assert made.take().print(predictions[:1], 0) == b"d,0.5\n"


def test_whole_bodies_are_cut_in_one_call_while_their_columns_are_the_same(linear: Path, tmp_path: Path) -> None:
    made = decoder(
        linear, tmp_path, TransformRequest(input_filter="$[1:]", join_source="Input", output_filter="$[0,-1]")
    )
    rows = array("f", bytes(4 * 16))
    bodies = [b"a,1,2\nb,3,4\n", b"c,5,6", b"d,7,8,9\n", b"e,1,2\n"]
    bounds = [(sum(map(len, bodies[: index + 1])), 0) for index in range(len(bodies))]
    buffer = bytearray(b"".join(bodies))
    assert made.fill_bodies(buffer, bounds, 0, rows, 0) == [2, 1]
    assert made.fill_bodies(buffer, bounds, 3, rows, 6) == [1]
    texts = made.take().print_bodies(np.array([[1], [2], [3], [4]], np.float32), 0, [2, 1, 1])
    assert texts == [b"a,1.0\nb,2.0\n", b"c,3.0\n", b"e,4.0\n"]


def test_each_object_has_its_own_plan(linear: Path, tmp_path: Path) -> None:
    made = decoder(
        linear, tmp_path, TransformRequest(input_filter="$[1:3]", join_source="Input", output_filter="$[0,3,1]")
    )
    rows = array("f", bytes(4 * 8))
    for number, body in enumerate((bytearray(b"a,1,2\n"), bytearray(b"b,3,4,extra\n"))):
        made.begin(0)
        made.start(body, 0, len(body), first=True)
        assert made.fill(rows, 2 * number) is DONE
    taken = made.take()
    predictions = np.array([[0.5], [0.25]], np.float32)
    assert taken.print(predictions[:1], 0) + taken.print(predictions[1:], 1) == b"a,0.5,1\nb,extra,3\n"


def test_the_columns_of_a_prediction_are_its_values() -> None:
    assert (columns_of(()), columns_of((10,)), columns_of((2, 3))) == (1, 10, 6)


@pytest.mark.parametrize("road", [{}, {"compression_type": "auto", "max_payload": 1}], ids=["rows", "payloads"])
@pytest.mark.parametrize("join", ["None", "Input"])
@pytest.mark.parametrize("output_filter", ["$[9]", "$[-9]", "$[0,9]", "$[7:9]", "$.x"])
def test_an_output_filter_out_of_range_is_an_error_of_each_object(
    output_filter: str, join: str, road: dict[str, Any], linear: Path, tmp_path: Path
) -> None:
    request = TransformRequest(
        output_filter=output_filter,
        join_source=join,
        split_type="Line",
        assemble_with="Line",
        accept="text/csv",
        **road,
    )
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text("1,2\n3,4\n")
    with pytest.raises(InputError, match="the output filter") as caught:
        transform(linear, tmp_path / "in", tmp_path / "stopped", Options(workers=1), request=request)
    assert (caught.value.code, caught.value.path) == ("bad_filter", str(tmp_path / "in" / "a.csv"))
    summary = transform(linear, tmp_path / "in", tmp_path / "out", Options(on_error="continue"), request=request)
    assert (summary.inputs, summary.records, summary.rejected) == (0, 0, 2)


def test_a_run_with_filters_binds_its_graph_once(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_text("7,1,2\n")
    request = TransformRequest(id_column=0)
    transform(linear, tmp_path / "x.csv", tmp_path / "probed", Options(workers=1), request=request)
    bound: list[int] = []
    bind = MXNetExecutor._bind
    monkeypatch.setattr(MXNetExecutor, "_bind", lambda self: (bound.append(self.batch_size), bind(self)))
    transform(linear, tmp_path / "x.csv", tmp_path / "out", Options(workers=1), request=request)
    assert len(bound) == 1
    assert (tmp_path / "out" / "x.csv.out").read_bytes().startswith(b"7,")


def test_a_large_object_is_read_as_one_whatever_lines_its_parts_begin_with(linear: Path, tmp_path: Path) -> None:
    """Every tenth line has a cell too many, each part begins with another one, and some with a byte order mark."""
    mark = b"\xef\xbb\xbf"
    lines = [b"%d,1,2" % number for number in range(300)]
    lines[7::10] = [line + b",3" for line in lines[7::10]]
    lines[3::10] = [mark + line for line in lines[3::10]]
    text = mark + b"\n\n" + b"".join(line + b"\n" for line in lines)
    request = TransformRequest(
        input_filter="$[1:3]", join_source="Input", output_filter="$[0,-1]", split_type="Line", assemble_with="Line",
        accept="text/csv",
    )  # fmt: skip
    sizes = [1 << 20, *range(40, 60)]
    for size in sizes:
        limits = Limits(large_object_bytes=size, span_bytes_least=size, span_bytes_most=size)
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "a.csv").write_bytes(text)
        summary = transform(
            linear,
            folder / "a.csv",
            folder / "out",
            Options(on_error="quarantine", workers=1),
            request=request,
            limits=limits,
        )
        assert (summary.records, summary.rejected) == (300, 30)
    first, *others = [(tmp_path / str(size) / "out" / "a.csv.out").read_bytes() for size in sizes]
    assert others == [first] * len(others)
    assert first.count(b"null\n") == 30


@pytest.mark.parametrize("skip_header", [False, True])
def test_blank_lines_at_the_start_may_fill_chunks(skip_header: bool, linear: Path, tmp_path: Path) -> None:
    request = TransformRequest(
        input_filter="$[1:]", join_source="Input", split_type="Line", assemble_with="Line", accept="text/csv"
    )
    limits = Limits(chunk_bytes=64)
    source = tmp_path / "in"
    source.mkdir()
    # More than the 64 KiB in which an object is small; and one that is nothing else.
    (source / "a.csv").write_bytes(b"n,x,y\n" * skip_header + b"\r\n" * 40_000 + b"7,1,2\n\n8,3,x\n9,3,4\n")
    (source / "b.csv").write_bytes(b"\n" * 70_000)
    options = Options(on_error="quarantine", workers=1, skip_header=skip_header)
    transform(linear, source, tmp_path / "out", options, request=request, limits=limits)
    lines = (tmp_path / "out" / "a.csv.out").read_bytes().splitlines()
    assert [line.partition(b",")[0] for line in lines] == [b"7", b"null", b"9"]
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    places = [(each["key"], each["code"], each["line"], each["column"]) for each in rejects]
    assert places == [("a.csv", "expected_number", 40_003 + skip_header, 5), ("b.csv", "empty_input", None, None)]
