"""A CreateTransformJob request to what a run is asked to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import ConfigError
from fastinfer.sagemaker.job_file import OF_AN_ANSWER, SHAPE, read_job_file, read_request
from fastinfer.sagemaker.requests import transform_request


def create(**fields: Any) -> dict[str, Any]:
    """What the SDK-like adapter sends."""
    return transform_request(
        "job", "model", "s3://in/", "s3://out/", **{"instance_count": 1, "instance_type": "ml.m4.xlarge", **fields}
    )


def test_what_a_job_leaves_out_has_the_defaults_of_the_service() -> None:
    job = read_request(create())
    assert (job.source, job.output) == ("s3://in/", "s3://out/")
    assert job.request == TransformRequest(content_type="application/octet-stream", max_payload=6)


def test_every_field_has_its_place() -> None:
    job = read_request(
        create(
            data_type="ManifestFile",
            content_type="text/csv",
            compression_type="Gzip",
            split_type="Line",
            strategy="SingleRecord",
            assemble_with="Line",
            accept="text/csv",
            max_payload=0,
            max_concurrent_transforms=4,
            environment={"A": "job"},
            input_filter="$[1:]",
            output_filter="$[0,-1]",
            join_source="Input",
        ),
        {"A": "model", "B": "model"},
    )
    assert job.request == TransformRequest(
        data_type="manifestfile",
        content_type="text/csv",
        accept="text/csv",
        compression_type="gzip",
        split_type="line",
        strategy="singlerecord",
        max_payload=0,
        assemble_with="line",
        input_filter="$[1:]",
        output_filter="$[0,-1]",
        join_source="input",
        env={"A": "job", "B": "model"},
        max_concurrent_transforms=4,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split_type": "TFRecord"}, "SplitType 'TFRecord' is not supported"),
        ({"data_type": "AugmentedManifestFile"}, "S3DataType 'AugmentedManifestFile' is not supported"),
        ({"max_payload": 101}, "MaxPayloadInMB must be a whole number from 0 to 100"),
        ({"strategy": "SingleRecord"}, "BatchStrategy SingleRecord requires SplitType Line or RecordIO"),
    ],
)
def test_what_is_refused_is_named_as_in_the_api(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_request(create(**fields))


def test_a_job_without_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="the job has no S3Uri"):
        read_request({})


def shape_of(shape: Any) -> Any:
    """A shape of botocore's model in the form of ours."""
    if shape.type_name == "structure":
        return {name: shape_of(member) for name, member in shape.members.items()}
    return {"*": None} if shape.type_name == "map" else None


def test_the_fields_are_those_of_botocores_model_of_the_service() -> None:
    service = botocore.session.get_session().get_service_model("sagemaker")
    create = shape_of(service.operation_model("CreateTransformJob").input_shape)
    assert create == SHAPE
    answer = shape_of(service.operation_model("DescribeTransformJob").output_shape)
    assert {*answer} - {*create} | {"ResponseMetadata"} == {*OF_AN_ANSWER}
    assert all(answer[name] == create[name] for name in answer if name in create)


# What `aws sagemaker create-transform-job --generate-cli-skeleton` prints, with the places filled in.
SKELETON: dict[str, Any] = {
    "TransformJobName": "",
    "ModelName": "m.tar.gz",
    "MaxConcurrentTransforms": 0,
    "ModelClientConfig": {"InvocationsTimeoutInSeconds": 0, "InvocationsMaxRetries": 0},
    "MaxPayloadInMB": 0,
    "BatchStrategy": "MultiRecord",
    "Environment": {"KeyName": ""},
    "TransformInput": {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "/data/in"}},
        "ContentType": "text/csv",
        "CompressionType": "Gzip",
        "SplitType": "Line",
    },
    "TransformOutput": {"S3OutputPath": "file:///data/out", "Accept": "", "AssembleWith": "None", "KmsKeyId": ""},
    "DataCaptureConfig": {"DestinationS3Uri": "", "KmsKeyId": "", "GenerateInferenceId": True},
    "TransformResources": {"InstanceType": "ml.m4.xlarge", "InstanceCount": 0, "VolumeKmsKeyId": ""},
    "DataProcessing": {"InputFilter": "", "OutputFilter": "", "JoinSource": "None"},
    "Tags": [{"Key": "", "Value": ""}],
    "ExperimentConfig": {"ExperimentName": "", "TrialName": "", "TrialComponentDisplayName": "", "RunName": ""},
}


def write(folder: Path, content: Any) -> str:
    path = folder / "job.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_skeleton_that_was_filled_in_is_a_job(tmp_path: Path) -> None:
    job, model, unused = read_job_file(write(tmp_path, SKELETON))
    assert (job.source, job.output, model) == ("/data/in", "file:///data/out", "m.tar.gz")
    assert job.request == TransformRequest(
        content_type="text/csv", compression_type="gzip", split_type="line", max_payload=0, max_concurrent_transforms=0
    )
    assert unused == ["DataCaptureConfig", "ModelClientConfig", "TransformResources"]


def test_the_answer_about_a_job_is_a_job(tmp_path: Path) -> None:
    answer = {
        **create(split_type="Line", content_type="text/csv"),
        "TransformJobArn": "arn:...",
        "TransformJobStatus": "Failed",
        "CreationTime": "2026-01-01T00:00:00+00:00",
    }
    job, model, _ = read_job_file(write(tmp_path, answer))
    assert (job, model) == (read_request(create(split_type="Line", content_type="text/csv")), "model")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object"),
        ({**SKELETON, "Instance": 1}, "has no field Instance"),
        ({**SKELETON, "DataProcessing": ["$[0]"]}, "expected an object for DataProcessing"),
        ({**SKELETON, "Environment": "x"}, "expected an object for Environment"),
        (
            {"TransformInput": {"DataSource": {"S3DataSource": "s3://in/"}}},
            r"expected an object for TransformInput\.DataSource\.S3DataSource",
        ),
        (
            {"TransformInput": {"SplitTyp": "Line", "DataSource": {"X": 1}}},
            r"TransformInput\.SplitTyp, TransformInput\.DataSource\.X",
        ),
    ],
)
def test_what_is_no_job_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_job_file(write(tmp_path, content))
    assert caught.value.code == "bad_job_file"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_job_file(str(tmp_path / "none"))


def test_a_join_of_rows_requires_lines_as_on_aws() -> None:
    with pytest.raises(ConfigError, match="JoinSource Input requires SplitType Line and AssembleWith Line"):
        read_request(create(content_type="text/csv", split_type="Line", join_source="Input"))
