"""A session: its role, region, default bucket and credentials, and what is said where they are missing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import LocalSession, MXNet, Session, get_execution_role, roles, session
from tests.sagemaker.cloud import USER_CREDENTIALS, Cloud
from tests.sagemaker.conftest import VERSION
from tests.sagemaker.fakes import Credentials, Service


@pytest.fixture(autouse=True)
def _no_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is no notebook of SageMaker's, and no role is named."""
    monkeypatch.setattr(roles, "NOTEBOOK_METADATA", tmp_path / "no-notebook.json")
    monkeypatch.delenv("SAGEMAKER_ROLE", raising=False)


def test_the_role_is_the_variables_the_notebooks_or_the_credentials(
    aws: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_execution_role() == aws.role
    metadata = tmp_path / "resource-metadata.json"
    monkeypatch.setattr(roles, "NOTEBOOK_METADATA", metadata)
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
    assert "pip install 'boto3>=1.34,<2'" in done.stdout
    assert "instance_type='local' needs none" in done.stdout


@pytest.mark.usefixtures("aws")
def test_calls_without_a_session_share_one_as_long_as_the_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    first = session.default_session()
    assert session.default_session() is first
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert session.default_session() is not first
    assert session.default_session().boto_region_name == "eu-west-1"


@pytest.mark.usefixtures("aws")
def test_a_default_bucket_of_another_account_is_not_used() -> None:
    theirs = (
        boto3.Session()
        .client("sts")
        .assume_role(RoleArn="arn:aws:iam::111111111111:role/stranger", RoleSessionName="stranger")["Credentials"]
    )
    stranger = boto3.Session(theirs["AccessKeyId"], theirs["SecretAccessKey"], theirs["SessionToken"])
    stranger.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="sagemaker-eu-west-1-123456789012", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(ConfigError) as caught:
        Session(region="eu-west-1").default_bucket()
    assert caught.value.code == "foreign_bucket"


@pytest.mark.usefixtures("aws")
def test_credentials_that_are_no_roles_are_refused(
    train: Callable[..., MXNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, USER_CREDENTIALS[name.lower()])
    with pytest.raises(ConfigError) as caught:
        get_execution_role()
    assert caught.value.code == "no_role"
    with pytest.raises(ConfigError) as caught:
        train("pass", role=None).fit()
    assert caught.value.code == "no_role"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError) as caught:
        get_execution_role()
    assert caught.value.code == "no_role"


# What a session knows by itself, without AWS


def test_a_jobs_process_gets_the_profile_and_region_of_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("OTHER", "stays")
    found = Session(profile="theirs", region="eu-west-1").environment()
    assert (found["AWS_PROFILE"], found["AWS_DEFAULT_REGION"], found["OTHER"]) == ("theirs", "eu-west-1", "stays")
    assert Session().environment() == dict(os.environ)


def test_credentials_that_only_a_session_has_replace_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "mine")
    found = Session(Credentials(token="T")).environment()
    assert [
        found.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE")
    ] == [
        *"AST",
        None,
    ]
    assert found["AWS_DEFAULT_REGION"] == "eu-west-1"
    # Another's token with these keys would be refused.
    assert "AWS_SESSION_TOKEN" not in Session(Credentials()).environment()


def test_a_client_is_made_once_and_for_the_sessions_region() -> None:
    given = Credentials(s3=Service(), sts=Service())
    session_ = Session(given, region="us-east-2")
    for _ in range(2):
        assert session_.client("s3") is given.services["s3"]
    assert Session(given).client("sts") is given.services["sts"]
    assert given.made == [("s3", "us-east-2"), ("sts", "eu-west-1")]
    mine = Service()
    assert Session(given, mine).sagemaker_client is mine


def test_without_a_region_nothing_is_asked() -> None:
    given = Credentials(region=None, s3=Service())
    with pytest.raises(ConfigError) as caught:
        Session(given).client("s3")
    assert caught.value.code == "no_region"
    assert given.made == []


def test_an_arn_is_not_looked_up_and_a_missing_role_is_refused() -> None:
    unasked = Session(Credentials())
    assert unasked.expand_role("arn:aws:iam::12:role/x") == "arn:aws:iam::12:role/x"
    for role in (None, ""):
        with pytest.raises(ConfigError, match="a job on AWS requires a role") as caught:
            unasked.expand_role(role)
        assert caught.value.code == "no_role"


def test_a_local_sessions_role_is_the_variables_or_one_that_nothing_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_execution_role(LocalSession()) == "arn:aws:iam::000000000000:role/local"
    monkeypatch.setenv("SAGEMAKER_ROLE", "anything")
    assert get_execution_role(LocalSession()) == "anything"


def test_the_default_uri_has_the_prefix_of_the_session() -> None:
    found = Session(default_bucket_prefix="a/prefix")
    found._checked_bucket = "b"
    assert found.default_uri("x", "y") == "s3://b/a/prefix/x/y"


def test_the_local_bucket_is_a_folder_in_every_session(local_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Session(Credentials())  # which makes no client for S3
    found.put(b"x", "s3://sagemaker_local/a/b")
    assert (local_root / "sagemaker_local" / "a" / "b").read_bytes() == b"x"
    assert found.read("s3://sagemaker_local/a/b") == b"x"
    assert found.local_path("s3://elsewhere/a") is None
    assert found.local_path("/a/b") == Path("/a/b")
    monkeypatch.delenv("FASTINFER_LOCAL_ROOT")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert session.local_root() == Path("/data/fastinfer/sagemaker")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert session.local_root() == Path("/home/me/.local/share/fastinfer/sagemaker")


def test_progress_is_printed_on_stdout_or_the_given_stream(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    Session(stream=stream).say("one")
    Session().say("two")
    assert (stream.getvalue(), capsys.readouterr().out) == ("one\n", "two\n")
