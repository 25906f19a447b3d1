"""Names of SageMaker's SDK that are not here, each with what to use instead."""

from __future__ import annotations

from typing import NoReturn

from ..errors import ConfigError

SERVE = "MXNetModel(model_data=...).deploy(1, 'local') answers on this machine; on AWS create the endpoint with boto3"
INSTEAD = {
    "deploy": SERVE,
    "predict": SERVE,
    "delete_endpoint": SERVE,
    "predictor_cls": SERVE,
    "serializer": "predict(data, {'ContentType': ...})",
    "deserializer": "predict(data, {'Accept': ...})",
    "update_endpoint": "delete_endpoint() and deploy() again",
    "prepare_container_def": "transformer() or deploy(), which create the model",
    "delete_predictor": "delete_endpoint()",
    "training_image_uri": "image_uri, or fastinfer.sagemaker.image_uris.image_uri",
    "get_vpc_config": "subnets and security_group_ids",
    "get_app_url": "the console of AWS",
    "upload_string_as_file_body": "fastinfer.sagemaker.s3.S3Uploader.upload_string_as_file_body",
    "describe_training_job": "describe_training_job of sagemaker_session.sagemaker_client",
    "describe_transform_job": "describe_transform_job of sagemaker_session.sagemaker_client",
    "wait_for_job": "MXNet.attach(name)",
    "wait_for_transform_job": "Transformer.attach(name).wait()",
    "logs_for_job": "`fastinfer sagemaker status NAME --wait`",
    "logs_for_transform_job": "`fastinfer sagemaker status NAME --wait`",
    "register": "create_model_package of boto3's client",
    "create_model": "transformer(), which creates the model",
    "compile_model": "SageMaker Neo, by boto3's client",
    "enable_default_profiling": "disable_profiler=False",
    "rule_job_summary": "describe_training_job of boto3's client",
    "training_job_analytics": "the metrics in CloudWatch",
    "logs": "wait(logs=True), or `fastinfer sagemaker status NAME --wait`",
    "stop_transform_job": "stop_transform_job of sagemaker_session.sagemaker_client",
    "delete_model": "delete_model of boto3's client",
    "download_data": "fastinfer.sagemaker.s3.S3Downloader",
    "list_s3_files": "fastinfer.sagemaker.s3.S3Downloader.list",
    "read_s3_file": "fastinfer.sagemaker.s3.S3Downloader.read_file",
}


class NotHere(ConfigError, AttributeError):
    """A name of the SDK that fastinfer does not have."""


def refuse_deploy(kind: str, instance_type: str) -> NoReturn:
    """Raises NotHere for an endpoint on AWS."""
    raise NotHere(
        f"{kind}.deploy is here for instance_type='local', found {instance_type!r}", code="not_here", hint=SERVE
    )


class Missing:
    """Answers for names of SageMaker's SDK that a class does not have."""

    def __getattr__(self, name: str) -> NoReturn:
        kind = type(self).__name__
        if name in INSTEAD:
            raise NotHere(f"{kind}.{name} of SageMaker's SDK is not here", code="not_here", hint=INSTEAD[name])
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")
