"""Which road objects take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fastinfer
from fastinfer.engine.lanes import choose_lane
from fastinfer.engine.request import TransformRequest
from fastinfer.handlers.predictor import Predictor
from fastinfer.models.module import load_model
from tests import networks
from tests.networks import mx


@pytest.mark.parametrize(
    ("fields", "code", "by_rows"),
    [
        ({}, False, True),
        ({"content_type": "Text/CSV; charset=utf-8", "accept": "*/*"}, False, True),
        ({"split_type": "Line", "strategy": "SingleRecord"}, False, True),
        ({}, True, False),
        ({"content_type": "text/plain"}, False, False),
        ({"content_type": "application/x-npy"}, False, True),
        ({"content_type": "application/json", "split_type": "Line"}, False, False),
        ({"compression_type": "auto"}, False, True),
        ({"compression_type": "auto", "max_payload": 6}, False, True),
        ({"compression_type": "Gzip", "max_payload": 6, "split_type": "Line"}, False, True),
        ({"accept": "application/x-npy"}, False, False),
        ({"split_type": "RecordIO"}, False, False),
    ],
)
def test_rows_are_chosen_where_they_give_the_same_bytes(fields: dict[str, Any], code: bool, by_rows: bool) -> None:
    assert choose_lane(TransformRequest(**fields), code=code).by_rows is by_rows


def outputs(several: bool) -> Any:
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="x], [y")
    nested = mx.sym.reshape(layer, shape=(0, 3, 1), name="nested")
    return mx.sym.Group([layer, nested, mx.sym.sum(layer, axis=1, name="sum")]) if several else nested


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("accept", ["application/json", "application/jsonlines", "application/x-npy"])
@pytest.mark.parametrize("assemble_with", ["none", "line"])
@pytest.mark.parametrize("strategy", ["multirecord", "singlerecord"])
def test_rows_give_the_bytes_of_answers(
    several: bool, accept: str, assemble_with: str, strategy: str, tmp_path: Path
) -> None:
    model = load_model(
        networks.save(lambda: (outputs(several), (2,)), tmp_path / "model"), output="all" if several else None
    )
    records = [b"1,2\n", b"3,-4\n", b"0.5,0\n"]
    (tmp_path / "a.csv").write_bytes(b"".join(records))
    request = TransformRequest(
        accept=accept, split_type="line", assemble_with=assemble_with, strategy=strategy, max_payload=1
    )
    fastinfer.transform(tmp_path / "a.csv", tmp_path / "out", model, **request.record())
    predictor = Predictor(model)
    bodies = records if strategy == "singlerecord" else [b"".join(records)]
    end = b"\n" if assemble_with == "line" else b""
    expected = b"".join(predictor.answer(body, "text/csv", accept)[0] + end for body in bodies)
    assert (tmp_path / "out" / "a.csv.out").read_bytes() == expected
