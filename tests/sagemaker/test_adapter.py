"""The adapter's own decisions: role, bucket, names and URIs; which errors are raised, and which secrets removed."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import boto3
import pytest

from fastinfer.errors import ConfigError, InputError, ServiceError
from fastinfer.sagemaker import LocalSession, MXNet, Session, Transformer, get_execution_role, jobs, session
from fastinfer.sagemaker.image_uris import INFERENCE, image_uri
from fastinfer.sagemaker.logs import TRAINING
from fastinfer.sagemaker.requests import format_tags, vpc_config
from fastinfer.sagemaker.s3 import S3Downloader, S3Uploader
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.test_cloud import archive

VERSION = {"framework_version": "1.9.0", "py_version": "py38"}


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text("print('hello')\n")
    return str(path)


def test_old_names_are_accepted_and_unknown_ones_are_not(script: str) -> None:
    estimator = MXNet(
        script,
        train_instance_count=2,
        train_instance_type="ml.p3.2xlarge",
        train_volume_size=7,
        train_max_run=60,
        train_max_wait=120,
        train_use_spot_instances=True,
        image_name="mine:latest",
        sagemaker_session=Session(region="us-west-2"),
    )
    assert (estimator.instance_count, estimator.instance_type, estimator.volume_size) == (2, "ml.p3.2xlarge", 7)
    assert (estimator.max_run, estimator.max_wait, estimator.use_spot_instances) == (60, 120, True)
    assert estimator.image_uri == "mine:latest"
    with pytest.raises(ConfigError, match="'train_instance_typ'"):
        MXNet(script, train_instance_typ="ml.m4.xlarge")


@pytest.mark.parametrize("base", ["b", "mxnet-training", "x" * 100, "ends-with-hyphens" + "-" * 40])
def test_names_fit(base: str) -> None:
    name = jobs.make_name(base)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", name)
    assert re.search(r"-\d{4}(-\d\d){5}-\d{3}$", name)


def test_a_jobs_name_is_the_job() -> None:
    name = jobs.JobName("a-job", LocalSession(), TRAINING)
    assert (name, name.name, name.job_name) == ("a-job", "a-job", "a-job")
    assert json.dumps(name) == '"a-job"'
    with pytest.raises(ConfigError, match="there is no local training job a-job") as caught:
        name.describe()
    assert caught.value.code == "no_such_job"


def test_tags_are_accepted_in_both_forms() -> None:
    wanted = [{"Key": "team", "Value": "a b"}]
    assert format_tags({"team": "a b"}) == format_tags(wanted) == wanted
    assert format_tags(None) is None


def test_half_a_vpc_is_refused() -> None:
    assert vpc_config(None, None) is None
    with pytest.raises(ConfigError, match="both subnets and security_group_ids"):
        vpc_config(["subnet-1"], None)


def test_the_role_is_the_variables_the_notebooks_or_the_credentials(
    aws: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_execution_role() == aws.role
    metadata = tmp_path / "resource-metadata.json"
    monkeypatch.setattr(session, "NOTEBOOK_METADATA", metadata)
    metadata.write_text(json.dumps({"DomainId": "d-1", "ExecutionRoleArn": "arn:aws:iam::1:role/studio"}))
    assert get_execution_role() == "arn:aws:iam::1:role/studio"
    metadata.write_text("not JSON")
    assert get_execution_role() == aws.role
    monkeypatch.setenv("SAGEMAKER_ROLE", "arn:aws:iam::1:role/named")
    assert get_execution_role() == "arn:aws:iam::1:role/named"
    # A bare name is looked up, with the path that it may have.
    monkeypatch.setenv("SAGEMAKER_ROLE", aws.role.rpartition("/")[2])
    assert get_execution_role() == aws.role
    monkeypatch.setenv("SAGEMAKER_ROLE", "nobodys-role")
    with pytest.raises(ServiceError, match="nobodys-role") as caught:
        get_execution_role()
    assert caught.value.code == "aws_missing"
    with pytest.raises(ConfigError, match="does not create roles"):
        get_execution_role(use_default=True)


@pytest.mark.usefixtures("aws")
def test_without_credentials_or_region_the_error_says_what_to_set(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"instance_type='local' needs none") as caught:
        get_execution_role()
    assert caught.value.code == "no_role"
    assert get_execution_role(LocalSession()).endswith(":role/local")
    with pytest.raises(ServiceError) as refused:
        Session(profile="nobodys").boto_session  # noqa: B018
    assert "nobodys" in str(refused.value)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AWS_DEFAULT_REGION"):
        MXNet(script, role="r", **VERSION)


def test_the_default_bucket_is_made_once_and_of_the_accounts_name(aws: Cloud) -> None:
    for _ in range(2):
        assert Session(region="eu-central-1").default_bucket() == "sagemaker-eu-central-1-123456789012"
    made = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]
    assert made.count("sagemaker-eu-central-1-123456789012") == 1
    where = aws.client("s3").get_bucket_location(Bucket="sagemaker-eu-central-1-123456789012")
    assert where["LocationConstraint"] == "eu-central-1"
    # The region that must not be named.
    assert Session(region="us-east-1").default_bucket() == "sagemaker-us-east-1-123456789012"
    assert Session(default_bucket="my-own-bucket").default_uri("a") == "s3://my-own-bucket/a"


def test_objects_are_listed_read_and_fetched_by_every_kind_of_uri(aws: Cloud, tmp_path: Path) -> None:
    bucket = aws.make_bucket("adapter-tests")
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "a.txt").write_text("a")
    (here / "sub" / "b c#.txt").write_text("b")
    (here / ".hidden").write_text("no object")
    there = S3Uploader.upload(str(here), f"s3://{bucket}/x/in")
    assert S3Uploader.upload_string_as_file_body("d", f"s3://{bucket}/x/inner.txt") == f"s3://{bucket}/x/inner.txt"
    assert S3Downloader.list(there) == [f"s3://{bucket}/x/in/{name}" for name in ("a.txt", "sub/b c#.txt")] + [
        f"s3://{bucket}/x/inner.txt"
    ]
    for uri in (str(here), f"file://{here}", f"s3://{bucket}/x/in/"):
        assert len(S3Downloader.list(uri)) == 2
        target = tmp_path / str(abs(hash(uri)))
        assert S3Downloader.download(uri, str(target)) == [f"{target}/a.txt", f"{target}/sub/b c#.txt"]
        assert (target / "sub" / "b c#.txt").read_text() == "b"
        assert S3Downloader.read_file(f"{uri.rstrip('/')}/sub/b c#.txt") == "b"
        with pytest.raises(InputError) as caught:
            S3Downloader.read_file(f"{uri.rstrip('/')}/nothing")
        assert caught.value.code == "no_such_place"


def test_a_key_that_would_leave_the_folder_is_refused(aws: Cloud, tmp_path: Path) -> None:
    bucket = aws.make_bucket("adapter-tests")
    aws.client("s3").put_object(Bucket=bucket, Key="evil/../../outside", Body=b"x")
    with pytest.raises(InputError) as caught:
        S3Downloader.download(f"s3://{bucket}/evil/", str(tmp_path / "inside" / "deep"))
    assert caught.value.code == "unsafe_key"
    assert not (tmp_path / "outside").exists()


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


def test_local_paths_and_local_sessions_are_not_for_jobs_on_aws(aws: Cloud, script: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        MXNet(script, role=aws.role, **VERSION).fit({"train": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        MXNet(script, sagemaker_session=LocalSession(), **VERSION)
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        Transformer("m", 1, "ml.m4.xlarge", sagemaker_session=LocalSession())


def test_boto3_is_asked_for_only_where_it_is_needed() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from fastinfer.errors import ConfigError\n"
        "from fastinfer.sagemaker import Session, get_execution_role\n"
        "try: get_execution_role()\n"
        "except ConfigError as error: print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SAGEMAKER_ROLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "pip install 'fastinfer[sagemaker]'" in done.stdout
    assert "instance_type='local' needs none" in done.stdout


def test_the_framework_is_not_imported_by_the_adapter() -> None:
    code = "import sys, fastinfer.sagemaker.mxnet; print([n for n in ('mxnet', 'boto3', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "SCRIPT is required. Hint: name it, or --attach JOB"),
        (["transform", "in"], "one of --model and --training-job is required"),
        (["transform", "in", "--model", "m", "--training-job", "t"], "one of --model and --training-job is required"),
        (["train", "--attach", "no-such-job", "--local"], "there is no local training job no-such-job"),
        (
            ["transform", "--attach", "no-such-job", "--local", "--no-wait"],
            "there is no local transform job no-such-job",
        ),
        (["train", "x.py", "--framework-version", "1.9.1", "--region", "us-west-2", "--role", "r"], "1.9.1"),
    ],
)
def test_a_wrong_command_is_an_error_of_its_options(arguments: list[str], said: str, local_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastinfer.sagemaker", *arguments], capture_output=True, text=True, cwd=local_root.parent
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("members", "options", "program"),
    [
        ({"model-symbol.json": "{}"}, [], "inference.py"),
        ({"model-symbol.json": "{}", "code/inference.py": "x = 1"}, [], "inference.py"),
        ({"model-symbol.json": "{}", "code/mine.py": "x = 1"}, ["--program", "mine.py"], "mine.py"),
        ({"model-symbol.json": "{}", "code/mine.py": "x = 1"}, [], None),
    ],
)
def test_an_archive_is_served_by_a_module_that_is_there(
    members: dict[str, str], options: list[str], program: str | None, aws: Cloud
) -> None:
    bucket = aws.make_bucket("adapter-tests")
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="given/model.tar.gz", Body=archive(members))
    s3.put_object(Bucket=bucket, Key="data/x.csv", Body=b"1")
    command = [sys.executable, "-m", "fastinfer.sagemaker", "transform", f"s3://{bucket}/data/", "--json", "--no-wait"]
    command += ["--model", f"s3://{bucket}/given/model.tar.gz", "--framework-version", "1.9.0", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if program is None:
        assert done.returncode == 2
        assert "--program NAME" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    made = aws.client("sagemaker").describe_model(ModelName=json.loads(done.stdout)["ModelName"])["PrimaryContainer"]
    assert made["Environment"]["SAGEMAKER_PROGRAM"] == program
    with tarfile.open(fileobj=io.BytesIO(S3Downloader.read_bytes(made["ModelDataUrl"]))) as tar:
        assert f"code/{program}" in tar.getnames()
        assert set(members) <= set(tar.getnames())


@pytest.mark.usefixtures("aws")
def test_calls_without_a_session_share_one_as_long_as_the_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    first = session.default_session()
    assert session.default_session() is first
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert session.default_session() is not first
    assert session.default_session().boto_region_name == "eu-west-1"


def test_the_command_line_transforms_with_the_model_of_a_training(aws: Cloud, script: str) -> None:
    bucket = aws.make_bucket("adapter-tests")
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=archive({"model-symbol.json": "{}"}))
    s3.put_object(Bucket=bucket, Key="data/x.csv", Body=b"1")
    aws.pretend(f"s3://{bucket}/model.tar.gz")
    command = [sys.executable, "-m", "fastinfer.sagemaker"]
    train = [*command, "train", script, "--framework-version", "1.9.0", "--py-version", "py38", "--no-wait"]
    train += ["--job-name", f"cli-{os.getpid()}", "--tag", "team=a b", "--max-run", "99", "--json", "--quiet"]
    done = subprocess.run(train, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert facts["StoppingCondition"]["MaxRuntimeInSeconds"] == 99
    attach = [*command, "train", "--attach", facts["TrainingJobName"], "--poll", "0.1", "--json"]
    done = subprocess.run(attach, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["TrainingJobStatus"] == "Completed"
    assert f"{facts['TrainingJobName']}: Completed" in done.stderr
    transform = [*command, "transform", f"s3://{bucket}/data/", "--training-job", facts["TrainingJobName"]]
    transform += ["--split-type", "Line", "--max-payload", "1", "--output", f"s3://{bucket}/out", "--no-wait", "--json"]
    done = subprocess.run(transform, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert (made["TransformInput"]["SplitType"], made["MaxPayloadInMB"]) == ("Line", 1)
    code = boto3.client("sagemaker").describe_model(ModelName=made["ModelName"])["PrimaryContainer"]["Environment"]
    assert code["SAGEMAKER_PROGRAM"] == "script.py"
