"""A channel's configuration is that of the API, with nothing in it that was not asked for."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.sagemaker import TrainingInput

SOURCE = {"S3DataType": "S3Prefix", "S3Uri": "s3://b/train", "S3DataDistributionType": "FullyReplicated"}


def test_a_place_alone_is_a_prefix_that_every_instance_gets() -> None:
    assert TrainingInput("s3://b/train").config == {"DataSource": {"S3DataSource": SOURCE}}


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("compression", "Gzip", "CompressionType"),
        ("content_type", "text/csv", "ContentType"),
        ("record_wrapping", "RecordIO", "RecordWrapperType"),
        ("input_mode", "Pipe", "InputMode"),
        # Not None: what the API makes of it is its own matter.
        ("content_type", "", "ContentType"),
    ],
)
def test_an_optional_argument_is_a_field_of_the_channel(argument: str, value: str, field: str) -> None:
    arguments: dict[str, Any] = {argument: value}
    assert TrainingInput("s3://b/train", **arguments).config == {"DataSource": {"S3DataSource": SOURCE}, field: value}


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("distribution", "ShardedByS3Key", "S3DataDistributionType"),
        ("s3_data_type", "ManifestFile", "S3DataType"),
        ("s3_data", "s3://b/test", "S3Uri"),
    ],
)
def test_what_is_of_the_source_is_a_field_of_the_source(argument: str, value: str, field: str) -> None:
    arguments: dict[str, Any] = {"s3_data": "s3://b/train", argument: value}
    assert TrainingInput(**arguments).config == {"DataSource": {"S3DataSource": {**SOURCE, field: value}}}


def test_the_arguments_have_the_sdks_order() -> None:
    made = TrainingInput("s3://b/x", "ShardedByS3Key", "Gzip", "text/csv", "RecordIO", "ManifestFile", "Pipe").config
    source = {"S3DataType": "ManifestFile", "S3Uri": "s3://b/x", "S3DataDistributionType": "ShardedByS3Key"}
    assert made == {
        "DataSource": {"S3DataSource": source},
        "CompressionType": "Gzip",
        "ContentType": "text/csv",
        "RecordWrapperType": "RecordIO",
        "InputMode": "Pipe",
    }
