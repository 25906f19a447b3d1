"""One job, four ways to write it: the command, a job file, the function and the adapter's local mode give the same objects."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastinfer
from fastinfer.commands import transform as command
from fastinfer.handlers.predictor import Predictor
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.sagemaker import LocalSession
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.requests import transform_request
from fastinfer.sagemaker.transform_job import Transform
from tests.conftest import csv, read_tree


@pytest.fixture
def job(tmp_path: Path, digits: np.ndarray) -> dict[str, Any]:
    """A job with gzip, lines, filters, a join and a manifest; beside its objects one that it does not name."""
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    for number in range(3):
        lines = csv(digits[3 * number : 3 * number + 3]).splitlines()
        text = b"".join(b"id %d%d,%s\n" % (number, index, line) for index, line in enumerate(lines))
        (folder / f"{number}.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "list.json").write_text(json.dumps([{"prefix": f"{tmp_path}/in/"}, "sub/2.csv.gz", "sub/0.csv.gz"]))
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    pack_folder(tmp_path / "model", tmp_path / "model.tar.gz")
    return transform_request(
        "job",
        str(tmp_path / "model.tar.gz"),
        str(tmp_path / "list.json"),
        str(tmp_path / "job-out"),
        instance_count=1,
        instance_type="ml.m4.xlarge",
        data_type="ManifestFile",
        content_type="text/csv",
        compression_type="Gzip",
        split_type="Line",
        assemble_with="Line",
        accept="text/csv",
        input_filter="$[1:]",
        output_filter="$[0,-1]",
        join_source="Input",
    )


def test_every_door_gives_the_same_objects(
    job: dict[str, Any], tmp_path: Path, digits: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json"), "--exact"]) == 0
    assert "note: TransformResources: without meaning on this machine" in capsys.readouterr().err
    found = read_tree(tmp_path / "job-out")

    predictor = Predictor(SHIPPED_MODEL, exact=True)
    expected = {}
    for number in (0, 2):
        answer, _ = predictor.answer(csv(digits[3 * number : 3 * number + 3]), "text/csv", "text/csv")
        lines = enumerate(answer.decode().splitlines())
        text = "".join(f"id {number}{index},{line.rpartition(',')[2]}\n" for index, line in lines)
        expected[f"sub/{number}.csv.gz.out"] = text.encode()
    assert found == expected

    options = "--manifest --compression-type gzip --split-type line --assemble-with line --accept text/csv --join-source input"
    filters = ["--input-filter", "$[1:]", "--output-filter", "$[0,-1]", "--max-payload", "6", "--exact"]
    places = [str(tmp_path / "list.json"), str(tmp_path / "typed"), "--model", str(SHIPPED_MODEL)]
    assert command.main([*places, *options.split(), *filters]) == 0
    assert read_tree(tmp_path / "typed") == expected

    fastinfer.transform(
        tmp_path / "list.json", tmp_path / "function", SHIPPED_MODEL, data_type="ManifestFile", compression_type="Gzip",
        split_type="Line", assemble_with="Line", accept="text/csv", join_source="Input", input_filter="$[1:]",
        output_filter="$[0,-1]", max_payload=6, exact=True,
    )  # fmt: skip
    assert read_tree(tmp_path / "function") == expected

    request = {**job, "Model": {"PrimaryContainer": {"ModelDataUrl": job["ModelName"]}}}
    request["TransformOutput"]["S3OutputPath"] = str(tmp_path / "adapter")
    Transform(tmp_path / "run", request, LocalSession()).run()
    assert read_tree(tmp_path / "adapter") == expected


def test_options_that_a_job_says_itself_are_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json"), "--split-type", "line"]) == 2
    assert "--split-type cannot be given with --job, which says it" in capsys.readouterr().err
    job["ModelName"] = "my-model"
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json")]) == 2
    assert (
        "the job's model 'my-model' is not on this machine. Hint: name its files with --model"
        in capsys.readouterr().err
    )
    job["TransformOutput"].update(S3OutputPath="s3://bucket/out", KmsKeyId="mine")
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json")]) == 2
    assert "the job's KmsKeyId is not supported for results on S3" in capsys.readouterr().err
