"""The SDK's Transformer: what its jobs are started with, and which job it waits for or stops."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import Transformer, jobs
from fastinfer.sagemaker.image_uris import INFERENCE, image_uri
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.fakes import Account
from tests.sagemaker.test_cloud import archive


def test_a_transform_that_is_attached_to_keeps_what_it_was_started_with(aws: Cloud) -> None:
    bucket = aws.make_bucket("adapter-tests")
    aws.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=archive({"model-symbol.json": "{}"}))
    image = image_uri(INFERENCE, aws.region, framework_version="1.9.0", py_version="py38", instance_type="ml.m4.xlarge")
    aws.client("s3").put_object(Bucket=bucket, Key="in/x.csv", Body=b"1\n")
    container = {"Image": image, "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
    aws.client("sagemaker").create_model(ModelName="attached", ExecutionRoleArn=aws.role, PrimaryContainer=container)
    started = Transformer(
        "attached",
        1,
        "ml.m4.xlarge",
        strategy="SingleRecord",
        assemble_with="Line",
        output_path=f"s3://{bucket}/out",
        output_kms_key="alias/out",
        accept="text/csv",
        max_concurrent_transforms=3,
        max_payload=7,
        env={"A": "b"},
        base_transform_job_name="kept",
        volume_kms_key="alias/volume",
    )
    started.transform(f"s3://{bucket}/in/", content_type="text/csv", split_type="Line", wait=False)
    attached = Transformer.attach(str(started.latest_transform_job))
    for name in vars(started):
        if name not in ("sagemaker_session", "tags", "_made_output_path"):
            assert getattr(attached, name) == getattr(started, name), name


def status(status: str, **more: str) -> dict[str, str]:
    return {"TransformJobStatus": status, **more}


def transformer(account: Account, **more: Any) -> Transformer:
    return Transformer("m", 1, "ml.m4.xlarge", sagemaker_session=account, **more)


def test_before_a_job_there_is_nothing_to_wait_for_or_stop() -> None:
    account = Account()
    for call in (transformer(account).wait, transformer(account).stop_transform_job):
        with pytest.raises(ConfigError, match=r"no job was started\. Hint: call transform\(\) first") as caught:
            call()
        assert caught.value.code == "not_started"
    assert account.service.calls == []


def test_each_job_has_results_of_its_own_unless_a_place_was_given() -> None:
    account = Account()
    started = transformer(account, base_transform_job_name="base")
    for name in ("one", "two"):
        started.transform("s3://b/in", job_name=name, wait=False)
        assert started.output_path == f"s3://bucket/{name}"
        assert started.latest_transform_job == name
    given = transformer(account, output_path="s3://b/out")
    for name in ("three", "four"):
        given.transform("s3://b/in", job_name=name, wait=False)
    places = [each["TransformOutput"]["S3OutputPath"] for each in account.service.requests("create_transform_job")]
    assert places == ["s3://bucket/one", "s3://bucket/two", "s3://b/out", "s3://b/out"]
    assert account.shown.getvalue().splitlines()[0] == "transform job one: started"


def test_a_job_is_named_after_its_base_else_after_the_models_image() -> None:
    account = Account(describe_model={"PrimaryContainer": {"Image": "1.ecr.aws/my-image:latest"}})
    transformer(account, base_transform_job_name="base").transform("s3://b/in", wait=False)
    transformer(account).transform("s3://b/in", wait=False)
    names = [each["TransformJobName"] for each in account.service.requests("create_transform_job")]
    assert [jobs.base_of(name) for name in names] == ["base", "my-image"]
    assert account.service.requests("describe_model") == [{"ModelName": "m"}]


def test_a_request_has_what_was_asked_for_and_nothing_else() -> None:
    account = Account()
    transformer(account, output_path="s3://b/out").transform("s3://b/in", job_name="job", wait=False)
    assert account.service.requests("create_transform_job") == [
        {
            "TransformJobName": "job",
            "ModelName": "m",
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}},
            "TransformOutput": {"S3OutputPath": "s3://b/out"},
            "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m4.xlarge"},
            "Environment": {},
        }
    ]


def test_transforming_waits_unless_it_is_told_not_to() -> None:
    account = Account(describe_transform_job=status("Failed", FailureReason="no luck"))
    transformer(account, output_path="s3://b/out").transform("s3://b/in", job_name="job", wait=False)
    assert account.service.requests("describe_transform_job") == []
    with pytest.raises(jobs.JobFailed, match="job: the transform job failed: no luck"):
        transformer(account, output_path="s3://b/out").transform("s3://b/in", job_name="job", logs=False)


def test_stopping_waits_for_the_end_and_is_no_error() -> None:
    account = Account(describe_transform_job=[status("InProgress"), status("Stopping"), status("Stopped")])
    started = transformer(account, output_path="s3://b/out")
    started.transform("s3://b/in", job_name="job", wait=False)
    started.stop_transform_job()
    assert account.service.requests("stop_transform_job") == [{"TransformJobName": "job"}]
    assert len(account.service.requests("describe_transform_job")) >= 3
    failed = Account(describe_transform_job=status("Failed", FailureReason="no luck"))
    started = transformer(failed, output_path="s3://b/out")
    started.transform("s3://b/in", job_name="job", wait=False)
    with pytest.raises(jobs.JobFailed, match="no luck"):
        started.stop_transform_job()
    started.stop_transform_job(wait=False)


def test_local_paths_are_for_local_jobs() -> None:
    account = Account()
    with pytest.raises(ConfigError, match=r"expected a URI of S3, found '/tmp/in'") as caught:
        transformer(account, output_path="s3://b/out").transform("/tmp/in", job_name="job")
    assert caught.value.code == "bad_place"
    assert account.service.calls == []


def test_a_job_that_is_not_there_cannot_be_attached_to() -> None:
    account = Account(describe_transform_job=ServiceError("not found", code="aws_missing"))
    with pytest.raises(ConfigError) as caught:
        Transformer.attach("job", account)
    assert caught.value.code == "no_such_job"
