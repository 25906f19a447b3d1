"""Which session carries out a job, and what a local one takes from another."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker import LocalSession, MXNet, Session, Transformer
from fastinfer.sagemaker.local.client import LocalClient
from fastinfer.sagemaker.local.session import choose_session, run_locally
from fastinfer.sagemaker.logs import TRAINING
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.conftest import VERSION
from tests.sagemaker.local_jobs import make_model, run

pytestmark = pytest.mark.usefixtures("local_root")


def test_s3_is_accessed_with_the_given_session(
    aws: Cloud, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = aws.make_bucket("local-tests")
    for path in source.rglob("*.csv"):
        aws.client("s3").upload_file(str(path), bucket, f"in/{path.relative_to(source)}")
    # Credentials that only the session knows reach the job's own process.
    given = boto3.Session(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    model, session = make_model(tmp_path), Session(given)
    transformer = Transformer(model, 1, "local", output_path=f"s3://{bucket}/out", sagemaker_session=session)
    transformer.transform(f"s3://{bucket}/in", content_type="text/csv")
    expected = run(model, source, tmp_path / "out")
    found = {item.key: session.read(item.uri) for item in session.list_objects(f"s3://{bucket}/out/")}
    assert found == expected


def test_local_paths_and_local_sessions_are_not_for_jobs_on_aws(aws: Cloud, script: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        MXNet(script, role=aws.role, **VERSION).fit({"train": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        MXNet(script, sagemaker_session=LocalSession(), **VERSION)
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        Transformer("m", 1, "ml.m4.xlarge", sagemaker_session=LocalSession())


def test_an_instance_type_chooses_the_session() -> None:
    remote, local = Session(), LocalSession()
    for instance_type in ("local", "local_gpu"):
        assert run_locally(instance_type)
        assert choose_session(local, instance_type) is local
        made = choose_session(remote, instance_type)
        assert isinstance(made, LocalSession)
        assert isinstance(choose_session(None, instance_type), LocalSession)
    for instance_type in ("ml.m4.xlarge", "", "locally"):
        assert not run_locally(instance_type)
        assert choose_session(remote, instance_type) is remote
        assert not choose_session(None, instance_type).local_mode
    assert choose_session(local, "") is local
    with pytest.raises(ConfigError) as caught:
        choose_session(local, "ml.m4.xlarge")
    assert caught.value.code == "bad_instance_type"


def test_jobs_are_this_machines_and_everything_else_the_given_sessions() -> None:
    stream, s3 = io.StringIO(), object()
    remote = Session(
        SimpleNamespace(region_name="eu-west-1", client=lambda *_, **__: s3),
        profile="theirs",
        region="us-east-2",
        stop_on_interrupt=True,
        stream=stream,
    )
    local = LocalSession(remote)
    assert isinstance(local.sagemaker_client, LocalClient)
    assert local.client("s3") is s3
    assert local.boto_session is remote.boto_session
    assert (local.profile, local.region, local.stop_on_interrupt) == ("theirs", "us-east-2", True)
    local.say("here")
    assert stream.getvalue() == "here\n"
    assert (local.local_mode, local.late_logs, local.poll_seconds < remote.poll_seconds) == (True, False, True)
    other = io.StringIO()
    LocalSession(remote, stream=other).say("there")
    assert (stream.getvalue(), other.getvalue()) == ("here\n", "there\n")


def test_a_local_sessions_jobs_have_the_environment_of_the_given_session() -> None:
    class Remote(Session):
        def environment(self) -> dict[str, str]:
            return {"AWS_PROFILE": "theirs"}

    assert LocalSession(Remote()).environment() == {"AWS_PROFILE": "theirs"}


def test_the_default_bucket_is_a_folder_and_no_account_is_asked(local_root: Path) -> None:
    local = LocalSession()
    uri = local.default_uri("a")
    assert uri == "s3://sagemaker_local/a"
    local.put(b"x", uri)
    assert (local_root / "sagemaker_local" / "a").read_bytes() == b"x"


def test_a_jobs_log_is_read_from_its_folder(local_root: Path) -> None:
    folder = local_root / "training-jobs" / "job"
    folder.mkdir(parents=True)
    logs = LocalSession().logs(TRAINING, "job")
    (folder / "log.txt").write_text("one\n")
    assert list(logs.lines()) == ["one"]
    with open(folder / "log.txt", "a") as file:
        file.write("two\n")
    assert list(logs.lines()) == ["two"]
