"""The estimator: a training that is started, waited for and attached to, and what AWS may refuse."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable

import pytest

from fastinfer.errors import ServiceError
from fastinfer.sagemaker import MXNet, Session, jobs
from fastinfer.sagemaker.logs import TRAINING
from fastinfer.sagemaker.s3 import S3Downloader
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.conftest import VERSION
from tests.sagemaker.test_cloud import archive


def test_a_training_that_is_attached_to_keeps_what_it_was_started_with(aws: Cloud, script: str) -> None:
    bucket = aws.make_bucket("adapter-tests")
    aws.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=archive({"model-symbol.json": "{}"}))
    aws.pretend(f"s3://{bucket}/model.tar.gz")
    estimator = MXNet(
        script,
        role=aws.role,
        instance_type="ml.m5.large",
        hyperparameters={"learning-rate": 0.1, "name": "a b"},
        volume_size=9,
        max_run=77,
        enable_network_isolation=True,
        base_job_name="kept",
        **VERSION,
    )
    estimator.fit(wait=False)
    attached = MXNet.attach(str(estimator.latest_training_job))
    facts = jobs.describe(Session(), TRAINING, str(estimator.latest_training_job))
    assert attached.model_data == facts["ModelArtifacts"]["S3ModelArtifacts"]
    for name in ("hyperparameters", "volume_size", "max_run", "enable_network_isolation", "base_job_name", "role"):
        assert getattr(attached, name) == getattr(estimator, name), name
    transformer = attached.transformer(1, "ml.m4.xlarge")
    made = aws.client("sagemaker").describe_model(ModelName=transformer.model_name)
    # The image that serves, not the one that trained; the code that trained, from where it was put then.
    assert "/mxnet-inference:1.9.0-cpu-py38" in made["PrimaryContainer"]["Image"]
    assert transformer.model_name.startswith("kept-")
    assert made["PrimaryContainer"]["Environment"]["SAGEMAKER_PROGRAM"] == "script.py"
    model = S3Downloader.read_bytes(made["PrimaryContainer"]["ModelDataUrl"])
    with tarfile.open(fileobj=io.BytesIO(model)) as tar:
        assert sorted(tar.getnames()) == ["code/script.py", "model-symbol.json"]


def test_the_framework_is_not_imported_by_the_adapter() -> None:
    code = "import sys, fastinfer.sagemaker.mxnet; print([n for n in ('mxnet', 'boto3', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_throttling_is_retried(train: Callable[..., MXNet], aws: Cloud) -> None:
    aws.throttle("CreateTrainingJob", 2)
    aws.throttle("DescribeTrainingJob", 2)
    train("pass").fit()
    assert len(aws.requests("CreateTrainingJob")) == 3


def test_a_wait_outlasts_throttling_that_botocore_gives_up_on(
    train: Callable[..., MXNet], aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    estimator = train("pass")
    estimator.fit(wait=False)
    aws.throttle("DescribeTrainingJob", 5)
    aws.fail("DescribeTrainingJob", "InternalFailure", "not now", status=500)
    estimator.wait()
    assert len(aws.requests("DescribeTrainingJob")) >= 7


def test_a_throttling_that_does_not_end_is_an_error_of_the_service(
    train: Callable[..., MXNet], aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    aws.throttle("CreateTrainingJob", 2)
    with pytest.raises(ServiceError, match="Rate exceeded") as caught:
        train("pass").fit()
    assert (caught.value.code, caught.value.exit_code) == ("aws_throttled", 6)


def test_a_quota_is_reported_with_what_to_do(train: Callable[..., MXNet], aws: Cloud) -> None:
    aws.refuse_instances("ml.p3.16xlarge")
    with pytest.raises(ServiceError, match=r"ml\.p3\.16xlarge for training job usage.*Hint.*Service Quotas") as caught:
        train("pass", instance_type="ml.p3.16xlarge").fit()
    assert caught.value.code == "quota_exceeded"


def test_a_missing_bucket_is_an_error_of_the_service(
    train: Callable[..., MXNet], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServiceError, match="nobodys-bucket-at-all") as caught:
        train("pass", output_path="s3://nobodys-bucket-at-all/x").fit()
    assert caught.value.code == "aws_missing"
    with pytest.raises(ServiceError, match="nobodys-bucket-at-all") as caught:
        train("pass").fit({"train": "s3://nobodys-bucket-at-all/x"})
    assert "No S3 objects found" in str(caught.value)
    assert "started" not in capsys.readouterr().out


def test_a_role_that_jobs_cannot_run_as_is_an_error_of_the_service(train: Callable[..., MXNet]) -> None:
    with pytest.raises(ServiceError, match="Could not assume role"):
        train("pass", role="arn:aws:iam::123456789012:role/nobody").fit()
