"""The SDK's Transformer: what its jobs are started with, and which job it waits for or stops."""

from __future__ import annotations

from fastinfer.sagemaker import Transformer
from fastinfer.sagemaker.image_uris import INFERENCE, image_uri
from tests.sagemaker.cloud import Cloud
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
