"""A transform job: how objects become requests, and that a model is bound only where it is used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.handlers import hooks
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.sagemaker import LocalSession
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.transform_job import Transform
from tests.conftest import csv, read_tree

BODY = b"1\n22\n333\n4"


def transform(folder: Path, **request: Any) -> Transform:
    full = {
        "Model": {"PrimaryContainer": {"ModelDataUrl": str(folder / "model.tar.gz")}},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3Uri": str(folder / "in")}},
            "ContentType": "text/csv",
            **request.pop("input", {}),
        },
        "TransformOutput": {"S3OutputPath": str(folder / "results"), **request.pop("output", {})},
        **request,
    }
    return Transform(folder / "job", full, LocalSession())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(BODY)
    return tmp_path


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, [(0, BODY)]),
        ({"input": {"SplitType": "Line"}}, [(0, BODY)]),
        (
            {"input": {"SplitType": "Line"}, "BatchStrategy": "SingleRecord"},
            [(0, b"1\n"), (1, b"22\n"), (2, b"333\n"), (3, b"4")],
        ),
    ],
)
def test_an_object_is_one_request_or_one_for_each_line(
    request_: dict[str, Any], expected: list[tuple[int, bytes]], folder: Path
) -> None:
    job = transform(folder, **request_)
    (item,) = job.session.list_objects(str(folder / "in"))
    assert list(job._payloads(item)) == expected


def test_lines_share_requests_up_to_the_limit(folder: Path) -> None:
    job = transform(folder, input={"SplitType": "Line"})
    job.payload_bytes = 5
    (item,) = job.session.list_objects(str(folder / "in"))
    assert list(job._payloads(item)) == [(0, b"1\n22\n"), (2, b"333\n4")]
    job.payload_bytes = 3
    with pytest.raises(InputError, match="larger than MaxPayloadInMB allows") as caught:
        list(job._payloads(item))
    assert caught.value.code == "payload_too_large"


def test_a_limit_of_zero_allows_every_size(folder: Path) -> None:
    (folder / "in" / "x.csv").write_bytes(b"1," * (4 << 20))
    for megabytes, allowed in ((0, True), (6, False)):
        job = transform(folder, MaxPayloadInMB=megabytes)
        (item,) = job.session.list_objects(str(folder / "in"))
        if allowed:
            assert [len(payload) for _, payload in job._payloads(item)] == [8 << 20]
        else:
            with pytest.raises(InputError, match="larger than MaxPayloadInMB allows"):
                list(job._payloads(item))


@pytest.mark.parametrize(("bad", "bound"), [(False, 0), (True, 1)])
def test_a_predictor_is_bound_only_for_what_the_engine_left(
    bad: bool, bound: int, tmp_path: Path, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    pack_folder(tmp_path / "model", tmp_path / "model.tar.gz")
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.txt").write_bytes(b"oops\n" if bad and name == "b" else csv(digits[:1]))
    made = []
    predictor = hooks.Predictor
    monkeypatch.setattr(hooks, "Predictor", lambda *given, **named: made.append(1) or predictor(*given, **named))
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    if bad:
        with pytest.raises(InputError, match=r"1 objects failed.*b\.txt: 1:1: expected a number, found 'oops'"):
            transform(tmp_path).run()
    else:
        transform(tmp_path).run()
    assert len(made) == bound
    assert sorted(read_tree(tmp_path / "results")) == [f"{name}.txt.out" for name in "abc" if not (bad and name == "b")]
