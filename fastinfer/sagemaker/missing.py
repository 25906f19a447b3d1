"""Names of SageMaker's SDK that are not here, each with what to use instead."""

from __future__ import annotations

from typing import NoReturn

from ..errors import ConfigError

SERVE = "`fastinfer serve MODEL` answers as an endpoint does; on AWS create it with boto3"
INSTEAD = {
    "deploy": SERVE,
    "predict": SERVE,
    "delete_endpoint": SERVE,
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


class Missing:
    """Answers for names of SageMaker's SDK that a class does not have."""

    def __getattr__(self, name: str) -> NoReturn:
        kind = type(self).__name__
        if name in INSTEAD:
            raise NotHere(f"{kind}.{name} of SageMaker's SDK is not here", code="not_here", hint=INSTEAD[name])
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")
