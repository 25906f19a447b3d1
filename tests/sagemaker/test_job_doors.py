"""One job, four ways to write it: the command, a job file, the function and the adapter's local mode give the same objects."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import jsonpath_rfc9535 as oracle
import numpy as np
import pytest

import fastinfer
from fastinfer.commands import transform as command
from fastinfer.engine.verify import verify_run
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


@pytest.fixture(scope="module")
def handler() -> Any:
    """SageMaker's own handler, which the container has for models without code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own imports use what is deprecated
        from sagemaker_mxnet_serving_container.default_inference_handler import DefaultModuleInferenceHandler
    return DefaultModuleInferenceHandler()


def ask(handler: Any, model: Path, body: str, content_type: str, accept: str) -> str:
    """The container's answer to one request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = handler.default_model_fn(str(model))
        data = handler.default_input_fn(body, content_type, loaded)
        return str(handler.default_output_fn(handler.default_predict_fn(data, loaded), accept))


def select(path: str, value: Any) -> list[Any]:
    return [node.value for node in oracle.find(path, value)]


def columns(path: str, row: list[str]) -> str:
    return ",".join(row if path == "$" else select(path, row)) + "\n"


def documented_csv(handler: Any, model: Path, text: str, filters: tuple[str, str], join: str) -> str:
    """AWS's page in a few lines: the columns of the filter are sent; input and prediction are one row, which is filtered."""
    rows = [line.split(",") for line in text.splitlines()]
    sent = "".join(columns(filters[0], row) for row in rows)
    answer = ask(handler, model, sent, "text/csv", "text/csv")
    if (filters[1], join) == ("$", "None"):
        return answer + "\n"  # the answer as it is, and what AssembleWith puts behind it
    answers = answer.splitlines()
    joined = [(row if join == "Input" else []) + answer.split(",") for row, answer in zip(rows, answers)]
    return "".join(columns(filters[1], row) for row in joined)


def documented_json(handler: Any, model: Path, text: str, filters: tuple[str, str], join: str) -> Any:
    document = json.loads(text)
    (sent,) = select(filters[0], document)
    answer = json.loads(ask(handler, model, json.dumps(sent), "application/json", "application/json"))
    if join == "Input" and isinstance(document, dict):
        answer = {**document, "SageMakerOutput": answer}
    elif join == "Input":
        answer = {"SageMakerInput": document, "SageMakerOutput": answer}
    (kept,) = select(filters[1], answer)
    return kept


@pytest.mark.parametrize(
    ("text", "filters", "join"),
    [
        ("a,1,2\nb,3,4\nc,-5e-1,1e3\n", ("$[1:]", "$"), "Input"),
        ("a,1,2\nb,3,4\n", ("$[1:]", "$[0,-1]"), "Input"),
        ("a,1,2\nb,3,4\n", ("$[-2,-1]", "$[1:]"), "Input"),
        ("1,2,x\n3,4,y\n", ("$[0,1]", "$[2:]"), "Input"),
        ("7,1,2\n8,3,4\n", ("$[1:3]", "$"), "None"),
        ("1,2\n3,4\n", ("$", "$[0]"), "None"),
        ('{"id": 7, "x": [[1, 2], [3, 4]]}', ("$.x", "$"), "Input"),
        ('{"id": 7, "x": [[1, 2]]}', ("$.x", "$.SageMakerOutput"), "Input"),
        ('{"id": 7, "x": [[1, 2]]}', ("$['x']", "$"), "None"),
        ("[[1, 2], [3, 4]]", ("$", "$"), "Input"),
        ("[[1, 2], [3, 4]]", ("$", "$.SageMakerInput"), "Input"),
    ],
)
def test_the_container_and_the_documented_rules_give_the_same_from_every_door(
    text: str, filters: tuple[str, str], join: str, handler: Any, linear: Path, tmp_path: Path
) -> None:
    is_csv = not text.startswith(("{", "["))
    content_type, lines = ("text/csv", "Line") if is_csv else ("application/json", "None")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text(text)
    job = transform_request(
        "job", str(linear), str(tmp_path / "in"), str(tmp_path / "file"), instance_count=1, instance_type="local",
        content_type=content_type, accept=content_type, split_type=lines, assemble_with=lines,
        input_filter=filters[0], output_filter=filters[1], join_source=join,
    )  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json"), "--exact", "--quiet"]) == 0

    typed = ["--content-type", content_type, "--accept", content_type, "--split-type", lines, "--assemble-with", lines]
    typed += ["--input-filter", filters[0], "--output-filter", filters[1], "--join-source", join, "--exact", "--quiet"]
    assert command.main([str(tmp_path / "in"), str(tmp_path / "typed"), "--model", str(linear), *typed]) == 0

    fastinfer.transform(
        tmp_path / "in", tmp_path / "function", linear, content_type=content_type, accept=content_type, split_type=lines,
        assemble_with=lines, input_filter=filters[0], output_filter=filters[1], join_source=join, exact=True,
    )  # fmt: skip

    pack_folder(linear, tmp_path / "model.tar.gz")
    request = {**job, "Model": {"PrimaryContainer": {"ModelDataUrl": str(tmp_path / "model.tar.gz")}}}
    request["TransformOutput"]["S3OutputPath"] = str(tmp_path / "adapter")
    Transform(tmp_path / "run", request, LocalSession()).run()

    found = {door: (tmp_path / door / "a.out").read_text() for door in ("file", "typed", "function", "adapter")}
    assert len(set(found.values())) == 1, found
    if is_csv:
        assert found["file"] == documented_csv(handler, linear, text, filters, join)
    else:
        assert json.loads(found["file"]) == documented_json(handler, linear, text, filters, join)


def test_a_jobs_uri_that_ends_within_a_name_selects_what_begins_with_it(linear: Path, tmp_path: Path) -> None:
    for name in ("part-00001", "part-00002.csv", "part-01/x.csv", "part-01/.hidden", "part-1", "other[1]"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("1,2\n")
    job = transform_request(
        "job", str(linear), str(tmp_path / "in" / "part-0"), str(tmp_path / "file"), instance_count=1, instance_type="local",
        content_type="text/csv",
    )  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert command.main(["--job", str(tmp_path / "job.json"), "--quiet"]) == 0
    expected = ["part-00001.out", "part-00002.csv.out", "part-01/x.csv.out"]
    assert sorted(read_tree(tmp_path / "file")) == expected
    assert verify_run(str(tmp_path / "file")) == (3, [], [], 0)
    pack_folder(linear, tmp_path / "model.tar.gz")
    request = {**job, "Model": {"PrimaryContainer": {"ModelDataUrl": str(tmp_path / "model.tar.gz")}}}
    request["TransformOutput"]["S3OutputPath"] = str(tmp_path / "adapter")
    Transform(tmp_path / "run", request, LocalSession()).run()
    assert sorted(read_tree(tmp_path / "adapter")) == expected
