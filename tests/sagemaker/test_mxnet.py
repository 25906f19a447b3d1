"""The estimator: a training that is started, waited for and attached to, and what AWS may refuse."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import MXNet, Session, jobs
from fastinfer.sagemaker.logs import TRAINING
from fastinfer.sagemaker.s3 import S3Downloader
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.conftest import VERSION
from tests.sagemaker.fakes import Account
from tests.sagemaker.test_cloud import archive, members


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
        distribution={"mpi": {"enabled": True, "processes_per_host": 2, "custom_mpi_options": "-v"}},
        **VERSION,
    )
    estimator.fit(wait=False)
    attached = MXNet.attach(str(estimator.latest_training_job))
    facts = jobs.describe(Session(), TRAINING, str(estimator.latest_training_job))
    assert attached.model_data == facts["ModelArtifacts"]["S3ModelArtifacts"]
    for name in (
        "hyperparameters",
        "volume_size",
        "max_run",
        "enable_network_isolation",
        "base_job_name",
        "role",
        "distribution",
    ):
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


# What is asked of a service that records it

IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my-image:latest"
ARN = "arn:aws:iam::1:role/mine"
MODEL = "s3://bucket/job/output/model.tar.gz"


@pytest.fixture
def account() -> Account:
    done = {"TrainingJobStatus": "Completed", "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/elsewhere.tar.gz"}}
    trained = archive({"model-symbol.json": "{}"})
    return Account(
        {MODEL: trained, "s3://bucket/elsewhere.tar.gz": trained},
        describe_training_job=done,
    )


def estimator(account: Account, script: str, **more: Any) -> MXNet:
    return MXNet(script, **{"role": ARN, "sagemaker_session": account, **VERSION, **more})


def test_before_a_training_there_is_nothing_to_wait_for_or_serve(account: Account, script: str) -> None:
    made = estimator(account, script)
    assert (made.latest_training_job, made.model_data) == (None, None)
    for call, message in ((made.wait, "no training was started"), (made.transformer, "there is no trained model")):
        with pytest.raises(ConfigError, match=rf"{message}\. Hint: call fit\(\) first") as caught:
            call()
        assert caught.value.code == "not_started"
    assert account.service.calls == []


def test_a_wrong_version_is_refused_before_anything_is_uploaded(account: Account, script: str) -> None:
    with pytest.raises(ConfigError, match=r"0\.1"):
        estimator(account, script, framework_version="0.1")
    assert (account.puts, account.service.calls) == ([], [])


def test_the_code_is_uploaded_before_the_training_starts_and_named_in_it(account: Account, script: str) -> None:
    made = estimator(account, script)
    made.fit(wait=False, job_name="job")
    (request,) = account.service.requests("create_training_job")
    code = "s3://bucket/job/source/sourcedir.tar.gz"
    assert [put.uri for put in account.puts] == [code]
    assert json.loads(request["HyperParameters"]["sagemaker_submit_directory"]) == code
    assert json.loads(request["HyperParameters"]["sagemaker_program"]) == "script.py"
    assert (request["TrainingJobName"], request["RoleArn"]) == ("job", ARN)
    assert "/mxnet-training:1.9.0-cpu-py38" in request["AlgorithmSpecification"]["TrainingImage"]
    # The default is the bucket itself, with the slash that the SDK's requests have.
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://bucket/"
    assert (made.latest_training_job, made.model_data) == ("job", MODEL)
    assert account.shown.getvalue().splitlines()[-1] == "training job job: started"


def test_a_training_that_is_refused_leaves_no_job_to_wait_for(account: Account, script: str) -> None:
    account.service.answers["create_training_job"] = ServiceError("denied", code="aws_denied")
    made = estimator(account, script)
    with pytest.raises(ServiceError, match="denied"):
        made.fit(job_name="job")
    assert (made.latest_training_job, made.model_data) == (None, None)


def test_after_a_wait_the_model_is_where_the_service_says(account: Account, script: str) -> None:
    made = estimator(account, script)
    made.fit(job_name="job", logs=False)
    assert made.model_data == "s3://bucket/elsewhere.tar.gz"


@pytest.mark.parametrize(
    ("more", "base"),
    [({}, "mxnet-training"), ({"image_uri": IMAGE}, "my-image"), ({"base_job_name": "mine"}, "mine")],
)
def test_jobs_models_and_transforms_are_named_after_the_training(
    more: dict[str, str], base: str, account: Account, script: str
) -> None:
    made = estimator(account, script, **more)
    made.fit(wait=False)
    assert jobs.base_of(str(made.latest_training_job)) == base
    assert made.model_data is not None
    account.objects[made.model_data] = account.objects[MODEL]
    transformer = made.transformer()
    assert jobs.base_of(transformer.model_name) == base
    assert transformer.base_transform_job_name == base


def serve(account: Account, script: str, more: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    made = estimator(account, script, **more)
    made.fit(wait=False, job_name="job")
    made.transformer(model_name="model", **arguments)
    (request,) = account.service.requests("create_model")
    return request


def test_the_served_model_holds_its_code_and_its_container_is_told(account: Account, script: str) -> None:
    request = serve(account, script, {"container_log_level": 10}, model_server_workers=3)
    container = request["PrimaryContainer"]
    assert "/mxnet-inference:1.9.0-cpu-py38" in container["Image"]
    assert container["Environment"] == {
        "SAGEMAKER_PROGRAM": "script.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "10",
        "SAGEMAKER_REGION": "us-west-2",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
    }
    assert sorted(members(account.objects[container["ModelDataUrl"]])) == ["code/script.py", "model-symbol.json"]
    assert (request["ExecutionRoleArn"], "VpcConfig" in request) == (ARN, False)


def test_a_container_of_an_old_version_downloads_the_code_itself(account: Account, script: str) -> None:
    container = serve(account, script, {"framework_version": "1.3.0", "py_version": "py3"})["PrimaryContainer"]
    assert container["Environment"]["SAGEMAKER_SUBMIT_DIRECTORY"] == "s3://bucket/job/source/sourcedir.tar.gz"
    assert container["ModelDataUrl"] == MODEL
    assert len(account.puts) == 1  # the code alone


def test_a_model_has_the_trainings_role_tags_vpc_and_isolation_unless_others_are_named(
    account: Account, script: str
) -> None:
    of_training = {
        "tags": {"a": "b"},
        "subnets": ["s"],
        "security_group_ids": ["g"],
        "enable_network_isolation": True,
    }
    request = serve(account, script, of_training)
    assert request["Tags"] == [{"Key": "a", "Value": "b"}]
    assert request["VpcConfig"] == {"Subnets": ["s"], "SecurityGroupIds": ["g"]}
    assert request["EnableNetworkIsolation"] is True
    account.service.calls.clear()
    other = {"tags": {"c": "d"}, "role": f"{ARN}-other", "enable_network_isolation": False}
    request = serve(account, script, of_training, **other)
    assert request["Tags"] == [{"Key": "c", "Value": "d"}]
    assert request["ExecutionRoleArn"] == f"{ARN}-other"
    assert not request.get("EnableNetworkIsolation")


def test_the_transformer_has_what_it_was_asked_for_and_the_trainings_tags(account: Account, script: str) -> None:
    made = estimator(account, script, tags={"a": "b"})
    made.fit(wait=False, job_name="job")
    asked = {
        "strategy": "SingleRecord",
        "assemble_with": "Line",
        "output_path": "s3://b/out",
        "output_kms_key": "alias/out",
        "accept": "text/csv",
        "max_concurrent_transforms": 3,
        "max_payload": 7,
        "env": {"A": "b"},
        "volume_kms_key": "alias/volume",
    }
    transformer = made.transformer(2, "ml.c5.xlarge", model_name="model", **asked)
    assert {name: getattr(transformer, name) for name in asked} == asked
    assert (transformer.model_name, transformer.instance_count, transformer.instance_type) == (
        "model",
        2,
        "ml.c5.xlarge",
    )
    assert (transformer.tags, transformer.sagemaker_session) == ({"a": "b"}, account)


def test_a_training_on_aws_needs_a_role(account: Account, script: str) -> None:
    with pytest.raises(ConfigError) as caught:
        estimator(account, script, role=None).fit()
    assert caught.value.code == "no_role"
    assert account.puts == []
