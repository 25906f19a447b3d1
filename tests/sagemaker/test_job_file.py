"""A CreateTransformJob request to what a run is asked to do."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import ConfigError
from fastinfer.sagemaker.job_file import read_request
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
        ({"strategy": "SingleRecord"}, "BatchStrategy singlerecord requires SplitType line or recordio"),
    ],
)
def test_what_is_refused_is_named_as_in_the_api(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_request(create(**fields))


def test_a_job_without_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="the job has no S3Uri"):
        read_request({})
